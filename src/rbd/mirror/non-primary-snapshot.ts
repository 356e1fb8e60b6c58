import { mirrorImageSnapshotSetCopyProgress } from '../../cls/rbd/mirror-client.ts'
import type { MirrorSnapshotNamespace } from '../../cls/rbd/types.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import { findSnapshotByName } from '../header.ts'
import type { Image } from '../image.ts'
import { createSnapshotHere } from '../operations/snapshot-create.ts'
import { NO_SNAPSHOT_LIMIT, setSnapshotLimit } from '../operations/snapshot-edit.ts'
import { writeImageState, type ImageState } from './image-state.ts'
import { mirrorNamespace, READS_AS_SYNCED } from './mirror-snapshot.ts'

export interface NonPrimarySnapshot {
  globalImageId: string
  /** the primary was demoted with the snapshot that this one stands for */
  demoted: boolean
  primaryMirrorUuid: string
  primarySnapId: SnapId
  /** who may follow this image once it is promoted: only of a demoted snapshot */
  mirrorPeerUuids: ReadonlySet<string>
  /** remote snapshot id → local snapshot id */
  snapSeqs: ReadonlyMap<SnapId, SnapId>
  imageState: ImageState
}

export function nonPrimarySnapshotName(globalImageId: string, uuid: string): string {
  return `.mirror.non_primary.${globalImageId}.${uuid}`
}

/**
 * Makes the incomplete snapshot that a sync begins with, and its image state (librbd/mirror/snapshot/CreateNonPrimaryRequest.cc). The lock must
 * be ours, if the image has one. A crash in between leaves a snapshot of which no object is copied: whoever finds it begins anew.
 *
 * @param allocated an unused id of the data pool, if there is one
 */
export async function createNonPrimarySnapshot(image: Image, snapshot: NonPrimarySnapshot, allocated: SnapId | undefined): Promise<SnapId> {
  const { globalImageId, demoted, primaryMirrorUuid, primarySnapId, mirrorPeerUuids, snapSeqs, imageState } = snapshot
  const namespace = mirrorNamespace(demoted ? 'non-primary-demoted' : 'non-primary', false, {
    mirrorPeerUuids: new Set(demoted ? mirrorPeerUuids : []),
    primaryMirrorUuid,
    primarySnapId,
    snapSeqs: new Map(snapSeqs),
  })
  const id = await createNamed(image, nonPrimarySnapshotName(globalImageId, image.options.random.uuid()), namespace, allocated)
  await writeImageState(image.io, image.id, id, imageState)
  return id
}

/** Makes the head's state, which is that of the complete non-primary snapshot `of`, a snapshot of its own. */
export async function createCheckpoint(
  image: Image,
  globalImageId: string,
  of: MirrorSnapshotNamespace,
  allocated: SnapId | undefined,
): Promise<SnapId> {
  const namespace: MirrorSnapshotNamespace = { ...of, complete: true, lastCopiedObjectNumber: READS_AS_SYNCED }
  return createNamed(image, nonPrimarySnapshotName(globalImageId, image.options.random.uuid()), namespace, allocated)
}

/**
 * The name is new for each attempt, so that a snapshot of that name is ours whatever became of the reply. The limit of snapshots, which
 * counts mirror-snapshots too, is the primary's to keep: it is lifted here, and set again with the rest of the image state.
 */
async function createNamed(image: Image, name: string, namespace: MirrorSnapshotNamespace, allocated: SnapId | undefined): Promise<SnapId> {
  try {
    return await createSnapshotHere(image, { name, namespace, snapId: allocated })
  } catch (error) {
    if (isErrno(error, Errno.EDQUOT)) {
      // a pool at its quota says the same, but of the snapshot's object map, with the snapshot made
      if (findSnapshotByName(await image.refresh(), 'mirror', name)) throw error
      await setSnapshotLimit(image, NO_SNAPSHOT_LIMIT)
      return createSnapshotHere(image, { name, namespace })
    }
    if (!isErrno(error, Errno.EEXIST, Errno.ETIMEDOUT)) throw error
    const found = findSnapshotByName(await image.refresh(), 'mirror', name)
    if (!found) throw error
    return found.id
  }
}

/**
 * Notes how far a sync is. `copiedObjects` objects from the first one on are whole. What is stored is the last one's number, from the
 * successor of which the C++ daemon goes on; ours copies that object once more.
 */
export async function setCopyProgress(image: Image, snapId: SnapId, copiedObjects: number): Promise<void> {
  const lastCopiedObjectNumber = Math.max(0, copiedObjects - 1)
  await mirrorImageSnapshotSetCopyProgress.call(image.io, image.headerOid, { snapId, complete: false, lastCopiedObjectNumber })
}

/**
 * Declares a sync finished; peers are to be told by the caller.
 *
 * @param readsAsSynced whether all of it was written outside the snapshot's own context, see READS_AS_SYNCED
 */
export async function completeNonPrimarySnapshot(image: Image, snapId: SnapId, readsAsSynced: boolean): Promise<void> {
  const lastCopiedObjectNumber = readsAsSynced ? READS_AS_SYNCED : 0
  await mirrorImageSnapshotSetCopyProgress.call(image.io, image.headerOid, { snapId, complete: true, lastCopiedObjectNumber })
}
