import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { MemoryShare } from '../base/memory-share.ts'
import type { Random } from '../base/random.ts'
import type { Semaphore } from '../base/semaphore.ts'
import type { Throttle } from '../base/throttle.ts'
import type { ImageMetrics } from '../observability/metrics.ts'
import type { Cluster } from '../rados/cluster.ts'
import type { IoCtx, SnapId } from '../rados/io-ctx.ts'
import type { BufferPool } from '../rbd/data/buffer-pool.ts'
import type { Bandwidth } from './bandwidth.ts'
import type { SyncSlot } from './instances/sync-slots.ts'
import type { MirrorOptions } from './options.ts'

/** One side of a mirrored image. The io context is shared: whoever needs a snapshot or snap context of its own duplicates it. */
export interface LocalSide {
  readonly cluster: Cluster
  /** the pool and namespace of the mirror image */
  readonly io: IoCtx
  /** `mirror_uuid` of this pool and namespace */
  readonly mirrorUuid: string
}

export interface RemoteSide extends LocalSide {
  /** uuid of the entry in the remote's peer list that stands for us; '' as long as the remote has none (snapshot mode can't replay then) */
  readonly mirrorPeerUuid: string
}

/** What is known of the mirroring of any pool on either side (a clone's parent may live in another pool). */
export interface PoolMetaLookup {
  local(poolId: bigint): { mirrorUuid: string } | undefined
  remote(poolId: bigint): { mirrorUuid: string; mirrorPeerUuid: string } | undefined
}

/** Snapshot ids of the local pool that were allocated ahead: a monitor may take a second for each. */
export interface SnapIds {
  /** An unused self-managed snapshot id of the pool; the caller owns it (and removes it if it ends up unused). */
  take(): Promise<SnapId>
  /** Gives back an id that was taken and never used by anything. */
  giveBack(id: SnapId): void
}

/** What all images of the daemon share. */
export interface SharedLimits {
  /** image syncs that run at once (`rbd_mirror_concurrent_image_syncs`): a task begins when it is its turn */
  readonly imageSyncs: SyncSlot
  /** bytes in flight of all copies and replays of the daemon */
  readonly byteBudget: Semaphore
  /** large buffers for data on its way, kept for reuse */
  readonly buffers: BufferPool
  /** what journals may hold of what was fetched and not written yet */
  readonly journalMemory: MemoryShare
  /** limits of bytes per second; without one nothing is held back */
  readonly bandwidth?: Bandwidth | undefined
}

/**
 * The state shown while an image starts or replays.
 * - `name`: the local image's name is known or has changed;
 * - `syncing`: a first copy runs before the replay can start (journal mode); `description` without the state;
 * - `replaying`: `description` is the JSON object behind `replaying, ` (key order as the stock daemon's).
 */
export type ReplayProgress =
  | { type: 'name'; name: string }
  | { type: 'syncing'; description: string }
  | { type: 'replaying'; description: Readonly<Record<string, unknown>> }

/** What the bootstrap and the replayer of one image are handed. */
export interface ImageContext {
  readonly globalImageId: string
  readonly local: LocalSide
  readonly remote: RemoteSide
  readonly pools: PoolMetaLookup
  readonly clock: Clock
  readonly random: Random
  /** has pool, namespace and global image id as fields */
  readonly log: Log
  readonly limits: SharedLimits
  /** this image's share of the bandwidth limits */
  readonly throttle?: Throttle | undefined
  /** of the local pool */
  readonly snapIds: SnapIds
  readonly options: MirrorOptions
  readonly metrics: ImageMetrics
  /** Tells the status (local, remote, metrics page) how far it is; cheap, may be called often. */
  report(progress: ReplayProgress): void
}
