/**
 * Large buffers for data on its way from one cluster to another, kept for reuse: fresh ones cost page faults.
 * A buffer whose native operation was abandoned must not come back: just drop it.
 */
export class BufferPool {
  private readonly free = new Map<number, Buffer[]>()
  private kept = 0
  /** the largest class that was ever kept */
  private largest = 0

  /** @param keepBytes how much may lie idle */
  constructor(private readonly keepBytes: number) {}

  /** bytes lying idle */
  get idleBytes(): number {
    return this.kept
  }

  /**
   * A buffer of at least `length` bytes with arbitrary content: a larger one rather than a fresh one, for what is allocated outside of
   * V8's heap soon makes it collect all of its garbage.
   */
  take(length: number): Buffer {
    const smallest = sizeClass(length)
    for (let size = smallest; size <= this.largest; size *= 2) {
      const buffer = this.free.get(size)?.pop()
      if (!buffer) continue
      this.kept -= size
      return buffer
    }
    return Buffer.allocUnsafeSlow(smallest)
  }

  /** Takes back what `take` gave, when nobody refers to it any more. */
  give(buffer: Buffer): void {
    const size = buffer.length
    if (size !== sizeClass(size) || this.kept + size > this.keepBytes) return
    const list = this.free.get(size)
    if (list) list.push(buffer)
    else this.free.set(size, [buffer])
    this.kept += size
    this.largest = Math.max(this.largest, size)
  }

  /** Lets go of everything idle. */
  clear(): void {
    this.free.clear()
    this.kept = 0
  }
}

const smallestClass = 4096

/** Powers of two: at most half of a buffer is wasted, and a handful of classes serve all object sizes. */
function sizeClass(length: number): number {
  return Math.max(smallestClass, 2 ** Math.ceil(Math.log2(Math.max(length, 1))))
}
