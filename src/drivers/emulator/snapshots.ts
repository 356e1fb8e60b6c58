import { Extents } from '../../base/extents.ts'
import { NO_SNAP, type ByteExtent, type SnapContext, type SnapSet } from '../../rados/io-ctx.ts'
import { HEAD_OMAP, type OmapId } from './engine.ts'
import type { Clone, ObjectHead, ObjectState } from './object-head.ts'

/*
 * Self-managed snapshots of one object, as PrimaryLogPG.cc has them: `make_writeable`, `find_object_context`, `_rollback_to`,
 * `trim_object`.
 */

export interface StateAt {
  readonly state: ObjectState
  readonly omap: OmapId
  /** the clone; undefined for the head */
  readonly clone: Clone | undefined
}

/** What reads at `snap` see: the head, a clone, or nothing. */
export function stateAt(head: ObjectHead | undefined, snap: bigint): StateAt | undefined {
  if (!head) return undefined
  if (snap === NO_SNAP || snap > head.snapSeq) return head.exists ? { state: head, omap: HEAD_OMAP, clone: undefined } : undefined
  const clone = head.clones.find(({ id }) => id >= snap)
  return clone && clone.snaps.length > 0 && clone.snaps[0]! <= snap ? { state: clone, omap: clone.id, clone } : undefined
}

/** A clone of the head is due before it changes under `context`. */
export function needsClone(head: ObjectHead | undefined, context: SnapContext | undefined): context is SnapContext {
  return head?.exists === true && context !== undefined && context.snaps.length > 0 && context.snaps[0]! > head.snapSeq
}

/** The head as it is before the change, for the snapshots that are newer than its last one. */
export function cloneOf(head: ObjectHead, version: number, context: SnapContext): Clone {
  const { size, mtime, chunks, xattrs, omap } = head
  const snaps = context.snaps.filter((snap) => snap > head.snapSeq).reverse()
  return { size, mtime, chunks, xattrs, omap, id: context.seq, snaps, overlap: size > 0 ? [[0, size]] : [], version }
}

/** The newest clone shares what was not modified. */
export function withoutModified(clones: readonly Clone[], modified: Extents): readonly Clone[] {
  const newest = clones.at(-1)
  if (!newest || modified.empty) return clones
  return [...clones.slice(0, -1), { ...newest, overlap: byteExtents(extentsOf(newest.overlap).subtract(modified)) }]
}

/** Which bytes of the head change when it is rolled back to `clone`: all but what every clone since shares with the next. */
export function modifiedByRollback(head: ObjectHead, clone: Clone): Extents {
  let shared = Extents.of([0, head.size])
  for (const { id, overlap } of head.clones) if (id >= clone.id) shared = shared.intersection(extentsOf(overlap))
  return Extents.of([0, head.size]).subtract(shared)
}

/** The clones without `snap`; one that serves no snapshot any more is gone, and the next older one shares what both did. */
export function trimSnap(clones: readonly Clone[], snap: bigint): { clones: readonly Clone[]; removed: readonly Clone[] } {
  const kept: Clone[] = []
  const removed: Clone[] = []
  for (const clone of clones) {
    const snaps = clone.snaps.filter((one) => one !== snap)
    if (snaps.length > 0) {
      kept.push(snaps.length === clone.snaps.length ? clone : { ...clone, snaps })
      continue
    }
    removed.push(clone)
    const older = kept.pop()
    if (older) kept.push({ ...older, overlap: byteExtents(extentsOf(older.overlap).intersection(extentsOf(clone.overlap))) })
  }
  return { clones: kept, removed }
}

export function snapSetOf(head: ObjectHead): SnapSet {
  const clones: SnapSet['clones'] = head.clones.map(({ id, snaps, overlap, size }) => ({ id, snaps: [...snaps], overlap: [...overlap], size }))
  if (head.exists) clones.push({ id: NO_SNAP, snaps: [], overlap: [], size: head.size })
  return { seq: head.snapSeq, clones }
}

function extentsOf(overlap: readonly ByteExtent[]): Extents {
  return Extents.of(...overlap.map(([offset, length]) => [offset, offset + length] as const))
}

function byteExtents(extents: Extents): ByteExtent[] {
  return extents.toArray().map(([start, end]) => [start, end - start])
}
