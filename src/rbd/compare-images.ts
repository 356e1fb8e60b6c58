import { forEachBounded } from '../base/bounded.ts'
import { Extents } from '../base/extents.ts'
import { NO_SNAP, type SnapId } from '../rados/io-ctx.ts'
import { compareObjects, type CompareOptions } from './data/compare-objects.ts'
import { layoutOf, objectCount, objectToImage, sameLayout } from './data/striping.ts'
import { findSnapshot } from './header.ts'
import type { Image } from './image.ts'
import { dataObjectName } from './names.ts'
import { readImage } from './read-image.ts'

/** An open image as of a snapshot, or its head (NO_SNAP). */
export interface ImageView {
  image: Image
  snap: SnapId
}

export interface ObjectDifference {
  object: number
  /** bytes of the object that differ, in whole chunks */
  extents: Extents
}

export interface CompareImagesOptions extends CompareOptions {
  /** objects in flight */
  concurrency: number
  /** Called after each object; what it resolves with is waited for, so that it can hold back the comparison. */
  onObject?(difference: ObjectDifference | undefined, bytesCompared: number): Promise<void> | void
}

/** Bytes; 0 for a snapshot that is not there. */
export function sizeOfView({ image, snap }: ImageView): number {
  return snap === NO_SNAP ? image.header.size : (findSnapshot(image.header, snap)?.size ?? 0)
}

/** How many objects both views have in common. */
export function commonObjects(left: ImageView, right: ImageView): number {
  return objectCount(layoutOf(left.image.header), Math.min(sizeOfView(left), sizeOfView(right)))
}

/** Compares objects of two images that are laid out alike. Rejects with RadosError, or the signal's reason. */
export async function compareImages(left: ImageView, right: ImageView, objects: Iterable<number>, options: CompareImagesOptions): Promise<void> {
  await forEachBounded(objects, options.concurrency, async (object) => {
    options.signal?.throwIfAborted()
    const { extents, bytesCompared } = await compareOne(left, right, object, options)
    await options.onObject?.(extents.empty ? undefined : { object, extents }, bytesCompared)
  })
}

/** Whether two views read the same, sizes included; ends at the first difference. */
export async function sameContent(left: ImageView, right: ImageView, options: CompareImagesOptions): Promise<boolean> {
  if (sizeOfView(left) !== sizeOfView(right) || !sameLayout(layoutOf(left.image.header), layoutOf(right.image.header))) return false
  const found = new Different()
  try {
    await compareImages(left, right, Array(commonObjects(left, right)).keys(), {
      ...options,
      onObject: (difference) => {
        if (difference) throw found
      },
    })
    return true
  } catch (error) {
    if (error === found) return false
    throw error
  }
}

class Different extends Error {}

async function compareOne(left: ImageView, right: ImageView, object: number, options: CompareOptions): Promise<{ extents: Extents; bytesCompared: number }> {
  const compared = await compareObjects(objectView(left, object), objectView(right, object), options)
  let extents = compared.differing
  // where only one of two clones has an object of its own, the parent speaks for the other
  if ((compared.leftSize === undefined) !== (compared.rightSize === undefined) && (isClone(left) || isClone(right))) {
    extents = (await sameThroughParents(left, right, object)) ? new Extents() : extents.add(0, layoutOf(left.image.header).objectSize)
  }
  return { extents: withinImage(extents, left, right, object), bytesCompared: compared.bytesCompared }
}

function objectView({ image, snap }: ImageView, object: number) {
  return { io: image.dataAt(snap), oid: dataObjectName(image.header.objectPrefix, object) }
}

function isClone({ image, snap }: ImageView): boolean {
  return (snap === NO_SNAP ? image.header.parent?.overlap : findSnapshot(image.header, snap)?.parentOverlap) !== undefined
}

async function sameThroughParents(left: ImageView, right: ImageView, object: number): Promise<boolean> {
  const layout = layoutOf(left.image.header)
  const size = Math.min(sizeOfView(left), sizeOfView(right))
  for (const [offset, whole] of objectToImage(layout, object, 0, layout.objectSize)) {
    const length = Math.min(whole, size - offset)
    if (length <= 0) continue
    const [a, b] = await Promise.all([left, right].map(({ image, snap }) => readImage(image, { offset, length, snap })))
    if (!a!.equals(b!)) return false
  }
  return true
}

/** What an object has behind the image's end is nobody's to read. */
function withinImage(extents: Extents, left: ImageView, right: ImageView, object: number): Extents {
  const { objectSize, stripeCount } = layoutOf(left.image.header)
  if (extents.empty || stripeCount > 1) return extents
  return extents.remove(Math.min(sizeOfView(left), sizeOfView(right)) - object * objectSize, Infinity)
}
