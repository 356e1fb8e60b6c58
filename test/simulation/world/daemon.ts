import { Cancelled } from '../../../src/base/cancelled.ts'
import { bootstrap } from '../../../src/mirror/bootstrap/bootstrap.ts'
import { MirrorDaemon } from '../../../src/mirror/mirror-daemon.ts'
import type { MirrorOptions } from '../../../src/mirror/options.ts'
import { noAdminCommands } from '../../../src/observability/admin-commands.ts'
import { Metrics } from '../../../src/observability/metrics.ts'
import { Process } from './process.ts'
import type { Site } from './site.ts'
import type { World } from './world.ts'

/** Ceph's defaults */
export const MIRROR_OPTIONS: MirrorOptions = {
  concurrentImageSyncs: 5,
  concurrentImageDeletions: 1,
  poolReplayersRefreshInterval: 30,
  deleteRetryInterval: 30,
  imageStateCheckInterval: 30,
  leaderHeartbeatInterval: 5,
  leaderMaxMissedHeartbeats: 2,
  leaderMaxAcquireAttemptsBeforeBreak: 3,
  journalCommitAge: 5,
  journalPollAge: 5,
  mirroringDeleteDelay: 0,
  mirroringReplayDelay: 0,
  mirroringResyncAfterDisconnect: false,
  mirroringMaxMirroringSnapshots: 5,
  defaultDataPool: '',
  concurrentManagementOps: 10,
  resyncMode: 'delta',
  resyncKeepSnapshot: false,
  verifyInterval: 0,
  verifyBytesPerSecond: 0,
  blocklistExpireSeconds: 0,
}

/** A mirroring daemon of one site, started and killed at will. */
export class Daemon {
  process: Process | undefined
  private stopping: AbortController | undefined
  private ended: Promise<void> = Promise.resolve()
  private starts = 0

  constructor(
    private readonly world: World,
    readonly site: Site,
    readonly name = `daemon-${site.name.at(-1)}`,
    private readonly options: MirrorOptions = MIRROR_OPTIONS,
  ) {}

  start(): void {
    if (this.process) throw new Error(`${this.name} is running already`)
    const { world, site } = this
    const process = (this.process = new Process(world, `${this.name}.${++this.starts}`, 'daemon'))
    const { clock, random, log } = process
    const daemon = new MirrorDaemon(
      {
        connectLocal: () => process.connect(site),
        connectRemote: (spec) => process.connect(world.siteNamed(spec.clusterName), { remote: true }),
        options: this.options,
        metrics: new Metrics(clock),
        adminCommands: noAdminCommands,
        log,
        clock,
        random,
        daemonId: this.name,
        hostname: 'simulated',
        adminSocketPath: () => '',
      },
      bootstrap,
    )
    const stopping = (this.stopping = new AbortController())
    this.ended = daemon.run(stopping.signal).catch((error: unknown) => {
      if (process.alive) world.violate(`${process.name} has failed: ${String(error)}`)
    })
  }

  /** Orderly, as SIGTERM does it. */
  async stop(): Promise<void> {
    this.stopping?.abort(new Cancelled('stopped'))
    await this.ended
    this.process = undefined
  }

  /** As SIGKILL does it. */
  kill(): void {
    this.process?.kill()
    this.process = undefined
  }
}
