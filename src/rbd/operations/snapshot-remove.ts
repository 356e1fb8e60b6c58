import * as rbd from '../../cls/rbd/client.ts'
import type { SnapshotNamespace } from '../../cls/rbd/types.ts'
import { Errno, isErrno, ifThere } from '../../rados/errors.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import { FEATURE_FAST_DIFF, FEATURE_JOURNALING } from '../features.ts'
import { findSnapshot, type ImageSnapshot } from '../header.ts'
import type { Image } from '../image.ts'
import { isOrphan } from '../mirror/mirror-snapshot.ts'
import { removeImageState } from '../mirror/image-state.ts'
import { detachFromParent, snapshotHasChildren } from './children.ts'
import { changeHeader, invoke, operationError, requirePrimary, type OperationOptions } from './invoke.ts'

/**
 * Removes a snapshot, by the lock owner where object maps or a journal have to follow. A user snapshot with children of format v2 goes to the
 * snapshot trash instead. Rejects with EBUSY for a protected snapshot, or one in the trash that still has children.
 * A snapshot that is not there is no error.
 */
export async function removeSnapshot(image: Image, snapId: SnapId, options?: OperationOptions): Promise<void> {
  const snapshot = findSnapshot(await image.refreshIfNeeded(), snapId)
  if (!snapshot) return
  const proxied = (image.header.features & (FEATURE_FAST_DIFF | FEATURE_JOURNALING)) !== 0n
  if (snapshot.namespace.type !== 'trash') requirePrimary(image, 'remove snapshot')
  if (!proxied) return removeSnapshotHere(image, snapId)
  const { namespace, name } = snapshot
  try {
    await invoke(
      image,
      { name: 'remove snapshot', local: () => removeSnapshotHere(image, snapId), request: { type: 'snapRemove', namespace, name } },
      options,
    )
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
}

/**
 * Removes a snapshot here and now; the lock must be ours if the image has fast-diff.
 *
 *     into the trash → children? end here → detach from our own parent → object map → mirror image state
 *       → snapshot id, for which a monitor may take a second → header → peers told
 *
 * Each step can be done again after a crash, because the header keeps the snapshot until the last one.
 */
export async function removeSnapshotHere(image: Image, snapId: SnapId): Promise<void> {
  let removable = false
  await image.operations.run('header', async () => {
    const snapshot = findSnapshot(await image.refreshIfNeeded(), snapId)
    if (snapshot) removable = await strip(image, snapshot)
    if (snapshot && !removable) await image.headerChanged()
  })
  if (!removable) return
  await ifThere(image.data().removeSelfManagedSnap(snapId))
  await changeHeader(image, () => ifThere(rbd.snapshotRemove.call(image.io, image.headerOid, { snapId })))
}

/** Takes everything from a snapshot but its id and its entry in the header. False: it has children, and stays in the trash. */
async function strip(image: Image, snapshot: ImageSnapshot): Promise<boolean> {
  const { id: snapId, name } = snapshot
  if (snapshot.protection !== 'unprotected') throw operationError(image, Errno.EBUSY, `remove protected snapshot ${name}`)
  const trashed = await moveToTrash(image, snapshot)
  if (await snapshotHasChildren(image, snapId)) {
    if (trashed) return false
    throw operationError(image, Errno.EBUSY, `remove snapshot ${name} with children`)
  }
  await dropParentReference(image, snapshot)
  await image.objectMap?.removeSnapshot(snapId)
  if (hasImageState(snapshot.namespace)) await removeImageState(image.io, image.id, snapId)
  return true
}

/** Only while it is in the trash can a snapshot lose its last child and its name be used again. False: it was there already. */
async function moveToTrash(image: Image, { id: snapId, namespace }: ImageSnapshot): Promise<boolean> {
  if (namespace.type === 'trash') return false
  try {
    await rbd.snapshotTrashAdd.call(image.io, image.headerOid, { snapId })
  } catch (error) {
    if (!isErrno(error, Errno.EEXIST, Errno.EOPNOTSUPP)) throw error
  }
  return true
}

/** The parent may forget us when neither the head nor another snapshot reads from it. */
async function dropParentReference(image: Image, snapshot: ImageSnapshot): Promise<void> {
  const { parent, snapshots } = image.header
  if (!parent || snapshot.parentOverlap === undefined || parent.overlap !== undefined) return
  if (snapshots.some(({ id, parentOverlap }) => id !== snapshot.id && parentOverlap !== undefined)) return
  await detachFromParent(image, parent)
}

/** Also of one whose removal was cut short when it was in the trash already. */
function hasImageState(namespace: SnapshotNamespace): boolean {
  return namespace.type === 'trash' ? namespace.originalType === 'mirror' : namespace.type === 'mirror' && !isOrphan(namespace)
}
