import { forEachBounded } from '../../base/bounded.ts'
import { assert } from '../../base/assert.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import { loadObjectStates, ObjectState, type ObjectStates } from '../data/object-states.ts'
import { layoutOf, objectCount } from '../data/striping.ts'
import { FLAG_OBJECT_MAP_INVALID } from '../features.ts'
import type { Image } from '../image.ts'
import { dataObjectName, objectMapName } from '../names.ts'
import { changeHeader } from './invoke.ts'
import { raiseParentOverlapHere } from './parent-overlap.ts'
import { resizeImageHere } from './resize.ts'
import { requireSnapshot } from './snapshot-edit.ts'

/**
 * Puts the head's data and size back to a snapshot's. The lock must be ours, if the image has one, and no write may be under way.
 *
 *     size → object map: all that may exist afterwards → data → object map: what exists
 *
 * All objects that exist count as written since the newest snapshot, from which the head may differ now: so a diff misses nothing.
 * Done again after a crash, it gives the same.
 */
export async function rollBackSnapshotHere(image: Image, snapId: SnapId): Promise<void> {
  const { size } = requireSnapshot(image, snapId, 'roll back to snapshot')
  if (image.header.size !== size) await resizeImageHere(image, { size, allowShrink: true })
  await changeHeader(image, async () => {
    const { header, objectMap } = image
    const objects = objectCount(layoutOf(header), size)
    const concurrency = image.numericOption('rbd_concurrent_management_ops', 10)
    const before = objectMap && (await snapshotStates(image, snapId))
    if (objectMap) {
      await forEachRun(objects, (object) => !before || before.get(object) !== ObjectState.nonexistent, (first, end) =>
        objectMap.update(first, end, ObjectState.exists),
      )
    }
    const data = image.data()
    await forEachBounded(range(objects), concurrency, async (object) => {
      try {
        await data.rollbackSelfManagedSnap(dataObjectName(header.objectPrefix, object), snapId)
      } catch (error) {
        if (!isErrno(error, Errno.ENOENT)) throw error
      }
    })
    if (objectMap && before) {
      await forEachRun(objects, (object) => before.get(object) === ObjectState.nonexistent, (first, end) =>
        objectMap.update(first, end, ObjectState.nonexistent),
      )
    }
  })
}

/**
 * The head of a clone that was smaller since the snapshot was taken, or flattened, no longer shows all of the parent that the snapshot does (librbd
 * leaves it at that): after {@link rollBackSnapshotHere} it does again. The lock must be ours, if the image has one.
 */
export async function restoreParentHere(image: Image, snapId: SnapId): Promise<void> {
  const { parentOverlap } = requireSnapshot(image, snapId, 'restore the parent of snapshot')
  if (parentOverlap !== undefined) await raiseParentOverlapHere(image, parentOverlap)
}

/** What the snapshot's map says; undefined if it is not to be relied on. */
async function snapshotStates(image: Image, snapId: SnapId): Promise<ObjectStates | undefined> {
  const { flags, size } = requireSnapshot(image, snapId, 'roll back to snapshot')
  if ((flags & FLAG_OBJECT_MAP_INVALID) !== 0n) return undefined
  try {
    const states = await loadObjectStates(image.io, objectMapName(image.id, snapId))
    return states && states.length >= objectCount(layoutOf(image.header), size) ? states : undefined
  } catch (error) {
    if (error instanceof MalformedInput || isErrno(error, Errno.EINVAL)) return undefined
    throw error
  }
}

/** Calls `act` for each run [first, end) of the numbers below `count` that match. */
async function forEachRun(count: number, matches: (number: number) => boolean, act: (first: number, end: number) => Promise<void>): Promise<void> {
  assert(Number.isSafeInteger(count), 'an object count')
  for (let first = 0; first < count; first++) {
    if (!matches(first)) continue
    let end = first + 1
    while (end < count && matches(end)) end++
    await act(first, end)
    first = end
  }
}

function* range(end: number): Generator<number> {
  for (let number = 0; number < end; number++) yield number
}
