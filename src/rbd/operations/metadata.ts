import { metadataList, metadataRemove, metadataSet } from '../../cls/rbd/client.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { WriteOperation } from '../../rados/operation.ts'
import type { Image } from '../image.ts'
import { IMAGE_META_PREFIX } from '../mirror/image-meta.ts'
import { headerName } from '../names.ts'
import { changeHeader, invoke, type OperationOptions } from './invoke.ts'

/** keys read at once (librbd/image/GetMetadataRequest.cc) */
const pageSize = 128

/** All metadata of an image, in byte order of the keys. */
export async function listMetadata(io: IoCtx, imageId: string, signal?: AbortSignal): Promise<Map<string, Buffer>> {
  const all = new Map<string, Buffer>()
  for (let startAfter = ''; ; ) {
    const page = await metadataList.call(io, headerName(imageId), { startAfter, max: pageSize }, { signal })
    for (const [key, value] of page) {
      all.set(key, value)
      startAfter = key
    }
    if (page.size < pageSize) return all
  }
}

export interface MetadataChanges {
  set: ReadonlyMap<string, Buffer>
  remove: readonly string[]
}

/** Metadata of librbd's own is neither shown nor replicated (librbd/image/GetMetadataRequest.cc). */
const INTERNAL_PREFIX = IMAGE_META_PREFIX.slice(0, 4)

export function isUsersKey(key: string): boolean {
  return !key.startsWith(INTERNAL_PREFIX)
}

/** What makes `have` equal to `wanted`, but for librbd's own. */
export function metadataChanges(have: ReadonlyMap<string, Buffer>, wanted: ReadonlyMap<string, Buffer>): MetadataChanges {
  return {
    set: new Map([...wanted].filter(([key, value]) => isUsersKey(key) && !have.get(key)?.equals(value))),
    remove: [...have.keys()].filter((key) => !wanted.has(key) && isUsersKey(key)),
  }
}

/** Does it here and now; keys that are gone already are no error. */
export async function changeMetadataHere({ io, headerOid }: Image, { set, remove }: MetadataChanges): Promise<void> {
  if (remove.length === 0 && set.size === 0) return
  const metadata = new Map(set)
  const operation = new WriteOperation()
  for (const key of remove) metadataRemove.step(operation, { key })
  if (set.size > 0) metadataSet.step(operation, { metadata })
  try {
    await io.write(headerOid, operation)
  } catch (error) {
    // removing a key that is gone already fails the whole operation
    if (!isErrno(error, Errno.ENOENT)) throw error
    if (set.size > 0) await metadataSet.call(io, headerOid, { metadata })
  }
}

/** Sets one key, by the lock owner. */
export function setMetadata(image: Image, key: string, value: string, options?: OperationOptions): Promise<void> {
  const local = () => setMetadataHere(image, new Map([[key, Buffer.from(value)]]))
  return invoke(image, { name: 'set metadata', local, request: { type: 'metadataUpdate', key, value } }, options)
}

/** Sets several keys at once, here and now. */
export function setMetadataHere(image: Image, metadata: Map<string, Buffer>): Promise<void> {
  return changeHeader(image, () => metadataSet.call(image.io, image.headerOid, { metadata }))
}

/** Removes one key, by the lock owner; a key that is not there is no error. */
export function removeMetadata(image: Image, key: string, options?: OperationOptions): Promise<void> {
  const local = () => removeMetadataHere(image, key)
  return invoke(image, { name: 'remove metadata', local, request: { type: 'metadataUpdate', key, value: undefined } }, options)
}

export function removeMetadataHere(image: Image, key: string): Promise<void> {
  return changeHeader(image, async () => {
    try {
      await metadataRemove.call(image.io, image.headerOid, { key })
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
  })
}
