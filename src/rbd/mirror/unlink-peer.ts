import { mirrorImageSnapshotUnlinkPeer } from '../../cls/rbd/mirror-client.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import type { Image } from '../image.ts'
import { removeSnapshot } from '../operations/snapshot-remove.ts'
import { mirrorSnapshots } from './mirror-snapshot.ts'

/**
 * Tells an image that a peer no longer needs these mirror-snapshots (librbd/mirror/snapshot/UnlinkPeerRequest.cc). Where the OSD refuses to
 * unlink the last peer (ERESTART, before 17.2), a snapshot that has a newer one is removed instead, by the lock owner. Snapshots and links
 * that are gone already are no error.
 */
export async function unlinkPeer(image: Image, snapIds: readonly SnapId[], mirrorPeerUuid: string, signal?: AbortSignal): Promise<void> {
  const refused = await Promise.all(snapIds.map((snapId) => unlinkOne(image, snapId, mirrorPeerUuid)))
  if (refused.includes(false)) await image.headerChanged()
  const newest = mirrorSnapshots(image.header.snapshots).at(-1)?.id ?? 0n
  for (const [index, snapId] of snapIds.entries()) {
    if (refused[index] && snapId < newest) await removeSnapshot(image, snapId, { signal })
  }
}

/** True if it was the last peer and can't be unlinked. */
async function unlinkOne(image: Image, snapId: SnapId, mirrorPeerUuid: string): Promise<boolean> {
  try {
    await mirrorImageSnapshotUnlinkPeer.call(image.io, image.headerOid, { snapId, mirrorPeerUuid })
    return false
  } catch (error) {
    if (isErrno(error, Errno.ERESTART)) return true
    if (isErrno(error, Errno.ENOENT)) return false
    throw error
  }
}

/**
 * Makes a peer do without a mirror-snapshot of a primary. One that nobody else follows is removed if there is a newer one.
 * A snapshot that is gone is no error.
 */
export async function forgetSnapshot(image: Image, snapId: SnapId, mirrorPeerUuid: string, signal?: AbortSignal): Promise<void> {
  const mirrored = mirrorSnapshots((await image.refreshIfNeeded()).snapshots)
  const snapshot = mirrored.find(({ id }) => id === snapId)
  if (!snapshot) return
  const others = [...snapshot.namespace.mirrorPeerUuids].filter((uuid) => uuid !== mirrorPeerUuid)
  if (others.length === 0 && mirrored.at(-1) !== snapshot) return removeSnapshot(image, snapId, { signal })
  if (!snapshot.namespace.mirrorPeerUuids.has(mirrorPeerUuid)) return
  await unlinkPeer(image, [snapId], mirrorPeerUuid, signal)
  await image.headerChanged()
}
