import type { ObjectContext } from '../../../objclass/object-context.ts'
import { entries, hex16, setValue } from '../../server-method.ts'
import { StoredParent, StoredSnapshot } from '../types.ts'
import { KEY, parentExists, stored } from './shared.ts'

/* The snapshots' records in an image's header. */

export const SNAPSHOT_PREFIX = 'snapshot_'

/** The keys of the image's snapshots, and the records behind them. */
export const snapshotKey = (id: bigint) => SNAPSHOT_PREFIX + hex16(id)

/** @throws ENOENT */
export function getSnapshot(object: ObjectContext, id: bigint): Promise<StoredSnapshot> {
  return stored.get(object, snapshotKey(id), StoredSnapshot)
}

/** All snapshots, the oldest first. */
export async function snapshots(object: ObjectContext): Promise<StoredSnapshot[]> {
  return (await entries(object, SNAPSHOT_PREFIX, '')).map(([key, value]) => stored.parse(StoredSnapshot, value, key))
}

/**
 * Writes a snapshot's record. A parent that it names itself, as releases before Nautilus had it, moves to the image's own record; the
 * snapshot keeps the overlap.
 */
export async function putSnapshot(object: ObjectContext, snapshot: StoredSnapshot): Promise<void> {
  let record = snapshot
  if (parentExists(snapshot.parent)) {
    if (!parentExists(await stored.find(object, KEY.parent, StoredParent)))
      setValue(object, KEY.parent, StoredParent, { ...snapshot.parent, headOverlap: undefined })
    record = { ...snapshot, parentOverlap: snapshot.parent.headOverlap, parent: undefined }
  }
  setValue(object, snapshotKey(record.id), StoredSnapshot, record)
}

/** Whether the snapshot shares data with a parent. */
export function hasParent({ parent, parentOverlap }: StoredSnapshot): boolean {
  return (parent !== undefined && parent.poolId !== -1n) || parentOverlap !== undefined
}
