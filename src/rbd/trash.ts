import { dirRemoveImage } from '../cls/rbd/client.ts'
import { trashAdd, trashGet, trashList, trashRemove, trashStateSet } from '../cls/rbd/pool-client.ts'
import type { TrashImageSpec, TrashImageState } from '../cls/rbd/types.ts'
import { Errno, ifThere, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { idObjectName, RBD_DIRECTORY, RBD_TRASH } from './names.ts'
import { encodeTrashMessage, type TrashMessage } from './notify/trash-messages.ts'
import { NOTIFY_TIMEOUT_MS } from './object-watcher.ts'

const pageSize = 1024

/** Images of a pool namespace that were thrown away: id → entry. */
export async function listTrash(io: IoCtx, signal?: AbortSignal): Promise<Map<string, TrashImageSpec>> {
  const all = new Map<string, TrashImageSpec>()
  for (let startAfter = ''; ; ) {
    const page = await ifThere(trashList.call(io, RBD_TRASH, { startAfter, max: pageSize }, { signal }))
    for (const [id, spec] of page ?? []) {
      all.set(id, spec)
      startAfter = id
    }
    if (!page || page.size < pageSize) return all
  }
}

/** The entry of one image; undefined when it is not in the trash. */
export function findInTrash(io: IoCtx, imageId: string): Promise<TrashImageSpec | undefined> {
  return ifThere(trashGet.call(io, RBD_TRASH, { imageId }))
}

/**
 * Throws an image away: it keeps its id and data, and loses its name (librbd/trash/MoveRequest.cc).
 *
 *     trash entry → id object goes → directory entry goes → watchers of the trash told
 *
 * Bears being done again.
 */
export async function moveToTrash(io: IoCtx, imageId: string, spec: TrashImageSpec): Promise<void> {
  try {
    await trashAdd.call(io, RBD_TRASH, { imageId, spec })
  } catch (error) {
    if (!isErrno(error, Errno.EEXIST)) throw error
  }
  await ifThere(io.remove(idObjectName(spec.name)))
  await ifThere(dirRemoveImage.call(io, RBD_DIRECTORY, { name: spec.name, id: imageId }))
  await notifyTrash(io, { type: 'imageAdded', imageId, spec })
}

/** Rejects with ESTALE when the entry is in another state than `expect` (and not in `state` already), ENOENT when there is none. */
export function setTrashState(io: IoCtx, imageId: string, state: TrashImageState, expect: TrashImageState): Promise<void> {
  return trashStateSet.call(io, RBD_TRASH, { imageId, state, expect })
}

/** Forgets an image whose objects are gone. An entry that is not there is no error. */
export async function removeTrashEntry(io: IoCtx, imageId: string): Promise<void> {
  await ifThere(trashRemove.call(io, RBD_TRASH, { imageId }))
  await notifyTrash(io, { type: 'imageRemoved', imageId })
}

async function notifyTrash(io: IoCtx, message: TrashMessage): Promise<void> {
  try {
    await io.notify(RBD_TRASH, encodeTrashMessage(message), NOTIFY_TIMEOUT_MS)
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT, Errno.ETIMEDOUT)) throw error
  }
}
