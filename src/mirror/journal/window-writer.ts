import { assert } from '../../base/assert.ts'
import { forEachBounded } from '../../base/bounded.ts'
import type { Semaphore } from '../../base/semaphore.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import { WriteOperation } from '../../rados/operation.ts'
import { ObjectState } from '../../rbd/data/object-states.ts'
import type { HeadObjectMap } from '../../rbd/head-object-map.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { dataObjectName } from '../../rbd/names.ts'
import type { ImageHeader } from '../../rbd/header.ts'
import type { ObjectOverlay, OverlaySegment } from './object-overlay.ts'

/** Objects written at once. */
const MAX_OBJECTS_IN_FLIGHT = 64
/** Neighbouring pieces of data up to this many bytes together are sent as one write: fewer steps for the OSD than a copy costs here. */
const JOIN_BYTES = 256 * 1024

/** What a window is written to. `header` and `data` change when a snapshot is made or the image resized. */
export interface WindowTarget {
  readonly header: ImageHeader
  readonly objectMap: HeadObjectMap | undefined
  data(): IoCtx
}

/**
 * Applies windows to a local image's head: one atomic write operation per object. The object map says that an object exists before it is
 * written, and that it is gone only after it was removed, so that a crash leaves it true or too large. Applying a window again changes nothing.
 */
export class WindowWriter {
  /** objects that the head's map is known to say exist, since it was last told otherwise */
  private existing = new Set<number>()

  constructor(
    private readonly target: WindowTarget,
    private readonly byteBudget: Semaphore,
  ) {}

  /** After a snapshot, a resize or a new object map: what is known of the map no longer holds. */
  forget(): void {
    this.existing = new Set()
  }

  /** Resolves when all is on stable storage; rejects with the first RadosError after everything under way has ended. */
  async apply(objects: ReadonlyMap<number, ObjectOverlay>): Promise<void> {
    const objectSize = 2 ** this.target.header.order
    const removed: number[] = []
    const zeroed: number[] = []
    const written: number[] = []
    for (const [number, overlay] of objects) {
      if (overlay.isZero(objectSize)) removed.push(number)
      else if (dataBytes(overlay) === 0) zeroed.push(number)
      else written.push(number)
    }
    await this.markExisting(written)
    // an object that is not there has nothing to zero: it must not come into being, in the map neither
    await this.mark(zeroed, ObjectState.exists, ObjectState.existsClean)
    await this.mark(removed, ObjectState.pending)
    const io = this.target.data()
    const prefix = this.target.header.objectPrefix
    await forEachBounded(objects, MAX_OBJECTS_IN_FLIGHT, async ([number, overlay]) => {
      const oid = dataObjectName(prefix, number)
      const bytes = dataBytes(overlay)
      const release = await this.byteBudget.acquire(bytes)
      try {
        if (overlay.isZero(objectSize)) await io.remove(oid)
        else await io.write(oid, operationFor(overlay.segments, objectSize))
      } catch (error) {
        if (bytes > 0 || !isErrno(error, Errno.ENOENT)) throw error
      } finally {
        release()
      }
    })
    await this.mark(removed, ObjectState.nonexistent, ObjectState.pending)
  }

  private async markExisting(numbers: number[]): Promise<void> {
    if (!this.target.objectMap) return
    const unknown = numbers.filter((number) => !this.existing.has(number))
    await this.mark(unknown, ObjectState.exists)
    for (const number of unknown) this.existing.add(number)
  }

  private async mark(numbers: number[], state: ObjectState, current?: ObjectState): Promise<void> {
    const map = this.target.objectMap
    if (!map || numbers.length === 0) return
    if (state !== ObjectState.exists) for (const number of numbers) this.existing.delete(number)
    await forEachBounded(runs(numbers), MAX_OBJECTS_IN_FLIGHT, ([start, end]) => map.update(start, end, state, current))
  }
}

function dataBytes(overlay: ObjectOverlay): number {
  return overlay.segments.reduce((sum, { data }) => sum + (data?.length ?? 0), 0)
}

/** Object numbers as runs [start, end). */
function runs(numbers: readonly number[]): [number, number][] {
  const found: [number, number][] = []
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const last = found.at(-1)
    if (last && last[1] === number) last[1]++
    else found.push([number, number + 1])
  }
  return found
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
