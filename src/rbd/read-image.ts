import { Errno, isErrno, RadosError } from '../rados/errors.ts'
import { NO_SNAP, type ByteExtent, type SnapId } from '../rados/io-ctx.ts'
import { imageToObjects, layoutOf } from './data/striping.ts'
import { findSnapshot, type ImageHeader } from './header.ts'
import type { Image } from './image.ts'
import { dataObjectName } from './names.ts'

export interface ReadRange {
  /** bytes; what lies behind the image's end reads as zeros */
  offset: number
  length: number
  /** the head without it */
  snap?: SnapId | undefined
  signal?: AbortSignal | undefined
}

/** What was written to a range of an image, as of a snapshot or now; of a clone what its parent has where it has nothing itself. */
export async function readImage(image: Image, { offset, length, snap = NO_SNAP, signal }: ReadRange): Promise<Buffer> {
  const { size, overlap } = extentOf(image, snap)
  const result = Buffer.alloc(length)
  const readable = Math.max(0, Math.min(length, size - offset))
  const data = image.dataAt(snap)
  await Promise.all(
    imageToObjects(layoutOf(image.header), offset, readable).map(async (extent) => {
      signal?.throwIfAborted()
      const oid = dataObjectName(image.header.objectPrefix, extent.objectNumber)
      try {
        scatter(result, extent.pieces, await data.readData(oid, extent.offset, extent.length))
      } catch (error) {
        if (!isErrno(error, Errno.ENOENT)) throw error
        await readFromParent(image, result, offset, extent.pieces, overlap, signal)
      }
    }),
  )
  return result
}

/** Size, and bytes backed by the parent, of the head or a snapshot. */
function extentOf(image: Image, snap: SnapId): { size: number; overlap: number } {
  const { header } = image
  if (snap === NO_SNAP) return { size: header.size, overlap: parentOverlap(header) }
  const snapshot = findSnapshot(header, snap)
  if (!snapshot) throw new RadosError(Errno.ENOENT, { op: `read snapshot ${snap}`, pool: image.io.poolName, oid: image.headerOid })
  return { size: snapshot.size, overlap: snapshot.parentOverlap ?? 0 }
}

/** Bytes of the head that are backed by a parent, from the image's start. */
export function parentOverlap(header: ImageHeader): number {
  return header.parent?.overlap ?? 0
}

async function readFromParent(
  image: Image,
  result: Buffer,
  start: number,
  pieces: readonly ByteExtent[],
  overlap: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const [at, length] of pieces) {
    const backed = Math.min(length, overlap - (start + at))
    if (backed <= 0) continue
    const parent = await image.openParent()
    const bytes = await readImage(parent, { offset: start + at, length: backed, snap: image.header.parent!.snapId, signal })
    bytes.copy(result, at)
  }
}

/** Puts an object's bytes where they belong in the range asked for; an object that is shorter has zeros at its end. */
function scatter(result: Buffer, pieces: readonly ByteExtent[], bytes: Buffer): void {
  let from = 0
  for (const [at, length] of pieces) {
    if (from >= bytes.length) return
    bytes.copy(result, at, from, from + length)
    from += length
  }
}
