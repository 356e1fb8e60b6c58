import { chownSync, mkdirSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import { Cancelled } from '../base/cancelled.ts'
import { systemClock } from '../base/clock.ts'
import { silentLog, type Log } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import { parseBandwidthRules } from '../config/bandwidth-rules.ts'
import { ConfigError } from '../config/config-error.ts'
import type { Configuration } from '../config/load-configuration.ts'
import { parseMonHost } from '../config/mon-host.ts'
import type { Options } from '../config/options.ts'
import type { MirrorDaemonOptions } from '../mirror/daemon-options.ts'
import { EventLoopDelay } from '../observability/event-loop-delay.ts'
import type { Logger } from '../observability/logger.ts'
import { Metrics } from '../observability/metrics.ts'
import type { Health } from '../observability/status-service.ts'
import { AdminRegistry } from './admin-registry.ts'
import { AdminSocket } from './admin-socket.ts'
import { registerBuiltinCommands } from './builtin-commands.ts'
import { followCentralConfig } from './central-config.ts'
import { CleanupStack } from './cleanup-stack.ts'
import { registerConfigCommands } from './config-commands.ts'
import { Connections, explainConnectFailure } from './connect.ts'
import type { StartReport } from './daemonize.ts'
import { serveMetrics } from './metrics-service.ts'
import { handleFatalErrors } from './fatal-errors.ts'
import { mirrorOptions } from './mirror-options.ts'
import { openLogger } from './open-logger.ts'
import { LibrarySocket, registerLibraryCommands } from './library-socket.ts'
import { registerPerfCommands } from './perf-commands.ts'
import { PidFile } from './pid-file.ts'
import { everyMinute } from './every-minute.ts'
import { become, identityOf, type Identity } from './privileges.ts'
import { handleSignals } from './process-signals.ts'
import { registerStatusCommand } from './status-command.ts'
import { SystemdNotifier } from './systemd-notify.ts'
import { cephVersion, programVersion, versionLine } from './version.ts'

/** The mirroring itself: runs until the signal is aborted, then resolves; rejects when it can't go on. */
export type RunMirror = (options: MirrorDaemonOptions, signal: AbortSignal) => Promise<void>

export interface DaemonSetup {
  configuration: Configuration
  /** `-d`: the log goes to stderr, in readable form */
  debug: boolean
  /** whether the monitors' central config counts */
  centralConfig: boolean
  report: StartReport
  /** Loaded while the connection is made: it is most of the program. */
  mirror: () => Promise<RunMirror>
}

/**
 * The life of the process: become the user → log → pid file → admin socket → connection → central config → mirroring and metrics →
 * (a signal) → all of it backwards.
 */
export class Daemon {
  private readonly connections: Connections
  private readonly library: LibrarySocket
  private readonly stop = new AbortController()
  private readonly cleanup = new CleanupStack()
  private readonly metrics = new Metrics()
  private readonly registry = new AdminRegistry()
  private logger: Logger | undefined
  private log: Log = silentLog
  private failure: string | undefined
  private adminSocketPath = ''
  /** connected to the local cluster, mirroring */
  private ready = false

  constructor(private readonly setup: DaemonSetup) {
    this.library = new LibrarySocket(setup.configuration.options.get('admin_socket') || undefined)
    this.connections = new Connections(setup.configuration, this.library)
  }

  /** Resolves with the exit status. What goes wrong is one line for the operator, and in the log. */
  async run(): Promise<number> {
    try {
      await this.live()
    } catch (error) {
      // Whatever fails because it was told to stop is no failure.
      if (!this.stop.signal.aborted) this.end(error)
    }
    this.stop.abort(new Cancelled('the daemon ends'))
    await this.cleanup.run(this.log)
    this.log.info({}, 'stopped')
    return this.failure === undefined ? 0 : 1
  }

  /** Stops because of an error; the first one counts. */
  private end(error: unknown): void {
    if (this.failure !== undefined) return
    this.failure = error instanceof ConfigError ? error.message : `stopped by an error: ${error instanceof Error ? error.message : String(error)}`
    this.logger?.muteStderr() // it is said there in one line
    this.log.error({ error }, 'the daemon ends')
    this.setup.report.failed(this.failure)
    this.stop.abort(new Cancelled('the daemon failed'))
  }

  private async live(): Promise<void> {
    const { configuration, report } = this.setup
    const { options } = configuration
    await this.prepare()
    const connected = this.connections.prefetchLocal(this.stop.signal)
    connected.catch(() => undefined) // looked at below, unless something else fails first
    const health = () => (this.stop.signal.aborted ? { ok: false, detail: 'stopping' } : { ok: true, detail: 'ok' })
    this.cleanup.add('metrics server', await this.serveMetrics(health))
    // last of these: whoever finds it finds the others
    await this.openAdminSocket()
    const notifier = await SystemdNotifier.connect(process.env, this.log)
    const runMirror = await this.setup.mirror()
    try {
      await connected
    } catch (error) {
      throw new ConfigError(explainConnectFailure(error, configuration), undefined, { cause: error })
    }
    if (this.setup.centralConfig) {
      this.cleanup.add('central config', followCentralConfig(() => this.connections.newestLocal, options, systemClock, this.log))
    }

    const mirroring = runMirror(this.mirrorDaemonOptions(), this.stop.signal)
    mirroring.catch(() => undefined) // looked at below and in the clean-up
    this.cleanup.add('mirroring', () => mirroring.catch(() => undefined))
    this.ready = true
    report.ready()
    notifier.ready(`mirroring into cluster ${options.cluster}`)
    notifier.startWatchdog(process.env, systemClock)
    this.stop.signal.addEventListener('abort', () => notifier.stopping(), { once: true })
    this.log.info({ adminSocket: this.adminSocketPath }, 'ready')
    await mirroring
  }

  private async serveMetrics(health: () => Health): Promise<() => Promise<void>> {
    const { options } = this.setup.configuration
    const { cluster, entity } = options
    const identity = { version: programVersion, cluster, entity, hostname: hostname(), startedAt: systemClock.now() }
    const eventLoop = new EventLoopDelay(systemClock)
    this.cleanup.add('event loop delay', async () => eventLoop.stop(), { local: true })
    this.cleanup.add('sampling', async () => stopSampling(), { local: true })
    const setRpo = () => (this.metrics.defaultRpoSeconds = options.get('rbd_mirror_rpo_target') || undefined)
    setRpo()
    options.onChange(['rbd_mirror_rpo_target'], setRpo)
    const stopSampling = this.metrics.startSampling()
    const { metrics, log } = this
    registerStatusCommand(this.registry, { metrics, identity, eventLoop })
    const ready = () => (health().ok && !this.ready ? { ok: false, detail: `connecting to cluster ${cluster}` } : health())
    return serveMetrics({ options, metrics, identity, eventLoop, health, ready, clock: systemClock, log })
  }

  /** All that may be wrong on this host, before the cluster is spoken to. */
  private async prepare(): Promise<void> {
    const { configuration, debug } = this.setup
    const { options, confFile } = configuration
    const identity = identityOf(options.get('setuser'), options.get('setgroup'))
    makeRunDirectory(options, identity)
    if (identity) become(identity, options.get('setuser'))
    this.connections.check()
    const logger = (this.logger = await openLogger(options, debug, (globalImageId) => this.metrics.imageName(globalImageId)))
    this.log = logger.log
    this.cleanup.add('signals', handleSignals(this.stop, { reopenLog: () => logger.reopen(), abandon: () => this.cleanup.abandon() }, this.log))
    this.cleanup.add('error handlers', handleFatalErrors((error) => this.end(error), this.log))
    this.log.info({ cluster: options.cluster, entity: options.entity, conf: confFile }, versionLine)
    const pidFile = options.get('pid_file')
    if (pidFile !== '') {
      const file = PidFile.write(pidFile)
      this.cleanup.add('pid file', () => file.remove(), { local: true })
    }
    registerBuiltinCommands(this.registry, { reopenLog: () => logger.reopen() })
    registerConfigCommands(this.registry, options)
    const library = isEmulated(options) ? undefined : this.library
    registerPerfCommands(this.registry, this.metrics, library)
    if (library) registerLibraryCommands(this.registry, library)
  }

  private async openAdminSocket(): Promise<void> {
    const { options } = this.setup.configuration
    const path = options.get('admin_socket')
    if (path === '') return
    const mode = options.get('admin_socket_mode')
    try {
      const socket = await AdminSocket.listen(path, mode === '' ? undefined : Number.parseInt(mode, 8), (request) => this.registry.execute(request), this.log)
      this.cleanup.add('admin socket', () => socket.close(), { local: true })
      this.adminSocketPath = path
    } catch (error) {
      // Nobody asked for the default one, and not everybody may write to its directory.
      if (!(error instanceof ConfigError) || options.source('admin_socket') !== 'default') throw error
      this.log.warn({ error }, 'going on without an admin socket')
    }
  }

  private mirrorDaemonOptions(): MirrorDaemonOptions {
    const { options } = this.setup.configuration
    return {
      connectLocal: (signal) => this.connections.local(signal),
      connectRemote: (spec, signal) => this.connections.remote(spec, signal),
      options: mirrorOptions(options),
      followBandwidthRules: (apply) => {
        const follow = () => apply(parseBandwidthRules(options.get('rbd_mirror_bandwidth_limits')))
        follow()
        return options.onChange(['rbd_mirror_bandwidth_limits'], follow)
      },
      ...(isEmulated(options) && { everyMinute, serviceMetadata: { ceph_version: versionLine, ceph_version_short: cephVersion } }),
      metrics: this.metrics,
      adminCommands: this.registry,
      log: this.log,
      clock: systemClock,
      random: systemRandom,
      daemonId: options.entity.replace(/^client\.(rbd-mirror\.)?/, ''),
      hostname: hostname(),
      adminSocketPath: (side) => (side === 'local' ? this.adminSocketPath : ''),
    }
  }
}

function isEmulated(options: Options): boolean {
  const monHost = options.get('mon_host')
  return monHost !== '' && parseMonHost(monHost).driver !== 'ceph'
}

/** Ceph's run directory lies on a tmpfs and is missing after a boot. Where it can't be made, the socket's failure says why. */
function makeRunDirectory(options: Options, identity: Identity | undefined): void {
  const directory = options.get('run_dir')
  if (dirname(options.get('admin_socket')) !== directory) return
  try {
    mkdirSync(directory, { mode: 0o770 })
    if (identity) chownSync(directory, identity.uid, identity.gid)
  } catch {
    return
  }
}
