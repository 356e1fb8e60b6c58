import { removeJournal } from '../journal/journal.ts'
import { Errno, isErrno, RadosError } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { findMirrorImage } from '../rbd/mirror/image-entry.ts'
import { removeImage } from '../rbd/remove-image.ts'
import { findInTrash, removeTrashEntry, setTrashState } from '../rbd/trash.ts'
import { leaveMirroring } from './leave-mirroring.ts'
import type { PoolContext } from './pool-context.ts'

/** Whether mirroring has thrown an image away; what an operator did is theirs. */
export async function isThrownAway(io: IoCtx, imageId: string): Promise<boolean> {
  return (await findInTrash(io, imageId))?.source === 'mirroring'
}

/**
 * Removes an image that mirroring threw away, with all its snapshots (tools/rbd_mirror/image_deleter/TrashRemoveRequest.cc). An image
 * that is no longer in the trash, or that somebody else threw away, is left alone. Rejects with EBUSY or ENOTEMPTY while it is in use.
 */
export async function removeTrashedImage(context: PoolContext, io: IoCtx, imageId: string, signal: AbortSignal): Promise<void> {
  const { cluster, clock, random, log } = context
  const entry = await findInTrash(io, imageId)
  if (!entry || entry.source !== 'mirroring') return
  if (entry.state !== 'normal' && entry.state !== 'removing') {
    const { poolName: pool, namespace } = io
    throw new RadosError(Errno.EBUSY, { op: `remove trashed image in state ${entry.state}`, pool, namespace, oid: imageId })
  }
  if (entry.state === 'normal') await setTrashState(io, imageId, 'removing', 'normal')
  // whoever threw it away may not have come to that
  const mirrorImage = await findMirrorImage(io, imageId)
  if (mirrorImage) await leaveMirroring(io, imageId, mirrorImage, log)
  try {
    await removeImage(io, imageId, {
      cluster,
      clock,
      random,
      log,
      signal,
      snapshots: 'all',
      removeJournal: (id) => removeJournalOf(context, io, id),
    })
  } catch (error) {
    // an operator may want it back as long as it can't go
    if (isErrno(error, Errno.EBUSY, Errno.ENOTEMPTY)) await setTrashState(io, imageId, 'normal', 'removing')
    throw error
  }
  await removeTrashEntry(io, imageId)
}

async function removeJournalOf({ cluster, clock, log }: PoolContext, io: IoCtx, journalId: string): Promise<void> {
  try {
    await removeJournal({ io, journalId, openPool: (id) => cluster.openPoolById(id), clock, log })
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
}
