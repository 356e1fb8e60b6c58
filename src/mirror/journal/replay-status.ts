import type { ObjectPosition } from '../../cls/journal/types.ts'
import type { TagData } from '../../rbd/journal/tag-data.ts'
import { LOCAL_MIRROR_UUID, ORPHAN_MIRROR_UUID } from '../../rbd/journal/tag-data.ts'

/** Seconds over which rates are averaged, as in the stock daemon. */
const RATE_WINDOW_SECONDS = 30

/** A moving average of a per-second rate over the last {@link RATE_WINDOW_SECONDS}. */
export class Rate {
  private readonly buckets: { second: number; amount: number }[] = []

  /** @param nowMs monotonic milliseconds */
  add(nowMs: number, amount: number): void {
    const second = Math.floor(nowMs / 1000)
    const last = this.buckets.at(-1)
    if (last?.second === second) last.amount += amount
    else this.buckets.push({ second, amount })
    this.expire(second)
  }

  perSecond(nowMs: number): number {
    const second = Math.floor(nowMs / 1000)
    this.expire(second)
    const first = this.buckets[0]
    if (!first) return 0
    const span = Math.max(1, second - first.second + 1)
    return this.buckets.reduce((sum, { amount }) => sum + amount, 0) / span
  }

  private expire(second: number): void {
    while (this.buckets[0] && this.buckets[0].second <= second - RATE_WINDOW_SECONDS) this.buckets.shift()
  }
}

/** Where the two clients of a journal are: the newest of their commit positions, undefined for none. */
export interface ReplayPositions {
  primary: ObjectPosition | undefined
  nonPrimary: ObjectPosition | undefined
}

/**
 * How many entries the mirror is behind: those since its position in its own tag, and all of later tags up to the primary's position. Tags
 * are followed backwards through their predecessors (ReplayStatusFormatter.cc of Ceph's rbd_mirror). A tag that is not known ends the count.
 */
export function entriesBehind({ primary, nonPrimary }: ReplayPositions, tags: ReadonlyMap<bigint, TagData>): number {
  if (!primary) return 0
  const mirrorTag = nonPrimary?.tagTid ?? 0n
  const mirrorEntry = nonPrimary?.entryTid ?? 0n
  let behind = 0n
  let tagTid = primary.tagTid
  let entryTid = primary.entryTid
  while (tagTid > mirrorTag) {
    behind += entryTid
    const predecessor = tags.get(tagTid)?.predecessor
    // only entries of this very journal count: those of another cluster's journal have tids of their own
    if (!predecessor || (predecessor.mirrorUuid !== LOCAL_MIRROR_UUID && predecessor.mirrorUuid !== ORPHAN_MIRROR_UUID)) return Number(behind)
    if (predecessor.tagTid >= tagTid) return Number(behind)
    ;({ tagTid, entryTid } = predecessor)
  }
  if (tagTid === mirrorTag && entryTid > mirrorEntry) behind += entryTid - mirrorEntry
  return Number(behind)
}

const twoPlaces = (value: number): number => Math.round(value * 100) / 100

const position = (at: ObjectPosition | undefined) =>
  at ? { entry_tid: Number(at.entryTid), object_number: Number(at.objectNumber), tag_tid: Number(at.tagTid) } : {}

/** The object behind `replaying, ` in a status description, its keys in the stock daemon's (alphabetical) order. */
export function replayDescription(
  positions: ReplayPositions,
  behind: number,
  rates: { bytesPerSecond: number; entriesPerSecond: number },
): Readonly<Record<string, unknown>> {
  return {
    bytes_per_second: twoPlaces(rates.bytesPerSecond),
    entries_behind_primary: behind,
    entries_per_second: twoPlaces(rates.entriesPerSecond),
    non_primary_position: position(positions.nonPrimary),
    primary_position: position(positions.primary),
    ...(behind > 0 && rates.entriesPerSecond > 0 ? { seconds_until_synced: Math.floor(twoPlaces(behind / rates.entriesPerSecond)) } : {}),
  }
}
