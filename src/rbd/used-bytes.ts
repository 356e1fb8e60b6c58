import { forEachBounded } from '../base/bounded.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import { NO_SNAP, type SnapId } from '../rados/io-ctx.ts'
import { changeBetween, cloneAt } from './data/extent-diff.ts'
import { diffObjects, DiffState } from './data/object-diff.ts'
import { layoutOf, objectCount, objectToImage } from './data/striping.ts'
import { findSnapshot, type ImageHeader } from './header.ts'
import type { Image } from './image.ts'
import { dataObjectName } from './names.ts'

/** Objects that are looked at at a time. */
const concurrency = 16

export interface UsedBytes {
  /** changes since this snapshot; 0 for all there is */
  from: SnapId
  /** NO_SNAP for the head */
  to: SnapId
  /** Only the bytes of objects that were written; whole objects count without it. */
  exact: boolean
  signal?: AbortSignal | undefined
}

/**
 * How many bytes of an image were written between two of its snapshots and still are there (librbd/api/DiffIterate.cc). Object maps tell it at
 * once, unless it is to be exact; without them every object is looked at. A parent's bytes do not count.
 */
export async function usedBytes(image: Image, { from, to, exact, signal }: UsedBytes): Promise<number> {
  const header = withHead(image.header)
  const { size } = findSnapshot(header, to)!
  const layout = layoutOf(header)
  const objects = objectCount(layout, size)
  const wholeObject = (object: number) =>
    objectToImage(layout, object, 0, layout.objectSize).reduce((sum, [offset, length]) => sum + Math.max(0, Math.min(length, size - offset)), 0)
  let bytes = 0
  const diff = exact ? undefined : await diffObjects(image.io, header, from, to, signal)
  if (diff?.known) {
    for (let object = 0; object < Math.min(objects, diff.states.length); object++) {
      if (diff.states.get(object) === DiffState.dataUpdated) bytes += wholeObject(object)
    }
    return bytes
  }
  const data = image.dataAt(NO_SNAP)
  await forEachBounded(range(objects), concurrency, async (object) => {
    signal?.throwIfAborted()
    try {
      const set = await data.listSnaps(dataObjectName(header.objectPrefix, object))
      const change = changeBetween(set, cloneAt(set, from), cloneAt(set, to))
      if (change.type === 'none' || change.type === 'removed') return
      if (!exact) bytes += wholeObject(object)
      else bytes += change.type === 'created' ? change.size : [...change.extents].reduce((sum, [, length]) => sum + length, 0)
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
  })
  return bytes
}

/** The head in the place of a newest snapshot. */
function withHead(header: ImageHeader): ImageHeader {
  const { name, size, flags, createTimestamp: timestamp } = header
  const head = { id: NO_SNAP, namespace: { type: 'user' }, name, size, flags, protection: 'unprotected', timestamp, childCount: 0, parentOverlap: undefined } as const
  return { ...header, snapshots: [head, ...header.snapshots] }
}

function* range(end: number): Generator<number> {
  for (let number = 0; number < end; number++) yield number
}
