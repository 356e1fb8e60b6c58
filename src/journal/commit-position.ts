import type { ObjectPosition } from '../cls/journal/types.ts'

/** Where an entry lies and which one it is: what a commit position is made of. */
export type EntryPosition = ObjectPosition

/**
 * The commit position after `entries`, the newest last, have been committed in their order: for each splay offset the newest position, the
 * most recent one first (JournalMetadata::committed).
 */
export function advancePositions(
  before: readonly ObjectPosition[],
  entries: readonly EntryPosition[],
  splayWidth: number,
): ObjectPosition[] {
  const positions: ObjectPosition[] = []
  const seen = new Set<number>()
  const add = ({ objectNumber, tagTid, entryTid }: ObjectPosition) => {
    const offset = objectNumber % splayWidth
    if (seen.has(offset)) return
    seen.add(offset)
    positions.push({ objectNumber, tagTid, entryTid })
  }
  for (let index = entries.length - 1; index >= 0 && seen.size < splayWidth; index--) add(entries[index]!)
  before.forEach(add)
  return positions
}
