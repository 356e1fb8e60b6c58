/** A set of bytes as sorted, disjoint, non-adjacent [start, end) ranges. */
export class Extents implements Iterable<readonly [start: number, end: number]> {
  private ranges: [number, number][] = []

  static of(...ranges: readonly (readonly [start: number, end: number])[]): Extents {
    const extents = new Extents()
    for (const [start, end] of ranges) extents.add(start, end)
    return extents
  }

  get empty(): boolean {
    return this.ranges.length === 0
  }

  /** bytes covered */
  get total(): number {
    return this.ranges.reduce((sum, [start, end]) => sum + end - start, 0)
  }

  [Symbol.iterator](): Iterator<readonly [number, number]> {
    return this.ranges[Symbol.iterator]()
  }

  toArray(): [number, number][] {
    return this.ranges.map(([start, end]) => [start, end])
  }

  add(start: number, end: number): this {
    if (start >= end) return this
    const from = this.firstEndingAtOrAfter(start)
    let to = from
    for (let range = this.ranges[to]; range && range[0] <= end; range = this.ranges[++to]) {
      start = Math.min(start, range[0])
      end = Math.max(end, range[1])
    }
    this.ranges.splice(from, to - from, [start, end])
    return this
  }

  remove(start: number, end: number): this {
    if (start >= end) return this
    const from = this.firstEndingAtOrAfter(start + 1)
    const kept: [number, number][] = []
    let to = from
    for (let range = this.ranges[to]; range && range[0] < end; range = this.ranges[++to]) {
      if (range[0] < start) kept.push([range[0], start])
      if (range[1] > end) kept.push([end, range[1]])
    }
    this.ranges.splice(from, to - from, ...kept)
    return this
  }

  union(other: Extents): this {
    for (const [start, end] of other) this.add(start, end)
    return this
  }

  subtract(other: Extents): this {
    for (const [start, end] of other) this.remove(start, end)
    return this
  }

  /** A new set of what both cover. */
  intersection(other: Extents): Extents {
    const result = new Extents()
    let left = 0
    let right = 0
    for (;;) {
      const a = this.ranges[left]
      const b = other.ranges[right]
      if (!a || !b) return result
      const start = Math.max(a[0], b[0])
      const end = Math.min(a[1], b[1])
      if (start < end) result.ranges.push([start, end])
      if (a[1] < b[1]) left++
      else right++
    }
  }

  intersects(start: number, end: number): boolean {
    const range = this.ranges[this.firstEndingAtOrAfter(start + 1)]
    return range !== undefined && range[0] < end && start < end
  }

  private firstEndingAtOrAfter(position: number): number {
    let low = 0
    let high = this.ranges.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.ranges[middle]![1] < position) low = middle + 1
      else high = middle
    }
    return low
  }
}
