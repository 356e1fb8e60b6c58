import type { Log } from '../../base/log.ts'
import { mirrorImageGet, mirrorImageList, mirrorImageRemove, mirrorImageSet } from '../../cls/rbd/mirror-client.ts'
import type { MirrorImage } from '../../cls/rbd/mirror-types.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { RBD_MIRRORING } from '../names.ts'
import { notifyMirroring } from './mirroring-notify.ts'

/* An image's entry in its pool's list of mirrored images. */

const pageSize = 1024

/** undefined for an image that is not mirrored. */
export async function findMirrorImage(io: IoCtx, imageId: string): Promise<MirrorImage | undefined> {
  try {
    return await mirrorImageGet.call(io, RBD_MIRRORING, { imageId })
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

/** Image ids of all entries, whatever their state. */
export async function listMirrorImages(io: IoCtx): Promise<string[]> {
  const ids: string[] = []
  for (;;) {
    let page: Map<string, string>
    try {
      page = await mirrorImageList.call(io, RBD_MIRRORING, { startAfter: ids.at(-1) ?? '', max: pageSize })
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return ids
      throw error
    }
    ids.push(...page.keys())
    if (page.size < pageSize) return ids
  }
}

/** Writes the entry and tells the daemons (librbd/mirror/ImageStateUpdateRequest.cc). */
export async function setMirrorImage(io: IoCtx, imageId: string, image: MirrorImage, log: Log): Promise<void> {
  await mirrorImageSet.call(io, RBD_MIRRORING, { imageId, image })
  await notifyMirroring(io, { type: 'imageUpdated', state: image.state, imageId, globalImageId: image.globalImageId }, log)
}

/** Removes the entry, which has to be `disabling`, and tells the daemons (librbd/mirror/ImageRemoveRequest.cc). */
export async function removeMirrorImage(io: IoCtx, imageId: string, globalImageId: string, log: Log): Promise<void> {
  try {
    await mirrorImageRemove.call(io, RBD_MIRRORING, { imageId })
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  await notifyMirroring(io, { type: 'imageUpdated', state: 'disabled', imageId, globalImageId }, log)
}
