import { metadataGet, metadataRemove, metadataSet } from '../../cls/rbd/client.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { Errno, ifThere, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { writeIfUnchanged } from '../../rados/write-if-unchanged.ts'
import { headerName } from '../names.ts'
import { loadPromotion } from './mirror-info.ts'

/** Snapshot mirroring's own note in an image's metadata (librbd/mirror/snapshot/ImageMeta.cc). */
export interface ImageMeta {
  resyncRequested: boolean
}

/** Metadata keys of mirroring's own, hidden from users and never replicated. */
export const IMAGE_META_PREFIX = '.rbd_mirror.'

/** @param mirrorUuid of the pool and namespace that the image lies in */
export function imageMetaKey(mirrorUuid: string): string {
  return `${IMAGE_META_PREFIX}${mirrorUuid}`
}

export function parseImageMeta(text: string): ImageMeta {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new MalformedInput('snapshot-based mirroring image-meta', 'not JSON', { cause: error })
  }
  const resyncRequested = (value as { resync_requested?: unknown } | null)?.resync_requested
  if (typeof resyncRequested !== 'boolean') throw new MalformedInput('snapshot-based mirroring image-meta', 'resync_requested is no boolean')
  return { resyncRequested }
}

/** Rejects with RadosError or MalformedInput; an image without the note wants nothing. */
export async function loadImageMeta(io: IoCtx, imageId: string, mirrorUuid: string): Promise<ImageMeta> {
  try {
    return parseImageMeta((await metadataGet.call(io, headerName(imageId), { key: imageMetaKey(mirrorUuid) })).toString())
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return { resyncRequested: false }
    throw error
  }
}

/** Whoever watches the image has to be told by the caller. */
export async function saveImageMeta(io: IoCtx, imageId: string, mirrorUuid: string, meta: ImageMeta): Promise<void> {
  const text = `{"resync_requested": ${meta.resyncRequested}}`
  await metadataSet.call(io, headerName(imageId), { metadata: new Map([[imageMetaKey(mirrorUuid), Buffer.from(text)]]) })
}

/** Whatever was wanted is done. Whoever watches the image has to be told by the caller. */
export async function clearImageMeta(io: IoCtx, imageId: string, mirrorUuid: string): Promise<void> {
  try {
    await metadataRemove.call(io, headerName(imageId), { key: imageMetaKey(mirrorUuid) })
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
}

/**
 * Takes back a resync that was asked for before the image was promoted. One of an image that was demoted since then, or that is while we write, stays.
 * Whoever watches the image has to be told by the caller.
 *
 * @returns whether there was one to take back
 */
export function takeBackResync(io: IoCtx, imageId: string, mirrorUuid: string): Promise<boolean> {
  const [oid, key] = [headerName(imageId), imageMetaKey(mirrorUuid)]
  return writeIfUnchanged(io, oid, async (operation) => {
    if ((await ifThere(metadataGet.call(io, oid, { key }))) === undefined) return undefined
    return (await loadPromotion(io, imageId)).state === 'primary' ? metadataRemove.step(operation, { key }) : undefined
  })
}
