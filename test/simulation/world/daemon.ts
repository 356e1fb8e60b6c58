import { Cancelled } from '../../../src/base/cancelled.ts'
import type { Clock } from '../../../src/base/clock.ts'
import { Options } from '../../../src/config/options.ts'
import { mirrorOptions } from '../../../src/daemon/mirror-options.ts'
import { bootstrap } from '../../../src/mirror/bootstrap/bootstrap.ts'
import { MirrorDaemon } from '../../../src/mirror/mirror-daemon.ts'
import type { MirrorOptions } from '../../../src/mirror/options.ts'
import { noAdminCommands } from '../../../src/observability/admin-commands.ts'
import { Metrics } from '../../../src/observability/metrics.ts'
import { Process } from './process.ts'
import type { Site } from './site.ts'
import type { World } from './world.ts'

/** Ceph's defaults */
const DEFAULTS: MirrorOptions = { ...mirrorOptions(new Options('simulated', 'client.admin')) }

const MINUTE_MS = 60_000

/** A mirroring daemon of one site, started and killed at will. */
export class Daemon {
  process: Process | undefined
  private stopping: AbortController | undefined
  private ended: Promise<void> = Promise.resolve()
  private starts = 0
  private readonly options: MirrorOptions

  constructor(
    private readonly world: World,
    readonly site: Site,
    options: Partial<MirrorOptions> = {},
    readonly name = `daemon-${site.name.at(-1)}`,
  ) {
    this.options = { ...DEFAULTS, ...options }
  }

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
        everyMinute: (callback) => everyMinute(clock, callback),
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

/** At full minutes of the process's own clock, until the returned function is called. */
function everyMinute(clock: Clock, callback: () => void): () => void {
  let cancel: () => void
  const next = () => {
    cancel = clock.setTimer(MINUTE_MS - (clock.now() % MINUTE_MS), () => {
      callback()
      next()
    })
  }
  next()
  return () => cancel()
}
