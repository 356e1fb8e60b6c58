import { setSize } from '../../cls/rbd/client.ts'
import { NO_SNAP, type SnapId } from '../../rados/io-ctx.ts'
import { layoutOf, objectCount } from '../../rbd/data/striping.ts'
import type { ImageSnapshot } from '../../rbd/header.ts'
import type { Image } from '../../rbd/image.ts'
import type { ImageState } from '../../rbd/mirror/image-state.ts'
import { createSnapshotHere } from '../../rbd/operations/snapshot-create.ts'
import { getSnapshotLimit, NO_SNAPSHOT_LIMIT, protectSnapshotHere, renameSnapshotHere, setSnapshotLimit, unprotectSnapshotHere } from '../../rbd/operations/snapshot-edit.ts'
import { removeSnapshotHere } from '../../rbd/operations/snapshot-remove.ts'
import type { SnapshotChanges } from './snapshot-map.ts'

export interface SnapshotSync {
  local: Image
  changes: SnapshotChanges
  /** the remote snapshot that is synced */
  to: ImageSnapshot
  state: ImageState
  /** an unused snapshot id, if there are some allocated ahead */
  takeSnapId: () => Promise<SnapId | undefined>
  signal: AbortSignal
}

/**
 * Makes the local image's user snapshots ready for a sync, and its head as large as the remote snapshot; the snapshots get their contents with
 * the copy (librbd/deep_copy/SnapshotCopyRequest.cc, SnapshotCreateRequest.cc, SetHeadRequest.cc). Resolves with the `snapSeqs` of the sync.
 *
 *     left-overs unprotected, removed → for each new snapshot: head resized → snapshot → protected → head resized
 *
 * Done again after a crash it removes what it had made and makes it anew.
 */
export async function syncSnapshots({ local, changes, to, state, takeSnapId, signal }: SnapshotSync): Promise<Map<SnapId, SnapId>> {
  for (const { id, protection } of changes.remove) {
    if (protection !== 'unprotected') await unprotectSnapshotHere(local, id)
    await removeSnapshotHere(local, id)
  }
  const snapSeqs = new Map(changes.known)
  if (changes.create.length > 0) {
    await makeRoomForNames(local, changes, state)
    // the limit counts; the remote's own is set once everything is synced
    if ((await getSnapshotLimit(local)) !== NO_SNAPSHOT_LIMIT) await setSnapshotLimit(local, NO_SNAPSHOT_LIMIT)
  }
  for (const { id, name, size, protection } of changes.create) {
    signal.throwIfAborted()
    await setHeadSize(local, size)
    const localId = await createSnapshotHere(local, { name, namespace: { type: 'user' }, snapId: await takeSnapId() })
    if (protection === 'protected') await protectSnapshotHere(local, localId)
    snapSeqs.set(id, localId)
  }
  await setHeadSize(local, to.size)
  return snapSeqs.set(to.id, NO_SNAP)
}

/** Snapshots that were renamed or removed on the remote may still have a name here that a new one wants. */
async function makeRoomForNames(local: Image, { create, known }: SnapshotChanges, state: ImageState): Promise<void> {
  const wanted = new Set(create.map(({ name }) => name))
  const remoteIds = new Map([...known].map(([remoteId, localId]) => [localId, remoteId]))
  for (const { id, namespace, name } of local.header.snapshots) {
    if (namespace.type !== 'user' || !wanted.has(name)) continue
    const newName = state.snapshots.get(remoteIds.get(id) ?? 0n)?.name
    const taken = local.header.snapshots.some((other) => other.namespace.type === 'user' && other.name === newName)
    await renameSnapshotHere(local, id, newName === undefined || taken || wanted.has(newName) ? `.rbd-mirror.${id}` : newName)
  }
}

/**
 * The head's size as the header tells it. Data that a smaller size cuts off stays until the copy has looked at it, and the object map keeps
 * its length for that long.
 */
export async function setHeadSize(image: Image, size: number): Promise<void> {
  await image.operations.run('header', async () => {
    const header = await image.refreshIfNeeded()
    if (header.size === size) return
    const objects = objectCount(layoutOf(header), size)
    if (image.objectMap && objects > image.objectMap.states.length) await image.objectMap.resize(objects)
    await setSize.call(image.io, image.headerOid, { size })
    await image.refresh()
  })
}
