import * as rbd from '../../cls/rbd/client.ts'
import { Errno } from '../../rados/errors.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import { FEATURE_JOURNALING, FEATURE_LAYERING, hasFeature } from '../features.ts'
import type { OperationRequest } from '../header-watcher.ts'
import { findSnapshot, type ImageSnapshot } from '../header.ts'
import type { Image } from '../image.ts'
import { hasOldChildren } from './children.ts'
import { changeHeader, invoke, invokeHere, operationError, requirePrimary, type OperationOptions } from './invoke.ts'

/** "no limit" of snapshots */
export const NO_SNAPSHOT_LIMIT = 0xffffffffffffffffn

/** librbd goes to the lock owner with these only where a journal has to know. */
async function edit(image: Image, name: string, local: () => Promise<void>, request: OperationRequest, options?: OperationOptions): Promise<void> {
  const { features } = await image.refreshIfNeeded()
  if (hasFeature(features, FEATURE_JOURNALING)) await invoke(image, { name, local, request }, options)
  else {
    requirePrimary(image, name)
    await local()
  }
}

export function requireSnapshot(image: Image, id: SnapId, op: string): ImageSnapshot {
  const snapshot = findSnapshot(image.header, id)
  if (!snapshot) throw operationError(image, Errno.ENOENT, op)
  return snapshot
}

/** Only user snapshots can be renamed. Rejects with EEXIST for a name that is taken; its own name is no error. */
export function renameSnapshot(image: Image, snapId: SnapId, name: string, options?: OperationOptions): Promise<void> {
  return edit(image, 'rename snapshot', () => renameSnapshotHere(image, snapId, name), { type: 'snapRename', snapId, name }, options)
}

export function renameSnapshotHere(image: Image, snapId: SnapId, name: string): Promise<void> {
  return changeHeader(image, async () => {
    if (requireSnapshot(image, snapId, 'rename snapshot').name === name) return
    await rbd.snapshotRename.call(image.io, image.headerOid, { snapId, name })
  })
}

/** Protected snapshots are the parents of clones of format v1. A snapshot that is protected already is no error. */
export async function protectSnapshot(image: Image, snapId: SnapId, options?: OperationOptions): Promise<void> {
  const { namespace, name } = requireSnapshot(image, snapId, 'protect snapshot')
  await edit(image, 'protect snapshot', () => protectSnapshotHere(image, snapId), { type: 'snapProtect', namespace, name }, options)
}

export function protectSnapshotHere(image: Image, snapId: SnapId): Promise<void> {
  return changeHeader(image, async () => {
    if (!hasFeature(image.header.features, FEATURE_LAYERING)) throw operationError(image, Errno.ENOSYS, 'protect snapshot')
    if (requireSnapshot(image, snapId, 'protect snapshot').protection === 'protected') return
    await rbd.setProtectionStatus.call(image.io, image.headerOid, { snapId, status: 'protected' })
  })
}

/** Rejects with EBUSY while clones of format v1 hang on it. A snapshot that is not protected is no error. */
export async function unprotectSnapshot(image: Image, snapId: SnapId, options?: OperationOptions): Promise<void> {
  const { namespace, name } = requireSnapshot(image, snapId, 'unprotect snapshot')
  await edit(image, 'unprotect snapshot', () => unprotectSnapshotHere(image, snapId), { type: 'snapUnprotect', namespace, name }, options)
}

/** `unprotecting` lets no clone begin while it is looked for children (librbd/operation/SnapshotUnprotectRequest.cc). */
export function unprotectSnapshotHere(image: Image, snapId: SnapId): Promise<void> {
  return changeHeader(image, async () => {
    if (requireSnapshot(image, snapId, 'unprotect snapshot').protection === 'unprotected') return
    const setStatus = (status: ImageSnapshot['protection']) => rbd.setProtectionStatus.call(image.io, image.headerOid, { snapId, status })
    await setStatus('unprotecting')
    await image.watcher?.notifyHeaderUpdate()
    if (await hasOldChildren(image, snapId)) {
      await setStatus('protected')
      throw operationError(image, Errno.EBUSY, 'unprotect snapshot with children')
    }
    await setStatus('unprotected')
  })
}

/** How many snapshots users may make; {@link NO_SNAPSHOT_LIMIT} for any number. */
export async function setSnapshotLimit(image: Image, limit: bigint): Promise<void> {
  const journaled = image.options.journaled && hasFeature((await image.refreshIfNeeded()).features, FEATURE_JOURNALING)
  if (journaled) await invokeHere(image, 'set snapshot limit', { type: 'snapLimit', limit }, () => setSnapshotLimitHere(image, limit))
  else {
    requirePrimary(image, 'set snapshot limit')
    await setSnapshotLimitHere(image, limit)
  }
}

export function setSnapshotLimitHere(image: Image, limit: bigint): Promise<void> {
  return changeHeader(image, () => rbd.snapshotSetLimit.call(image.io, image.headerOid, { limit }))
}

export function getSnapshotLimit(image: Image): Promise<bigint> {
  return rbd.snapshotGetLimit.call(image.io, image.headerOid)
}
