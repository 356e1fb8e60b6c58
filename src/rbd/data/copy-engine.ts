import { setMaxListeners } from 'node:events'
import { assert } from '../../base/assert.ts'
import { Cancelled } from '../../base/cancelled.ts'
import type { Log } from '../../base/log.ts'
import type { Semaphore } from '../../base/semaphore.ts'
import type { Throttle } from '../../base/throttle.ts'
import { NO_SNAP, type IoCtx, type SnapId } from '../../rados/io-ctx.ts'
import { FEATURE_OBJECT_MAP, hasFeature } from '../features.ts'
import type { ImageHeader } from '../header.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { CopyStep } from './copy-steps.ts'
import { DestinationMaps } from './destination-maps.ts'
import { ObjectCopier } from './object-copier.ts'
import { diffObjects, DiffState, type ObjectDiff } from './object-diff.ts'
import { reliableStates, type ObjectMap } from './object-map.ts'
import { ObjectState } from './object-states.ts'
import { layoutOf, objectCount, sameLayout, type Layout } from './striping.ts'
import { TwoBitVector } from './two-bit-vector.ts'
import { mayBeErasureCoded } from './write-in-turns.ts'

/** One image of a copy. The io contexts stay the caller's; views that the copy needs are duplicated from them and closed by it. */
export interface CopySide {
  /** pool and namespace of the header and the object maps */
  io: IoCtx
  /** pool and namespace of the data objects */
  data: IoCtx
  /** as it is when the copy starts: of the destination after its new snapshots were made */
  header: ImageHeader
}

export interface CopyProgress {
  /** Objects below this number are whole at the destination, object maps included, on stable storage. */
  objects: number
  totalObjects: number
  /** bytes read from the source so far in this run */
  bytesRead: number
}

export interface CopyResult {
  objectsExamined: number
  bytesRead: number
  bytesWritten: number
}

export interface CopyRequest {
  source: CopySide
  destination: CopySide
  /** the source's snapshot that the destination's head was equal to before; 0 for a destination without anything */
  fromSnap: SnapId
  /** from {@link planSteps}; the last one goes to the head */
  steps: readonly CopyStep[]
  /** The first object to copy: what an earlier run of the same steps reported as `objects`. */
  resumeFrom?: number | undefined
  /**
   * A copy of other steps to this destination was given up before: what it wrote is not taken for the state at `fromSnap`.
   * With more than one step every object that changed is written whole then.
   */
  leftovers?: boolean | undefined
  /** The destination may lack objects that have changed: these are copied whole. */
  changedWhole?: boolean
  /**
   * The destination may hold anything, whatever its object map says: every object is compared with the source's by checksums (started from
   * this seed), and only chunks that differ are transferred. `objects`: how many the destination may have. With `fromSnap` 0.
   */
  compare?: { seed: bigint; objects: number; chunkSize?: number } | undefined
  /** objects in flight (rbd_concurrent_management_ops) */
  concurrency: number
  /** bytes in flight, shared by all copies of the process */
  byteBudget: Semaphore
  buffers: BufferPool
  /** holds the copy back as a bandwidth limit wants it */
  throttle?: Throttle | undefined
  /** the destination head's, open (locked) for the time of the copy; undefined if the image has none */
  objectMap: ObjectMap | undefined
  /** Called whenever `objects` has grown. Cheap things only; must not throw. */
  onProgress?(progress: CopyProgress): void
  /** Ends the copy with the signal's reason; writes under way are awaited, reads are not. */
  signal?: AbortSignal | undefined
  log: Log
}

/** What is left to do, and what was done. */
interface CopyState {
  /** the first object that nobody has taken yet */
  cursor: number
  /** the object that each worker is at */
  active: (number | undefined)[]
  reported: number
  result: CopyResult
}

/**
 * Makes the destination's head, and the snapshots that the steps name, equal to the source's. Neither image may change meanwhile: the
 * source is read at snapshots, the destination is locked by the caller. Rejects with RadosError, or the signal's reason; a later run with
 * the same steps goes on where this one was.
 *
 *     object maps of the source → objects that changed → for each, up to `concurrency` at once:
 *       clones (list-snaps) → parts that changed, step by step → object map says "exists" → read at the source's snapshot →
 *       write under the destination's snap context → object map, if the object is gone
 */
export async function copyImage(request: CopyRequest): Promise<CopyResult> {
  const { source, destination, fromSnap, log } = request
  // a user snapshot that was removed at the source meanwhile will be removed at the destination too
  const steps = request.steps.filter(({ sourceSnap, destinationSnap }) => destinationSnap === NO_SNAP || has(source.header, sourceSnap))
  const layout = layoutOf(source.header)
  checkLayouts(layout, layoutOf(destination.header))
  const last = steps.at(-1)
  assert(last?.destinationSnap === NO_SNAP, 'the last step goes to the head')
  if (hasFeature(destination.header.features, FEATURE_OBJECT_MAP) && !request.objectMap) throw new ObjectMapClosed(destination.header.name)
  const objectsAt = (snap: SnapId) => (snap === 0n ? 0 : objectCount(layout, snapshotSize(source.header, snap)))

  // work's abort: the caller's, or the first failure of a worker
  const failed = new AbortController()
  let failure: { error: unknown } | undefined
  const signal = request.signal ? AbortSignal.any([request.signal, failed.signal]) : failed.signal
  // every operation under way listens
  setMaxListeners(0, signal)
  signal.throwIfAborted()

  const diff: ObjectDiff = request.compare
    ? { known: false, reason: 'the images are compared' }
    : await diffObjects(source.io, source.header, fromSnap, last.sourceSnap, signal)
  if (!diff.known) log.info({ reason: diff.reason }, 'looking at every object')
  const objectMap = request.objectMap
  const finalObjects = objectsAt(last.sourceSnap)
  const mostObjects = Math.max(...steps.map(({ sourceSnap }) => objectsAt(sourceSnap)))
  if (objectMap && objectMap.states.length < mostObjects) await objectMap.resize(mostObjects)
  const states = reliableStates({ header: destination.header, objectMap })
  const initial = states && new TwoBitVector(states.length, Uint8Array.from(states.bytes))
  const total = Math.max(objectsAt(fromSnap), mostObjects, objectMap?.states.length ?? 0, request.compare?.objects ?? 0)
  // an abandoned copy has left what no map tells
  const there = initial ?? (objectMap && request.leftovers ? TwoBitVector.filled(total, ObjectState.exists) : undefined)
  const hidden = steps.map(({ sourceSnap }) => hiddenObjects(request, layout, sourceSnap))
  const work = diff.known ? findWork(diff.states, there, total) : undefined
  if (work && diff.known) for (const range of hidden) addHidden(work, diff.states, range, request.leftovers ? undefined : initial)
  const next = (from: number, wanted: number) => (work ? work.next(from, wanted) : from)
  const firstObject = Math.min(request.resumeFrom ?? 0, total)

  const views: IoCtx[] = []
  const view = (io: IoCtx) => {
    views.push(io)
    return io
  }
  try {
    const isNew = newObjects(request, diff)
    const nextWork = (from: number) => (work ? work.next(from, WORK_WRITE) : Infinity)
    const maps = await DestinationMaps.open(destination, objectMap, initial, steps, diff, firstObject, { nextWork, isNew })
    const copier = new ObjectCopier({
      fromSnap,
      from: view(source.data.duplicate({ readSnap: fromSnap === 0n ? NO_SNAP : fromSnap })),
      fromObjects: objectsAt(fromSnap),
      steps: steps.map((step, index) => ({
        sourceSnap: step.sourceSnap,
        objects: objectsAt(step.sourceSnap),
        hidden: hidden[index]!,
        source: view(source.data.duplicate({ readSnap: step.sourceSnap })),
        destination: view(destination.data.duplicate({ readSnap: NO_SNAP, snapContext: step.snapContext })),
      })),
      sourcePrefix: source.header.objectPrefix,
      destinationPrefix: destination.header.objectPrefix,
      objectSize: layout.objectSize,
      hidesParent: destination.header.parent !== undefined,
      inTurns: mayBeErasureCoded(destination.header),
      isNew,
      expectsData: diff.known,
      leftovers: request.leftovers ?? false,
      changedWhole: request.changedWhole ?? false,
      compare: request.compare,
      maps,
      byteBudget: request.byteBudget,
      buffers: request.buffers,
      signal,
    })
    const state: CopyState = {
      cursor: next(firstObject, WORK_ANY),
      active: [],
      reported: firstObject,
      result: { objectsExamined: 0, bytesRead: 0, bytesWritten: 0 },
    }
    const worker = async (index: number) => {
      while (state.cursor < total) {
        signal.throwIfAborted()
        const object = state.cursor
        state.cursor = next(object + 1, WORK_ANY)
        state.active[index] = object
        // before its size is known; what it does not have is given back
        const held = request.throttle?.take(layout.objectSize, signal)
        if (held) await held
        const { bytesRead, bytesWritten } = await copier.copy(object)
        request.throttle?.giveBack(layout.objectSize - bytesRead)
        state.active[index] = undefined
        state.result.objectsExamined++
        state.result.bytesRead += bytesRead
        state.result.bytesWritten += bytesWritten
        report(request, state, total)
      }
    }
    const workers = Array.from({ length: Math.max(1, request.concurrency) }, async (_, index) => {
      try {
        await worker(index)
      } catch (error) {
        failure ??= { error }
        // not by the error itself: to the others ENOENT would be the answer of their own objects
        failed.abort(new Cancelled('another object could not be copied'))
      }
    })
    // all of them end before this does: no write of this copy may come later
    await Promise.all(workers)
    request.signal?.throwIfAborted()
    if (failure) throw (failure).error
    await dropMapTail(request, layout, finalObjects)
    report(request, { ...state, cursor: total }, total)
    return state.result
  } finally {
    for (const io of views) io.close()
  }
}

function report(request: CopyRequest, state: CopyState, total: number): void {
  let objects = Math.min(state.cursor, total)
  for (const active of state.active) if (active !== undefined && active < objects) objects = active
  if (objects <= state.reported) return
  state.reported = objects
  request.onProgress?.({ objects, totalObjects: total, bytesRead: state.result.bytesRead })
}

function checkLayouts(source: Layout, destination: Layout): void {
  if (sameLayout(source, destination)) return
  const text = ({ objectSize, stripeUnit, stripeCount }: Layout) => `${objectSize}/${stripeUnit}/${stripeCount}`
  throw new LayoutMismatch(
    `the images are laid out differently (object size/stripe unit/stripe count): source ${text(source)}, destination ${text(destination)}`,
  )
}

/** A replica has its primary's object size and striping, or it is no replica of it. */
export class LayoutMismatch extends Error {
  override name = 'LayoutMismatch'
}

/** The destination has an object map, and its exclusive lock is not ours (any more): its data may not be written. */
export class ObjectMapClosed extends Error {
  override name = 'ObjectMapClosed'
  constructor(image: string) {
    super(`the object map of image ${image} is not open: the image's exclusive lock is not held`)
  }
}

function has(header: ImageHeader, snap: SnapId): boolean {
  return header.snapshots.some(({ id }) => id === snap)
}

function snapshotSize(header: ImageHeader, snap: SnapId): number {
  const size = header.snapshots.find(({ id }) => id === snap)?.size
  if (size === undefined) throw new SnapshotGone(`image ${header.name} has no snapshot ${snap}`)
  return size
}

/** The snapshot that the copy starts from or leads to is not there: the copy has to be planned anew. */
export class SnapshotGone extends Error {
  override name = 'SnapshotGone'
}

/** values of the vector of work: what is to be done with an object */
const Work = { none: 0, write: 1, remove: 2 } as const
const WORK_WRITE = 1 << Work.write
const WORK_ANY = WORK_WRITE | (1 << Work.remove)

/**
 * What object maps leave to do: copy what changed, and look at what the destination has and the source has not (left by a copy of
 * another snapshot that was given up).
 */
function findWork(diff: TwoBitVector, destination: TwoBitVector | undefined, total: number): TwoBitVector {
  const result = new TwoBitVector(total)
  const padded = diff.length === total ? diff : diff.resized(total)
  const there = destination && (destination.length === total ? destination : destination.resized(total))
  for (let at = 0; at < result.bytes.length; at++) result.bytes[at] = workTable[(padded.bytes[at]! << 8) | (there?.bytes[at] ?? 0)]!
  return result
}

const workTable = new Uint8Array(65536)
for (let pair = 0; pair < 65536; pair++) {
  for (let shift = 0; shift < 8; shift += 2) {
    const diff = (pair >> (8 + shift)) & 3
    const there = ((pair >> shift) & 3) !== ObjectState.nonexistent
    const todo =
      diff === DiffState.dataUpdated
        ? Work.write
        : diff === DiffState.holeUpdated || (diff === DiffState.hole && there)
          ? Work.remove
          : Work.none
    workTable[pair]! |= todo << shift
  }
}

/** Objects that the destination's parent backs, and at this snapshot of the source nothing does any more: it was flattened. */
function hiddenObjects({ source, destination }: CopyRequest, layout: Layout, snap: SnapId): { start: number; end: number } {
  const overlap = source.header.snapshots.find(({ id }) => id === snap)?.parentOverlap ?? 0
  const backed = Math.min(destination.header.parent?.overlap ?? 0, snapshotSize(source.header, snap))
  return { start: objectCount(layout, overlap), end: objectCount(layout, backed) }
}

/** Adds those that the source does not have; such as were hidden before, by the destination's map, are left out. */
function addHidden(work: TwoBitVector, diff: TwoBitVector, { start, end }: { start: number; end: number }, hidden: TwoBitVector | undefined): void {
  for (let object = start; object < Math.min(end, work.length); object++) {
    if (object < diff.length && diff.get(object) !== DiffState.hole) continue
    const there = hidden !== undefined && object < hidden.length && hidden.get(object) !== ObjectState.nonexistent
    work.set(object, there ? Work.none : Work.remove)
  }
}

/** Which objects are known not to have existed at the start. */
function newObjects({ fromSnap, destination, compare }: CopyRequest, diff: ObjectDiff): (object: number) => boolean {
  if (compare) return () => false
  if (fromSnap === 0n) return () => true
  // copying up puts a parent's data into older snapshots' objects too, after their maps were written
  if (!diff.known || !diff.start || destination.header.parent) return () => false
  const { start } = diff
  return (object) => object >= start.length || start.get(object) === ObjectState.nonexistent
}

/** Gives back the end of the object map when the image was made smaller before the copy. */
async function dropMapTail({ objectMap, destination }: CopyRequest, layout: Layout, finalObjects: number): Promise<void> {
  if (!objectMap) return
  const needed = Math.max(finalObjects, objectCount(layout, destination.header.size))
  if (objectMap.states.length > needed) await objectMap.resize(needed)
}
