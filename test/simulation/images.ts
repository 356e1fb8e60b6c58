import { dirGetId } from '../../src/cls/rbd/client.ts'
import { mirrorImageGet, mirrorImageGetImageId } from '../../src/cls/rbd/mirror-client.ts'
import type { MirrorImage } from '../../src/cls/rbd/mirror-types.ts'
import { Errno, isErrno } from '../../src/rados/errors.ts'
import { NO_SNAP, type SnapId } from '../../src/rados/io-ctx.ts'
import { findSnapshot } from '../../src/rbd/header.ts'
import type { Image } from '../../src/rbd/image.ts'
import { RBD_DIRECTORY, RBD_MIRRORING } from '../../src/rbd/names.ts'
import { readImage } from '../../src/rbd/read-image.ts'
import type { Site } from './world/site.ts'

/* What is true of images, seen by somebody who sees all at once. */

export function findImage(site: Site, name: string): Promise<string | undefined> {
  return orNothing(dirGetId.call(site.io, RBD_DIRECTORY, { name }))
}

/** Id of the image that is mirrored under this global id. */
export function findMirrored(site: Site, globalImageId: string): Promise<string | undefined> {
  return orNothing(mirrorImageGetImageId.call(site.io, RBD_MIRRORING, { globalImageId }))
}

export function mirrorEntry(site: Site, imageId: string): Promise<MirrorImage | undefined> {
  return orNothing(mirrorImageGet.call(site.io, RBD_MIRRORING, { imageId }))
}

/** The bytes of the head or of a snapshot, as long as that is; undefined for a snapshot that is not there. */
export async function contentOf(image: Image, snap: SnapId = NO_SNAP): Promise<Buffer | undefined> {
  const size = snap === NO_SNAP ? image.header.size : findSnapshot(image.header, snap)?.size
  return size === undefined ? undefined : readImage(image, { offset: 0, length: size, snap })
}

/** Where two contents differ first; undefined where they don't. */
export function difference(a: Buffer, b: Buffer): string | undefined {
  if (a.length !== b.length) return `sizes ${a.length} and ${b.length}`
  if (a.equals(b)) return undefined
  let at = 0
  while (a[at] === b[at]) at++
  const show = (bytes: Buffer) => JSON.stringify(bytes.toString('latin1', at, at + 12))
  return `at ${at}: ${show(a)} and ${show(b)}`
}

async function orNothing<T>(question: Promise<T>): Promise<T | undefined> {
  try {
    return await question
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}
