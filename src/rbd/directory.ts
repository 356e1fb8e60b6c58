import { dirGetName, dirList, getId } from '../cls/rbd/client.ts'
import { ifThere } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { idObjectName, RBD_DIRECTORY } from './names.ts'

const pageSize = 1024

/** The id of the image with this name; undefined when there is none. */
export async function findImageId(io: IoCtx, name: string): Promise<string | undefined> {
  return ifThere(getId.call(io, idObjectName(name)))
}

/** The name of the image with this id; undefined when it is not in the directory (it may be in the trash). */
export async function findImageName(io: IoCtx, id: string): Promise<string | undefined> {
  return ifThere(dirGetName.call(io, RBD_DIRECTORY, { id }))
}

/** All images of a pool namespace: name → id, in byte order of the names. */
export async function listImages(io: IoCtx, signal?: AbortSignal): Promise<Map<string, string>> {
  const all = new Map<string, string>()
  for (let startAfter = ''; ; ) {
    const page = await ifThere(dirList.call(io, RBD_DIRECTORY, { startAfter, max: pageSize }, { signal }))
    for (const [name, id] of page ?? []) {
      all.set(name, id)
      startAfter = name
    }
    if (!page || page.size < pageSize) return all
  }
}
