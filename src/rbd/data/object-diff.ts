import { Errno, isErrno } from '../../rados/errors.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import type { IoCtx, SnapId } from '../../rados/io-ctx.ts'
import { FEATURE_FAST_DIFF, FEATURE_OBJECT_MAP, FLAG_FAST_DIFF_INVALID, FLAG_OBJECT_MAP_INVALID, hasFeature } from '../features.ts'
import { loadHeader, type ImageHeader } from '../header.ts'
import { objectMapName } from '../names.ts'
import { loadObjectStates, ObjectState, type ObjectStates } from './object-states.ts'
import { layoutOf, objectCount } from './striping.ts'
import { TwoBitVector } from './two-bit-vector.ts'

/** What happened to an object between two snapshots, as far as object maps tell. */
export const DiffState = {
  /** never existed */
  hole: 0,
  /** existed all the time and was not written */
  data: 1,
  /** existed at some time, no longer at the end */
  holeUpdated: 2,
  /** exists at the end and was, or may have been, written or created */
  dataUpdated: 3,
} as const
export type DiffState = (typeof DiffState)[keyof typeof DiffState]

export type ObjectDiff =
  | {
      known: true
      /** one DiffState per object that existed at any time */
      states: TwoBitVector
      /** the object map at the start; undefined for a diff from the beginning of time */
      start: ObjectStates | undefined
    }
  /** every object has to be looked at */
  | { known: false; reason: string }

/** maps that are read ahead while one is merged */
const readAhead = 4

/**
 * Which objects of an image changed between two of its snapshots (`fromSnap` 0: since the image was made). A map says only what changed
 * since the snapshot before it, so those of all snapshots in between are merged too. Without fast-diff every object that exists counts as
 * updated. Rejects with RadosError other than for a missing map. (Ceph's librbd/object_map/DiffRequest.cc.)
 */
export async function diffObjects(
  io: IoCtx,
  header: ImageHeader,
  fromSnap: SnapId,
  toSnap: SnapId,
  signal?: AbortSignal,
): Promise<ObjectDiff> {
  if (!hasFeature(header.features, FEATURE_OBJECT_MAP)) return { known: false, reason: 'the image has no object map' }
  const fastDiff = hasFeature(header.features, FEATURE_FAST_DIFF)
  const layout = layoutOf(header)
  const snapshots = header.snapshots
    .filter(({ id }) => id >= fromSnap && id <= toSnap)
    .sort((a, b) => (a.id < b.id ? -1 : 1))
  for (const end of fromSnap === 0n ? [toSnap] : [fromSnap, toSnap]) {
    if (!snapshots.some(({ id }) => id === end)) return { known: false, reason: `the image has no snapshot ${end}` }
  }
  // a map that only tells what exists is as good for a diff from the beginning
  let trustWrites = fastDiff
  for (const { id, flags } of snapshots) {
    if ((flags & FLAG_OBJECT_MAP_INVALID) !== 0n) return { known: false, reason: `the object map of snapshot ${id} is invalid` }
    if ((flags & FLAG_FAST_DIFF_INVALID) !== 0n) trustWrites = false
  }

  const load = (id: SnapId) => {
    const loading = loadMap(io, objectMapName(header.id, id), signal)
    loading.catch(() => undefined) // told when its turn comes
    return loading
  }
  // maps of large images are megabytes each: only those that come next are kept
  const loadFrom = (index: number) => snapshots.slice(index, index + readAhead).map(({ id }) => load(id))
  let ahead = loadFrom(0)
  let states = new TwoBitVector(0)
  let start: ObjectStates | undefined
  for (const [index, { id, size }] of snapshots.entries()) {
    const map = await ahead.shift()!
    const following = snapshots[index + readAhead]
    if (following) ahead.push(load(following.id))
    const objects = objectCount(layout, size)
    if (map === undefined || map === 'malformed' || map.length < objects) {
      // a snapshot in between may have been removed since: its map was merged into the next one's first, which may have been read even before that
      if (map === undefined && id !== fromSnap && id !== toSnap && (await isRemoved(io, header.id, id))) {
        ahead = loadFrom(index + 1)
        continue
      }
      const what = map === undefined ? 'missing' : map === 'malformed' ? 'malformed' : 'too small'
      return { known: false, reason: `the object map of snapshot ${id} is ${what}` }
    }
    const exact = map.length === objects ? map : map.resized(objects)
    if (states.length < objects) states = states.resized(objects)
    if (id === fromSnap) start = exact
    mergeMap(states, exact, id === fromSnap ? 'start' : trustWrites ? 'fast-diff' : 'existence')
  }
  return { known: true, states, start }
}

/** Or is being removed, which begins in the trash; one that is not has no map because whoever made it died before that was made. */
async function isRemoved(io: IoCtx, imageId: string, snapId: SnapId): Promise<boolean> {
  const { snapshots } = await loadHeader(io, imageId, { access: 'read-only' })
  const snapshot = snapshots.find(({ id }) => id === snapId)
  return snapshot === undefined || snapshot.namespace.type === 'trash'
}

async function loadMap(io: IoCtx, oid: string, signal: AbortSignal | undefined): Promise<ObjectStates | 'malformed' | undefined> {
  try {
    return await loadObjectStates(io, oid, { signal })
  } catch (error) {
    if (error instanceof MalformedInput || isErrno(error, Errno.EINVAL)) return 'malformed'
    throw error
  }
}

type Merge = 'start' | 'fast-diff' | 'existence'

/** Merges the map of one more snapshot into the diff so far; what lies behind the map's end does not exist in it. */
export function mergeMap(diff: TwoBitVector, map: ObjectStates, merge: Merge): void {
  const table = mergeTable(merge)
  const { bytes } = diff
  const mapBytes = map.bytes
  const whole = map.length >>> 2
  for (let at = 0; at < whole; at++) bytes[at] = table[(bytes[at]! << 8) | mapBytes[at]!]!
  for (let index = whole * 4; index < Math.min(diff.length, whole * 4 + 4); index++) {
    const state = index < map.length ? map.get(index) : ObjectState.nonexistent
    diff.set(index, mergeOne(merge, diff.get(index), state))
  }
  for (let at = whole + 1; at < bytes.length; at++) bytes[at] = table[bytes[at]! << 8]!
}

function mergeOne(merge: Merge, before: number, map: number): DiffState {
  const exists = map !== ObjectState.nonexistent
  if (merge === 'start') {
    if (!exists) return DiffState.hole
    return map === ObjectState.pending ? DiffState.dataUpdated : DiffState.data
  }
  const clean = merge === 'fast-diff' && map === ObjectState.existsClean
  if (before === DiffState.hole) return exists ? DiffState.dataUpdated : DiffState.hole
  if (before === DiffState.data && exists && clean) return DiffState.data
  return exists ? DiffState.dataUpdated : DiffState.holeUpdated
}

const mergeTables = new Map<Merge, Uint8Array>()

/** four objects at once: (bytes of the diff << 8 | bytes of the map) → bytes of the diff */
function mergeTable(merge: Merge): Uint8Array {
  let table = mergeTables.get(merge)
  if (!table) {
    table = new Uint8Array(65536)
    for (let pair = 0; pair < 65536; pair++) {
      for (let shift = 0; shift < 8; shift += 2) table[pair]! |= mergeOne(merge, (pair >> (8 + shift)) & 3, (pair >> shift) & 3) << shift
    }
    mergeTables.set(merge, table)
  }
  return table
}
