import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { BandwidthRule } from '../config/bandwidth-rules.ts'
import type { AdminCommands } from '../observability/admin-commands.ts'
import type { Metrics } from '../observability/metrics.ts'
import type { Cluster } from '../rados/cluster.ts'
import type { MirrorOptions } from './options.ts'

/** How to reach a peer's cluster. */
export interface RemoteSpec {
  /** `site_name` of the peer: also the name of its configuration file, `NAME.conf` */
  clusterName: string
  /** `client.ID` */
  clientName: string
  /** From the monitors' config-key store. With a `monHost` no configuration file is read. Never to be logged. */
  monHost?: string | undefined
  key?: string | undefined
}

/** What the daemon's composition root hands to the mirror layer. */
export interface MirrorDaemonOptions {
  /** A new connection to the local cluster; each pool replayer has its own. */
  connectLocal(signal: AbortSignal): Promise<Cluster>
  /** A new connection to a peer's cluster, with operation time-outs. */
  connectRemote(spec: RemoteSpec, signal: AbortSignal): Promise<Cluster>
  readonly options: MirrorOptions
  /** Hands over the bandwidth limits, now and whenever they change; returns what ends it. */
  followBandwidthRules?(apply: (rules: readonly BandwidthRule[]) => void): () => void
  /** Calls back at every full minute until the returned function is called. Only where the daemon has to run snapshot schedules itself: on emulated clusters. */
  everyMinute?(callback: () => void): () => void
  readonly metrics: Metrics
  /** where `rbd mirror …` commands are offered while their pool or image is held */
  readonly adminCommands: AdminCommands
  readonly log: Log
  readonly clock: Clock
  readonly random: Random
  /** the `id` of the service metadata: the entity without `client.` and `rbd-mirror.` */
  readonly daemonId: string
  readonly hostname: string
  /** more of the service metadata, where the driver does not tell it itself: `ceph_version`, `ceph_version_short` */
  readonly serviceMetadata?: Readonly<Record<string, string>>
  /** path of the admin socket of a connection, for the status dump; '' for none */
  adminSocketPath(side: 'local' | 'remote', cluster: string): string
}
