import { imageToObjects, type Layout } from '../../rbd/data/striping.ts'
import { ObjectOverlay } from './object-overlay.ts'

/**
 * Collects the modifications between two barriers of a journal as what they make of each object in the end. Applied as one atomic operation
 * per object, in any order of objects, this is a state that a power cut could have left on the primary: a disk may keep or lose each write
 * that no flush has confirmed. Overwritten bytes are never sent.
 */
export class WriteWindow {
  private overlays = new Map<number, ObjectOverlay>()
  private dataBytes = 0
  private count = 0

  constructor(private readonly layout: Layout) {}

  /** modifications taken in */
  get entries(): number {
    return this.count
  }

  /** bytes of data taken in, also of those overwritten since */
  get bytes(): number {
    return this.dataBytes
  }

  get objects(): ReadonlyMap<number, ObjectOverlay> {
    return this.overlays
  }

  /** @param offset in the image, as all offsets here */
  write(offset: number, data: Buffer): void {
    this.count++
    this.dataBytes += data.length
    for (const extent of imageToObjects(this.layout, offset, data.length)) {
      const overlay = this.overlay(extent.objectNumber)
      let at = extent.offset
      for (const [start, length] of extent.pieces) {
        overlay.write(at, data.subarray(start, start + length))
        at += length
      }
    }
  }

  /** Repeats `pattern` over `length` bytes, which are a multiple of its length. */
  writeSame(offset: number, length: number, pattern: Buffer): void {
    const data = Buffer.allocUnsafe(length)
    for (let at = 0; at < length; at += pattern.length) pattern.copy(data, at)
    this.write(offset, data)
  }

  /**
   * Zeros `length` bytes. As in ImageDiscardRequest of librbd/io/ImageRequest.cc, each object's part shrinks to multiples of
   * `granularity` (bytes, a power of two or larger than an object; 0 for none), unless the whole granule is the object and the part reaches its end.
   */
  discard(offset: number, length: number, granularity: number): void {
    this.count++
    const { objectSize } = this.layout
    const unit = Math.min(granularity, objectSize)
    for (const extent of imageToObjects(this.layout, offset, length)) {
      let start = extent.offset
      let end = extent.offset + extent.length
      if (unit > 0 && (unit < objectSize || end < objectSize)) {
        start = Math.ceil(start / unit) * unit
        end = Math.floor(end / unit) * unit
      }
      if (start < end) this.overlay(extent.objectNumber).zero(start, end)
    }
  }

  private overlay(objectNumber: number): ObjectOverlay {
    let overlay = this.overlays.get(objectNumber)
    if (!overlay) this.overlays.set(objectNumber, (overlay = new ObjectOverlay()))
    return overlay
  }
}
