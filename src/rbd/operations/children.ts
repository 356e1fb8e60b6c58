import * as rbd from '../../cls/rbd/client.ts'
import { Errno, isErrno, ifThere } from '../../rados/errors.ts'
import type { IoCtx, SnapId } from '../../rados/io-ctx.ts'
import { OP_FEATURE_CLONE_CHILD } from '../features.ts'
import type { ImageParent } from '../header.ts'
import { findSnapshot } from '../header.ts'
import type { Image } from '../image.ts'
import { headerName, RBD_CHILDREN } from '../names.ts'
import { removeSnapshot } from './snapshot-remove.ts'

/** The pool and namespace of an image's parent; undefined when the pool is gone. The caller closes it. */
export async function openParentPool(image: Pick<Image, 'options' | 'io'>, parent: ImageParent): Promise<IoCtx | undefined> {
  let pool: IoCtx
  try {
    pool = await image.options.cluster.openPoolById(parent.poolId)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
  if (parent.poolNamespace === '') return pool
  const context = pool.duplicate({ namespace: parent.poolNamespace })
  pool.close()
  return context
}

/** Whether clones of format v2 hang on the snapshot; those whose pool is gone are forgotten. */
export async function snapshotHasChildren(image: Image, snapId: SnapId): Promise<boolean> {
  const { childCount } = await rbd.snapshotGet.call(image.io, image.headerOid, { snapId })
  if (childCount === 0) return false
  const pools = new Set((await image.options.cluster.listPools()).map(({ id }) => id))
  let living = 0
  for (const child of await childrenOf(image.io, image.id, snapId)) {
    if (pools.has(child.poolId)) living++
    else await ifThere(rbd.childDetach.call(image.io, image.headerOid, { snapId, child }))
  }
  return living > 0
}

/** Clones of format v2 of a snapshot. */
export async function childrenOf(io: IoCtx, imageId: string, snapId: SnapId) {
  try {
    return await rbd.childrenList.call(io, headerName(imageId), { snapId })
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return []
    throw error
  }
}

/** Whether clones of format v1 hang on a snapshot. */
export async function hasOldChildren(image: Image, snapId: SnapId): Promise<boolean> {
  return (await oldChildrenOf(image, snapId, 1)).length > 0
}

/** Clones of format v1 of a snapshot in any pool, for only their own pools know of them; `max` are enough. */
export async function oldChildrenOf(image: Image, snapId: SnapId, max = Number.POSITIVE_INFINITY): Promise<{ poolId: bigint; imageId: string }[]> {
  const found: { poolId: bigint; imageId: string }[] = []
  for (const { id } of await image.options.cluster.listPools()) {
    let pool: IoCtx
    try {
      pool = await image.options.cluster.openPoolById(id)
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) continue
      throw error
    }
    try {
      const children = await rbd.getChildren.call(pool, RBD_CHILDREN, { poolId: image.io.poolId, imageId: image.id, snapId })
      found.push(...[...children].map((imageId) => ({ poolId: id, imageId })))
      if (found.length >= max) break
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    } finally {
      pool.close()
    }
  }
  return found
}

/**
 * Tells the parent that this image no longer is its child (librbd/image/DetachChildRequest.cc); a trashed parent snapshot that loses its last
 * child so is removed.
 */
export async function detachFromParent(image: Image, parent: ImageParent): Promise<void> {
  const { poolId, imageId, snapId } = parent
  if ((image.header.opFeatures & OP_FEATURE_CLONE_CHILD) === 0n) {
    return ifThere(rbd.removeChild.call(image.io, RBD_CHILDREN, { parent: { poolId, imageId, snapId }, childId: image.id }))
  }
  const pool = await openParentPool(image, parent)
  if (!pool) return
  try {
    const child = { poolId: image.io.poolId, poolNamespace: image.io.namespace, imageId: image.id }
    await ifThere(rbd.childDetach.call(pool, headerName(imageId), { snapId, child }))
    await removeTrashedParentSnapshot(image, pool, parent)
  } finally {
    pool.close()
  }
}

async function removeTrashedParentSnapshot(image: Image, pool: IoCtx, { imageId, snapId }: ImageParent): Promise<void> {
  try {
    const snapshot = await rbd.snapshotGet.call(pool, headerName(imageId), { snapId })
    if (snapshot.namespace.type !== 'trash' || snapshot.childCount > 0) return
    const parentImage = await image.openOther(pool, imageId)
    try {
      if (findSnapshot(parentImage.header, snapId)) await removeSnapshot(parentImage, snapId)
    } finally {
      await parentImage.close()
    }
  } catch (error) {
    // the child is detached, which is what was asked for; the snapshot waits for whoever empties the trash
    image.options.log.warn({ imageId: image.id, parentId: imageId, error: String(error) }, 'trashed snapshot of the parent not removed')
  }
}
