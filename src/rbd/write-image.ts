import { forEachBounded } from '../base/bounded.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import { WriteOperation } from '../rados/operation.ts'
import { copyUpObject, isBacked } from './copyup.ts'
import { ObjectState } from './data/object-states.ts'
import { imageToObjects, layoutOf, type ObjectExtent } from './data/striping.ts'
import type { Image } from './image.ts'
import { dataObjectName } from './names.ts'
import { operationError } from './operations/invoke.ts'

const concurrency = 16

/** Writes to the head. The lock must be ours, if the image has one. Rejects with EINVAL for what is not within the image. */
export async function writeImage(image: Image, offset: number, data: Buffer): Promise<void> {
  requireWithin(image, offset, data.length)
  await useLock(image, () => writeHere(image, offset, data))
}

/** As {@link writeImage}, within a use of the lock. */
export async function writeHere(image: Image, offset: number, data: Buffer): Promise<void> {
  await forEachExtent(image, offset, data.length, async (extent) => {
    const bytes = Buffer.concat(extent.pieces.map(([at, length]) => data.subarray(at, at + length)))
    await image.objectMap?.mark(extent.objectNumber, ObjectState.exists)
    await change(image, extent, () => new WriteOperation().write(extent.offset, bytes))
  })
}

/** Makes a range read as zeros, and gives back whole objects. The lock must be ours, if the image has one. */
export async function discardImage(image: Image, offset: number, length: number): Promise<void> {
  requireWithin(image, offset, length)
  await useLock(image, () => discardHere(image, offset, length))
}

/** As {@link discardImage}, within a use of the lock. */
export async function discardHere(image: Image, offset: number, length: number): Promise<void> {
  const { objectSize } = layoutOf(image.header)
  await forEachExtent(image, offset, length, async (extent) => {
    const { objectNumber } = extent
    const whole = extent.offset === 0 && extent.length === objectSize
    if (whole && !isBacked(image.header, objectNumber)) return removeObject(image, objectNumber)
    if (whole) return hideParent(image, objectNumber)
    // what changes is no longer the snapshot's; what does not exist need not come into the map
    if (image.objectMap?.expected(objectNumber) === ObjectState.existsClean) await image.objectMap.mark(objectNumber, ObjectState.exists)
    const toEnd = extent.offset + extent.length === objectSize
    await change(image, extent, () => {
      const operation = new WriteOperation().assertExists()
      return toEnd ? operation.truncate(extent.offset) : operation.zero(extent.offset, extent.length)
    })
  })
}

function objectName(image: Image, object: number): string {
  return dataObjectName(image.header.objectPrefix, object)
}

function requireWithin(image: Image, offset: number, length: number): void {
  if (offset < 0 || offset + length > image.header.size) throw operationError(image, Errno.EINVAL, `write ${length} bytes at ${offset}`)
}

async function forEachExtent(image: Image, offset: number, length: number, task: (extent: ObjectExtent) => Promise<void>): Promise<void> {
  requireWithin(image, offset, length)
  await forEachBounded(imageToObjects(layoutOf(image.header), offset, length), concurrency, task)
}

function useLock(image: Image, task: () => Promise<void>): Promise<void> {
  return image.usesLock ? image.lock!.use(task) : task()
}

/** An empty object reads as zeros, and no longer as what the parent has; snapshots that need that get it first. */
async function hideParent(image: Image, object: number): Promise<void> {
  if (image.header.snapshots.length > 0 && !(await exists(image, object))) await copyUpObject(image, object)
  await image.objectMap?.mark(object, ObjectState.exists)
  await image.data().write(objectName(image, object), new WriteOperation().create(false).truncate(0))
}

async function exists(image: Image, object: number): Promise<boolean> {
  try {
    await image.data().stat(objectName(image, object))
    return true
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return false
    throw error
  }
}

/** A part of an object whose rest may have to come from the parent first. */
async function change(image: Image, { objectNumber }: ObjectExtent, operation: () => WriteOperation): Promise<void> {
  const oid = objectName(image, objectNumber)
  try {
    const first = operation()
    const guarded = isBacked(image.header, objectNumber) && first.steps[0]!.type !== 'assertExists'
    if (guarded) first.steps.unshift({ type: 'assertExists' })
    await image.data().write(oid, first)
    return
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  if (!isBacked(image.header, objectNumber)) return // nothing there to be discarded
  await copyUpObject(image, objectNumber)
  if (image.objectMap?.expected(objectNumber) === ObjectState.existsClean) await image.objectMap.mark(objectNumber, ObjectState.exists)
  try {
    await image.data().write(oid, operation())
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error // the parent has zeros there as well
  }
}

async function removeObject(image: Image, object: number): Promise<void> {
  const { objectMap } = image
  if (objectMap && objectMap.expected(object) !== ObjectState.nonexistent) await objectMap.mark(object, ObjectState.pending)
  try {
    await image.data().remove(objectName(image, object))
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  if (objectMap?.expected(object) === ObjectState.pending) await objectMap.mark(object, ObjectState.nonexistent)
}
