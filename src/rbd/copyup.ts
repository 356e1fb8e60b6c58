import { copyup, objectMapUpdate } from '../cls/rbd/client.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { ByteExtent, SnapId } from '../rados/io-ctx.ts'
import { WriteOperation } from '../rados/operation.ts'
import { ObjectState } from './data/object-states.ts'
import { layoutOf, objectToImage } from './data/striping.ts'
import { FEATURE_FAST_DIFF, hasFeature } from './features.ts'
import type { ImageHeader } from './header.ts'
import type { Image } from './image.ts'
import { dataObjectName, objectMapName } from './names.ts'
import { parentOverlap, readImage } from './read-image.ts'

/** The parts of the image that a parent stands in for while the object does not exist, in the order of the object's bytes. */
export function backedExtents(header: ImageHeader, object: number, overlap: number): ByteExtent[] {
  if (overlap === 0) return []
  const layout = layoutOf(header)
  return objectToImage(layout, object, 0, layout.objectSize)
    .filter(([offset]) => offset < overlap)
    .map(([offset, length]) => [offset, Math.min(length, overlap - offset)])
}

/** Whether a clone reads from its parent where this object does not exist: then it may be neither removed nor written in part. */
export function isBacked(header: ImageHeader, object: number): boolean {
  return backedExtents(header, object, parentOverlap(header)).length > 0
}

/**
 * Makes a clone's object out of the parent's data, if it does not exist, before a part of it is written (librbd/io/CopyupRequest.cc). The
 * snapshots that read from the parent get it too, so that they no longer need it. Nothing is made of zeros. An object that exists stays as it is.
 * The head's map then says what this leaves behind: whoever writes marks the object as changed afterwards.
 */
export async function copyUpObject(image: Image, object: number, signal?: AbortSignal): Promise<void> {
  const { header } = image
  const extents = backedExtents(header, object, parentOverlap(header))
  if (extents.length === 0) return
  const data = await readExtents(image, extents, signal)
  if (!data) return
  const shared = await markSnapshots(image, object)
  await image.objectMap?.mark(object, shared ? ObjectState.existsClean : ObjectState.exists)
  // without snapshots in its context the object is older than all of them, and so theirs as well
  const io = image.data().duplicate({ snapContext: { seq: 0n, snaps: [] } })
  try {
    await io.write(dataObjectName(header.objectPrefix, object), copyup.step(new WriteOperation(), { data }))
  } finally {
    io.close()
  }
}

/** The parent's part of an object up to its last byte that is not zero; undefined when there is none. */
async function readExtents(image: Image, extents: readonly ByteExtent[], signal: AbortSignal | undefined): Promise<Buffer | undefined> {
  const parent = await image.openParent()
  const snap = image.header.parent!.snapId
  const parts = await Promise.all(extents.map(([offset, length]) => readImage(parent, { offset, length, snap, signal })))
  // the extents follow one another in the object, because only its end can be behind the overlap
  const data = Buffer.concat(parts)
  let end = data.length
  while (end > 0 && data[end - 1] === 0) end--
  return end === 0 ? undefined : data.subarray(0, end)
}

/**
 * In the oldest of the snapshots that get the data, it is new; in those that follow it, and in the head, it is that of the one before. A snapshot has what
 * it had where the object existed, as it does behind a head that was rolled back to a snapshot without it: what its map says of it stays as it is.
 * (librbd makes that "not changed", and a difference between snapshots is lost.) Resolves with true when the head's map is to say so.
 */
async function markSnapshots(image: Image, object: number): Promise<boolean> {
  if (!image.objectMap) return false
  const { header } = image
  const snapshots = [...header.snapshots].sort((a, b) => (a.id < b.id ? -1 : 1))
  if (snapshots.length === 0) return false
  const existed = await snapshotsWith(image, object)
  const fastDiff = hasFeature(header.features, FEATURE_FAST_DIFF)
  let inherited = false
  for (const { id, parentOverlap: overlap = 0 } of snapshots) {
    const getsData = backedExtents(header, object, overlap).length > 0 && !existed?.has(id)
    if (getsData) {
      const newState = inherited && existed && fastDiff ? ObjectState.existsClean : ObjectState.exists
      try {
        await objectMapUpdate.call(image.io, objectMapName(image.id, id), { start: object, end: object + 1, newState, currentState: undefined })
      } catch (error) {
        if (!isErrno(error, Errno.ENOENT)) throw error
      }
    }
    inherited = getsData
  }
  return fastDiff && inherited && existed !== undefined
}

/** Those that have the object for themselves; undefined where the cluster can't tell. */
async function snapshotsWith(image: Image, object: number): Promise<ReadonlySet<SnapId> | undefined> {
  try {
    const { clones } = await image.data().listSnaps(dataObjectName(image.header.objectPrefix, object))
    return new Set(clones.flatMap(({ snaps }) => snaps))
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return new Set()
    if (isErrno(error, Errno.EOPNOTSUPP)) return undefined
    throw error
  }
}
