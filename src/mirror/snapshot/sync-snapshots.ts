import { setSize } from '../../cls/rbd/client.ts'
import { NO_SNAP, type SnapId } from '../../rados/io-ctx.ts'
import { layoutOf, objectCount } from '../../rbd/data/striping.ts'
import { FEATURE_DEEP_FLATTEN, hasFeature } from '../../rbd/features.ts'
import type { ImageSnapshot } from '../../rbd/header.ts'
import type { Image } from '../../rbd/image.ts'
import type { ImageState } from '../../rbd/mirror/image-state.ts'
import { flattenImageHere } from '../../rbd/operations/flatten.ts'
import { raiseParentOverlapHere } from '../../rbd/operations/parent-overlap.ts'
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
  /** the head is as the last complete sync has left it */
  pristine: boolean
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
export async function syncSnapshots({ local, changes, to, state, pristine, takeSnapId, signal }: SnapshotSync): Promise<Map<SnapId, SnapId>> {
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
  const flattens = mayFlatten(local, changes.create, pristine)
  for (const snapshot of changes.create) {
    const { id, name, protection } = snapshot
    signal.throwIfAborted()
    await setHead(local, snapshot, flattens, signal)
    const localId = await createSnapshotHere(local, { name, namespace: { type: 'user' }, snapId: await takeSnapId() })
    if (protection === 'protected') await protectSnapshotHere(local, localId)
    snapSeqs.set(id, localId)
  }
  await setHead(local, to, flattens, signal)
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
 * The head's size, and how much of it a clone's parent backs, as the remote snapshot has it (`parentOverlap` undefined: nothing any more).
 *
 * @param flattens whether a clone whose remote is none any more is flattened
 */
export async function setHead(image: Image, { size, parentOverlap }: HeadExtent, flattens: boolean, signal: AbortSignal): Promise<void> {
  const overlap = image.header.parent?.overlap
  if (overlap !== undefined && parentOverlap === undefined && flattens) await flattenImageHere(image, { signal })
  // the remote was smaller in between: an image that shrinks loses that much of its parent
  if (overlap !== undefined && parentOverlap !== undefined && parentOverlap < overlap) await setHeadSize(image, parentOverlap)
  await setHeadSize(image, size)
  // this one was smaller: when it was made, as the remote's head was then, or while it was primary itself
  if (parentOverlap !== undefined && parentOverlap > (overlap ?? 0)) await raiseParentOverlapHere(image, parentOverlap)
}

type HeadExtent = Pick<ImageSnapshot, 'size' | 'parentOverlap'>

/**
 * A clone that was flattened on the remote is flattened here before it gets the new data. But where that takes the parent from older snapshots too
 * (deep-flatten), these may have nothing else: objects that the head has already are not copied up into them. Of the mirror-snapshots only the newest
 * matters, which has the objects of the head unless another sync was begun since; user snapshots were synced before. And new snapshots that have the
 * parent still could not be made anew after a crash. The parent then stays for the time being; nothing of it is seen in the head, where the copy hides it.
 */
function mayFlatten({ header }: Image, created: readonly ImageSnapshot[], pristine: boolean): boolean {
  if (created.some(({ parentOverlap }) => parentOverlap !== undefined)) return false
  if (!hasFeature(header.features, FEATURE_DEEP_FLATTEN)) return true
  return pristine && header.snapshots.every(({ namespace, parentOverlap }) => namespace.type === 'mirror' || parentOverlap === undefined)
}

/**
 * The head's size as the header tells it. Data that a smaller size cuts off stays until the copy has looked at it, and the object map keeps
 * its length for that long.
 */
async function setHeadSize(image: Image, size: number): Promise<void> {
  await image.operations.run('header', async () => {
    const header = await image.refreshIfNeeded()
    if (header.size === size) return
    const objects = objectCount(layoutOf(header), size)
    if (image.objectMap && objects > image.objectMap.states.length) await image.objectMap.resize(objects)
    await setSize.call(image.io, image.headerOid, { size })
    await image.refresh()
  })
}
