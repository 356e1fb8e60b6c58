import { Extents } from '../../base/extents.ts'
import { NO_SNAP, type SnapId, type SnapSet } from '../../rados/io-ctx.ts'

/** How an object got from one snapshot to a later one. */
export type ObjectChange =
  /** as it was: absent both times, or not written */
  | { type: 'none' }
  | { type: 'removed' }
  /** was absent; now `size` bytes */
  | { type: 'created'; size: number }
  /** it ends at `size`; `extents`, all below that, may differ */
  | { type: 'changed'; extents: Extents; size: number }

/**
 * Which entry of `set.clones` is read at `snap`; undefined when the object does not exist there (0: the beginning of time).
 * The same rule as the OSD's (PrimaryLogPG::find_object_context).
 */
export function cloneAt(set: SnapSet, snap: SnapId): number | undefined {
  if (snap === 0n) return undefined
  const last = set.clones.length - 1
  if (snap > set.seq) return set.clones[last]?.id === NO_SNAP ? last : undefined
  for (const [index, clone] of set.clones.entries()) {
    if (clone.id === NO_SNAP || clone.id < snap) continue
    // the oldest snapshot that has it: a gap before it is a time without the object
    const oldest = clone.snaps.reduce((a, b) => (b < a ? b : a), clone.id)
    return clone.snaps.length > 0 && oldest <= snap ? index : undefined
  }
  return undefined
}

/**
 * What changed from entry `from` to entry `to` of the set (as {@link cloneAt} gives them). Between neighbours everything may differ that
 * the older one's overlap does not name; over several entries that adds up. An object that was removed and made anew in between shares nothing.
 */
export function changeBetween(set: SnapSet, from: number | undefined, to: number | undefined): ObjectChange {
  if (from === to) return { type: 'none' }
  if (to === undefined) return { type: 'removed' }
  const { size } = set.clones[to]!
  if (from === undefined) return { type: 'created', size }
  const extents = new Extents()
  let largest = 0
  for (let index = from; index < to; index++) {
    const older = set.clones[index]!
    const newer = set.clones[index + 1]!
    const changed = Extents.of([0, Math.max(older.size, newer.size)])
    for (const [offset, length] of older.overlap) changed.remove(offset, offset + length)
    extents.union(changed)
    largest = Math.max(largest, older.size)
  }
  extents.remove(size, Number.MAX_SAFE_INTEGER)
  return extents.empty && largest <= size ? { type: 'none' } : { type: 'changed', extents, size }
}
