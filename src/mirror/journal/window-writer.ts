import { assert } from '../../base/assert.ts'
import { forEachBounded } from '../../base/bounded.ts'
import type { Semaphore } from '../../base/semaphore.ts'
import type { Throttle } from '../../base/throttle.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import { WriteOperation } from '../../rados/operation.ts'
import { ObjectState } from '../../rbd/data/object-states.ts'
import { mayBeErasureCoded, writeInTurns } from '../../rbd/data/write-in-turns.ts'
import type { ObjectMap } from '../../rbd/data/object-map.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { dataObjectName } from '../../rbd/names.ts'
import type { ImageHeader } from '../../rbd/header.ts'
import type { ObjectOverlay, OverlaySegment } from './object-overlay.ts'

/** Objects written at once. */
const MAX_OBJECTS_IN_FLIGHT = 64
/** Neighbouring pieces of data up to this many bytes together are sent as one write: fewer steps for the OSD than a copy costs here. */
const JOIN_BYTES = 256 * 1024

/** What a window is written to; an Image is one. `header` and `data` change when a snapshot is made or the image resized. */
export interface WindowTarget {
  readonly header: ImageHeader
  readonly objectMap: ObjectMap | undefined
  data(): IoCtx
  /** Of a clone: its parent stands in for this object where it does not exist. */
  isBacked?(object: number): boolean
  /** Makes such an object out of the parent's data, unless it exists or there is none. */
  copyUp?(object: number): Promise<void>
}

/**
 * Applies windows to a local image's head: one atomic write operation per object, but for what may lie in an erasure-coded pool. The object map says that an object exists before it is
 * written, and that it is gone only after it was removed, so that a crash leaves it true or too large. Applying a window again changes nothing.
 */
export class WindowWriter {
  constructor(
    private readonly target: WindowTarget,
    private readonly byteBudget: Semaphore,
    private readonly throttle?: Throttle,
  ) {}

  /** Resolves when all is on stable storage; rejects with the first RadosError after everything under way has ended. */
  async apply(objects: ReadonlyMap<number, ObjectOverlay>): Promise<void> {
    await this.markBefore(objects)
    await forEachBounded(objects, MAX_OBJECTS_IN_FLIGHT, ([number, overlay]) => this.write(number, overlay))
    await this.markAfter(objects)
  }

  private async write(number: number, overlay: ObjectOverlay): Promise<void> {
    const { header } = this.target
    const objectSize = 2 ** header.order
    const io = this.target.data()
    const oid = dataObjectName(header.objectPrefix, number)
    const bytes = dataBytes(overlay)
    const held = this.throttle?.take(bytes)
    if (held) await held
    const release = await this.byteBudget.acquire(bytes)
    try {
      if (this.target.isBacked?.(number)) await this.writeBacked(number, overlay, io, oid)
      else if (overlay.isZero(objectSize)) await io.remove(oid)
      else await this.put(io, oid, operationFor(overlay.segments, objectSize))
    } catch (error) {
      // nothing to zero or to remove
      if (bytes > 0 || !isErrno(error, Errno.ENOENT)) throw error
    } finally {
      release()
    }
  }

  /** An object that hides its parent's data: it is emptied rather than removed, and what is not written of it comes from the parent. */
  private async writeBacked(number: number, overlay: ObjectOverlay, io: IoCtx, oid: string): Promise<void> {
    const emptied = overlay.isZero(2 ** this.target.header.order)
    try {
      const guarded = emptied ? new WriteOperation().truncate(0) : operationFor(overlay.segments, 2 ** this.target.header.order)
      if (guarded.steps[0]?.type !== 'assertExists') guarded.steps.unshift({ type: 'assertExists' })
      await this.put(io, oid, guarded)
      return
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
    // also what is emptied: snapshots may still need the parent's data
    await this.target.copyUp!(number)
    const map = this.target.objectMap
    if (map?.expected(number) === ObjectState.existsClean) await map.mark(number, ObjectState.exists)
    await this.put(io, oid, emptied ? new WriteOperation().create(false).truncate(0) : operationFor(overlay.segments, 2 ** this.target.header.order))
  }

  private async put(io: IoCtx, oid: string, operation: WriteOperation): Promise<void> {
    await (mayBeErasureCoded(this.target.header) ? writeInTurns(io, oid, operation) : io.write(oid, operation))
  }

  private async markBefore(objects: ReadonlyMap<number, ObjectOverlay>): Promise<void> {
    const map = this.target.objectMap
    if (!map) return
    const objectSize = 2 ** this.target.header.order
    const marks: Promise<void>[] = []
    for (const [number, overlay] of objects) {
      const state = map.expected(number)
      if (overlay.isZero(objectSize) && !this.target.isBacked?.(number)) {
        if (state !== ObjectState.nonexistent) marks.push(map.mark(number, ObjectState.pending))
      } else if (dataBytes(overlay) === 0 && !overlay.isZero(objectSize)) {
        // an object that is not there has nothing to zero: it must not come into being, in the map neither
        if (state === ObjectState.existsClean) marks.push(map.mark(number, ObjectState.exists))
      } else if (state !== ObjectState.exists) marks.push(map.mark(number, ObjectState.exists))
    }
    await Promise.all(marks)
  }

  private async markAfter(objects: ReadonlyMap<number, ObjectOverlay>): Promise<void> {
    const map = this.target.objectMap
    if (!map) return
    const marks: Promise<void>[] = []
    for (const number of objects.keys()) {
      if (map.expected(number) === ObjectState.pending) marks.push(map.mark(number, ObjectState.nonexistent))
    }
    await Promise.all(marks)
  }
}

function dataBytes(overlay: ObjectOverlay): number {
  return overlay.segments.reduce((sum, { data }) => sum + (data?.length ?? 0), 0)
}

/** One operation that gives an object the content of the segments; an object that does not exist is created by it if there is data. */
function operationFor(segments: readonly OverlaySegment[], objectSize: number): WriteOperation {
  assert(segments.length > 0, 'an overlay has a segment')
  const operation = new WriteOperation()
  if (segments.every(({ data }) => !data)) operation.assertExists()
  for (let index = 0; index < segments.length; ) {
    const first = segments[index]!
    if (!first.data) {
      if (first.end >= objectSize) operation.truncate(first.start)
      else operation.zero(first.start, first.end - first.start)
      index++
      continue
    }
    const pieces = [first.data]
    let end = first.end
    for (let next = segments[++index]; next?.data && next.start === end && next.end - first.start <= JOIN_BYTES; next = segments[++index]) {
      pieces.push(next.data)
      end = next.end
    }
    operation.write(first.start, pieces.length === 1 ? first.data : Buffer.concat(pieces))
  }
  return operation
}
