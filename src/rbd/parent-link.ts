import { Errno, isErrno } from '../rados/errors.ts'
import type { SnapId } from '../rados/io-ctx.ts'
import { NO_SNAP } from '../rados/io-ctx.ts'
import { findSnapshot } from './header.ts'
import type { Image } from './image.ts'

/** A clone's parent by the names that users know. */
export interface ParentLink {
  pool: string
  poolNamespace: string
  image: string
  id: string
  snapshot: string
  inTrash: boolean
  /** bytes */
  overlap: number
}

/** The parent of the head or a snapshot; undefined when there is none (librbd/api/Image.cc, get_parent). */
export async function parentLink(image: Image, snap: SnapId = NO_SNAP): Promise<ParentLink | undefined> {
  const { parent } = image.header
  if (!parent) return undefined
  const overlap = snap === NO_SNAP ? parent.overlap : findSnapshot(image.header, snap)?.parentOverlap
  if (overlap === undefined) return undefined
  try {
    const { header, io } = await image.openParent()
    const snapshot = findSnapshot(header, parent.snapId)
    const name = snapshot?.namespace.type === 'trash' ? snapshot.namespace.originalName : (snapshot?.name ?? '')
    return { pool: io.poolName, poolNamespace: parent.poolNamespace, image: header.name, id: parent.imageId, snapshot: name, inTrash: header.inTrash, overlap }
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

/** `pool/namespace/image@snapshot` */
export function parentText({ pool, poolNamespace, image, snapshot }: ParentLink): string {
  return `${pool}/${poolNamespace === '' ? '' : `${poolNamespace}/`}${image}@${snapshot}`
}
