/** A part of an object's new content: `data` of `end - start` bytes, or zeros. */
export interface OverlaySegment {
  start: number
  end: number
  data: Buffer | undefined
}

/**
 * What a run of writes and discards makes of one object: the last change to each byte, as sorted, disjoint segments. Bytes outside stay as
 * they are. Buffers are kept as views, never copied.
 */
export class ObjectOverlay {
  private readonly list: OverlaySegment[] = []

  get segments(): readonly OverlaySegment[] {
    return this.list
  }

  write(start: number, data: Buffer): void {
    if (data.length > 0) this.put({ start, end: start + data.length, data })
  }

  zero(start: number, end: number): void {
    if (start < end) this.put({ start, end, data: undefined })
  }

  /** True if nothing is left of the object's bytes below `objectSize` but zeros. */
  isZero(objectSize: number): boolean {
    const only = this.list[0]
    return this.list.length === 1 && only!.data === undefined && only!.start === 0 && only!.end >= objectSize
  }

  private put(segment: OverlaySegment): void {
    const { start, end } = segment
    const from = this.firstEndingAfter(start)
    let to = from
    const replaced: OverlaySegment[] = []
    for (let old = this.list[to]; old && old.start < end; old = this.list[++to]) {
      if (old.start < start) replaced.push(slice(old, old.start, start))
      if (old.end > end) {
        replaced.push(segment, slice(old, end, old.end))
        this.splice(from, to + 1, replaced)
        return
      }
    }
    replaced.push(segment)
    this.splice(from, to, replaced)
  }

  private splice(from: number, to: number, segments: OverlaySegment[]): void {
    this.list.splice(from, to - from, ...segments)
    // neighbouring zeros are one: a discard in pieces may still remove the whole object
    for (let index = Math.min(from + segments.length, this.list.length - 1); index >= Math.max(from, 1); index--) {
      const left = this.list[index - 1]!
      const right = this.list[index]!
      if (left.data || right.data || left.end !== right.start) continue
      this.list.splice(index - 1, 2, { start: left.start, end: right.end, data: undefined })
    }
  }

  /** Index of the first segment that ends after `position`. */
  private firstEndingAfter(position: number): number {
    let low = 0
    let high = this.list.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.list[middle]!.end <= position) low = middle + 1
      else high = middle
    }
    return low
  }
}

function slice(segment: OverlaySegment, start: number, end: number): OverlaySegment {
  return { start, end, data: segment.data?.subarray(start - segment.start, end - segment.start) }
}
