import { delay, type Clock } from '../../base/clock.ts'
import type { Random } from '../../base/random.ts'
import { NO_SNAP, type SnapId } from '../../rados/io-ctx.ts'
import { compareImages, commonObjects, sizeOfView, type ImageView } from '../compare-images.ts'
import { checksumSeed } from '../data/compare-objects.ts'
import { layoutOf, sameLayout } from '../data/striping.ts'
import type { Image } from '../image.ts'
import { isDemoted, isNonPrimary, mirrorSnapshots } from './mirror-snapshot.ts'

export interface VerifiedSides {
  /** opened read-only is enough */
  local: Image
  remote: Image
  remoteMirrorUuid: string
}

export interface VerifyOptions {
  clock: Clock
  random: Random
  /** objects in flight */
  concurrency: number
  /** bytes compared per second; 0 for no limit */
  bytesPerSecond: number
  signal: AbortSignal
  onProgress?(done: number, total: number): void
}

export type Verification =
  | { type: 'equal' | 'differs'; against: string; objects: number; bytesCompared: number; differences: Differences }
  /** nothing could be said, and why */
  | { type: 'unknown'; reason: string }

export interface Differences {
  /** bytes, in whole chunks */
  bytes: number
  objects: number
  /** some of the objects' numbers */
  examples: number[]
  /** of the two images, where they differ */
  sizes: { primary: number; replica: number } | undefined
}

const MAX_EXAMPLES = 20
/** Objects that are compared with one and the same snapshot of the primary, which it may remove meanwhile. */
const SLICE_OBJECTS = 512
/** What differed is looked at again so often while the replica is being written. */
const MAX_ROUNDS = 20
const POLL_MS = 500
/** How long a sync under way is waited for before what differed is called unknown. */
const SYNC_WAIT_MS = 600_000

/**
 * Compares a replica's head with the primary's mirror-snapshot that it was synced to last, by checksums that the OSDs compute. Replication goes on
 * meanwhile: a difference counts only if the replica was at rest when it was seen, which its mirror-snapshots tell, for a sync makes its
 * snapshot before it writes. What differed while it was written is compared again with the next snapshot that is synced.
 */
export async function verifySnapshotReplica(sides: VerifiedSides, options: VerifyOptions): Promise<Verification> {
  const { local, remote } = sides
  await Promise.all([local.refresh(), remote.refresh()])
  if (!sameLayout(layoutOf(local.header), layoutOf(remote.header))) return { type: 'unknown', reason: 'the images are laid out differently' }
  let base = syncedState(sides)
  if (typeof base === 'string') return { type: 'unknown', reason: base }
  const total = commonObjects(primaryView(sides, base), headOf(local))
  const pace = new Pace(options)
  const suspects = new Map<number, number>()
  for (let next = 0; next < total; ) {
    const slice = range(next, Math.min(total, next + SLICE_OBJECTS))
    const found = await compareSlice(sides, base, slice, pace, options)
    const now = await refreshed(sides)
    if (typeof now === 'string') return { type: 'unknown', reason: now }
    const gone = !remote.header.snapshots.some(({ id }) => id === (base as SyncedState).remoteId)
    base = now
    // what is read of a snapshot that is being removed may be anything
    if (gone) continue
    for (const [object, bytes] of found) suspects.set(object, bytes)
    next += slice.length
    options.onProgress?.(next, total)
  }
  return confirm(sides, base, suspects, total, pace, options)
}

/** A state of the primary that the replica has had whole. */
interface SyncedState {
  localId: SnapId
  remoteId: SnapId
  /** nothing has been written to the replica since */
  atRest: boolean
}

/** Or why there is none. */
function syncedState({ local, remote, remoteMirrorUuid }: VerifiedSides): SyncedState | string {
  const snapshots = mirrorSnapshots(local.header.snapshots)
  const newest = snapshots.at(-1)
  if (newest?.namespace.state === 'primary') return 'the local image is primary: verify it where its replica is'
  const synced = snapshots.findLast(({ namespace }) => namespace.complete && (isNonPrimary(namespace) || isDemoted(namespace)))
  if (!newest || !synced) return 'no snapshot of the primary has been synced yet'
  if (!isNonPrimary(synced.namespace) || synced.namespace.primaryMirrorUuid !== remoteMirrorUuid) return 'the local image does not follow this primary'
  const { primarySnapId } = synced.namespace
  if (!remote.header.snapshots.some(({ id }) => id === primarySnapId)) return 'the primary has removed the snapshot that was synced last'
  return { localId: synced.id, remoteId: primarySnapId, atRest: newest === synced }
}

async function refreshed(sides: VerifiedSides): Promise<SyncedState | string> {
  await Promise.all([sides.local.refresh(), sides.remote.refresh()])
  return syncedState(sides)
}

const headOf = (image: Image): ImageView => ({ image, snap: NO_SNAP })
const primaryView = ({ remote }: VerifiedSides, { remoteId }: SyncedState): ImageView => ({ image: remote, snap: remoteId })
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index)

/** Object number → bytes that differ. */
async function compareSlice(
  sides: VerifiedSides,
  base: SyncedState,
  objects: Iterable<number>,
  pace: Pace,
  options: VerifyOptions,
): Promise<Map<number, number>> {
  return compareViews(primaryView(sides, base), headOf(sides.local), objects, pace, options)
}

/** Object number → bytes that differ. */
export async function compareViews(left: ImageView, right: ImageView, objects: Iterable<number>, pace: Pace, options: VerifyOptions): Promise<Map<number, number>> {
  const found = new Map<number, number>()
  await compareImages(left, right, objects, {
    concurrency: options.concurrency,
    seed: checksumSeed(options.random),
    signal: options.signal,
    onObject: (difference, bytesCompared) => {
      if (difference) found.set(difference.object, difference.extents.total)
      return pace.hold(bytesCompared)
    },
  })
  return found
}

/** Looks at what differed until it was seen with the replica at rest. */
async function confirm(
  sides: VerifiedSides,
  first: SyncedState,
  suspects: Map<number, number>,
  total: number,
  pace: Pace,
  options: VerifyOptions,
): Promise<Verification> {
  const { clock, signal } = options
  const deadline = clock.monotonic() + SYNC_WAIT_MS
  let base: SyncedState | string = first
  for (let rounds = 0; rounds < MAX_ROUNDS && clock.monotonic() < deadline; ) {
    if (typeof base === 'string') return { type: 'unknown', reason: base }
    if (!base.atRest) {
      await delay(clock, POLL_MS, signal)
      base = await refreshed(sides)
      continue
    }
    rounds++
    const found = await compareSlice(sides, base, suspects.keys(), pace, options)
    const sizes = { primary: sizeOfView(primaryView(sides, base)), replica: sizeOfView(headOf(sides.local)) }
    const now = await refreshed(sides)
    const unmoved = typeof now !== 'string' && now.atRest && now.localId === base.localId
    if (unmoved) {
      const against = `mirror-snapshot ${base.remoteId} of the primary`
      return verdict(against, found, sizes.primary === sizes.replica ? undefined : sizes, total, pace.bytes)
    }
    base = now
  }
  return { type: 'unknown', reason: `${suspects.size} objects differed, while the replica was being written all the time` }
}

export function verdict(
  against: string,
  found: ReadonlyMap<number, number>,
  sizes: Differences['sizes'],
  objects: number,
  bytesCompared: number,
): Verification {
  const differences: Differences = {
    bytes: [...found.values()].reduce((sum, bytes) => sum + bytes, 0),
    objects: found.size,
    examples: [...found.keys()].sort((a, b) => a - b).slice(0, MAX_EXAMPLES),
    sizes,
  }
  return { type: found.size > 0 || sizes ? 'differs' : 'equal', against, objects, bytesCompared, differences }
}

/** Holds a comparison back to so many bytes per second. */
export class Pace {
  bytes = 0
  private readonly startedAt: number

  constructor(private readonly options: VerifyOptions) {
    this.startedAt = options.clock.monotonic()
  }

  async hold(bytes: number): Promise<void> {
    const { clock, bytesPerSecond, signal } = this.options
    this.bytes += bytes
    if (bytesPerSecond === 0) return
    const early = this.startedAt + (this.bytes / bytesPerSecond) * 1000 - clock.monotonic()
    if (early > 0) await delay(clock, early, signal)
  }
}
