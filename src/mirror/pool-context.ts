import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Semaphore } from '../base/semaphore.ts'
import type PQueue from 'p-queue'
import type { AdminCommands } from '../observability/admin-commands.ts'
import type { Metrics } from '../observability/metrics.ts'
import type { Cluster } from '../rados/cluster.ts'
import type { PoolMetaLookup, SharedLimits, SnapIds } from './image-context.ts'
import type { KnownLeader } from './instances/sync-slots.ts'
import type { SyncThrottler } from './instances/sync-throttler.ts'
import type { MirrorOptions } from './options.ts'
import type { PeerSpec } from './peers.ts'
import type { Bootstrap } from './replayer.ts'
import type { ServiceStatus } from './service-status.ts'

/** What the parts of one pool replayer share. */
export interface PoolContext {
  readonly cluster: Cluster
  readonly poolId: bigint
  readonly peer: PeerSpec
  /** of the pool; its namespaces go by the same */
  readonly localMirrorUuid: string
  readonly pools: PoolMetaLookup
  /** what the daemon's images share; whether an image may sync is the leader's to say */
  readonly limits: Omit<SharedLimits, 'imageSyncs'>
  /** counts for all daemons of the pool while we lead */
  readonly syncThrottler: SyncThrottler
  /** who leads, as it is now */
  leader(): KnownLeader
  /** aborted as soon as the pool is to stop: what is given back then is not to be taken again */
  readonly stopping: AbortSignal
  /** resolves when this daemon is to share in the images */
  readonly takingPart: Promise<void>
  readonly deletions: PQueue
  readonly starts: Semaphore
  readonly snapIds: SnapIds
  readonly bootstrap: Bootstrap
  readonly serviceStatus: ServiceStatus
  readonly metrics: Metrics
  readonly adminCommands: AdminCommands
  readonly options: MirrorOptions
  readonly clock: Clock
  readonly random: Random
  /** has pool and peer as fields */
  readonly log: Log
}
