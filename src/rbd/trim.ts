import { forEachBounded } from '../base/bounded.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { WriteOperation } from '../rados/operation.ts'
import { reliableStates, type ObjectMap } from './data/object-map.ts'
import { ObjectState, type ObjectStates } from './data/object-states.ts'
import { imageToObjects, layoutOf, objectCount } from './data/striping.ts'
import type { ImageHeader } from './header.ts'
import { dataObjectName } from './names.ts'

const mayExist = (1 << ObjectState.exists) | (1 << ObjectState.pending) | (1 << ObjectState.existsClean)

export interface TrimOptions {
  /** under the image's snap context: snapshots keep what is trimmed */
  data: IoCtx
  header: ImageHeader
  objectMap: ObjectMap | undefined
  /** bytes: how far data may reach where that is further than the header tells; an object map tells it by itself */
  reach?: number | undefined
  /** objects at a time (rbd_concurrent_management_ops) */
  concurrency: number
  onProgress?: ((removed: number, total: number) => void) | undefined
  signal?: AbortSignal | undefined
}

/**
 * Removes an image's data behind `size` (librbd/operation/TrimRequest.cc): whole objects go, those on the boundary lose their ends. Striped
 * images keep the objects of the last period and lose their parts of it.
 */
export async function trimData(size: number, options: TrimOptions): Promise<void> {
  const { data, header, objectMap, concurrency, signal, reach = 0 } = options
  const layout = layoutOf(header)
  const period = layout.objectSize * layout.stripeCount
  const keptPeriods = Math.ceil(size / period)
  const firstRemoved = keptPeriods * layout.stripeCount
  // a sync that was cut short may have made the image smaller, and left the data and the map for the end
  const mapped = objectMap?.states.length ?? 0
  const objects = Math.max(objectCount(layout, Math.max(header.size, reach)), mapped)

  if (firstRemoved < objects) {
    const known = reliableStates({ header, objectMap })
    await objectMap?.update(firstRemoved, mapped, ObjectState.pending, ObjectState.exists)
    await forEachBounded(candidates(firstRemoved, objects, known), concurrency, async (objectNumber) => {
      signal?.throwIfAborted()
      await removeObject(data, dataObjectName(header.objectPrefix, objectNumber))
      options.onProgress?.(objectNumber - firstRemoved + 1, objects - firstRemoved)
    })
    await objectMap?.update(firstRemoved, mapped, ObjectState.nonexistent, ObjectState.pending)
  }

  const boundaryEnd = Math.min(keptPeriods * period, header.size)
  if (boundaryEnd <= size) return
  for (const { objectNumber, offset } of imageToObjects(layout, size, boundaryEnd - size)) {
    signal?.throwIfAborted()
    await truncateObject(options, objectNumber, offset)
  }
}

/** The objects in [first, end) that may exist. */
function* candidates(first: number, end: number, known: ObjectStates | undefined): Generator<number> {
  if (!known) {
    for (let number = first; number < end; number++) yield number
    return
  }
  const limit = Math.min(end, known.length)
  for (let number = first; (number = known.next(number, mayExist)) < limit; number++) yield number
}

/** The part of an object from `offset` on: everything of it that is behind the image's new end. */
async function truncateObject({ data, header, objectMap }: TrimOptions, objectNumber: number, offset: number): Promise<void> {
  const oid = dataObjectName(header.objectPrefix, objectNumber)
  if (offset === 0) {
    await objectMap?.update(objectNumber, objectNumber + 1, ObjectState.pending, ObjectState.exists)
    await removeObject(data, oid)
    await objectMap?.update(objectNumber, objectNumber + 1, ObjectState.nonexistent, ObjectState.pending)
    return
  }
  try {
    await objectMap?.update(objectNumber, objectNumber + 1, ObjectState.exists, ObjectState.existsClean)
    await data.write(oid, new WriteOperation().assertExists().truncate(offset))
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
}

async function removeObject(data: IoCtx, oid: string): Promise<void> {
  try {
    await data.remove(oid)
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
}
