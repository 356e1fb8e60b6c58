/** Characters above these sort differently as UTF-16 units than as UTF-8 bytes. */
const BEYOND = /[\ud800-\uffff]/

/** The order of the keys' UTF-8 bytes, as a negative, zero or positive number. */
export function compareUtf8(a: string, b: string): number {
  if (!BEYOND.test(a) && !BEYOND.test(b)) return a < b ? -1 : a > b ? 1 : 0
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** A map whose keys can be walked in the order of their UTF-8 bytes; sorted only when it is walked. */
export class SortedMap<V> {
  private readonly values = new Map<string, V>()
  private sorted: string[] | undefined
  private appended: string[] = []

  constructor(entries: Iterable<readonly [string, V]> = []) {
    for (const [key, value] of entries) this.set(key, value)
  }

  get size(): number {
    return this.values.size
  }

  get(key: string): V | undefined {
    return this.values.get(key)
  }

  has(key: string): boolean {
    return this.values.has(key)
  }

  set(key: string, value: V): void {
    if (this.sorted && !this.values.has(key)) this.appended.push(key)
    this.values.set(key, value)
  }

  delete(key: string): void {
    if (!this.values.delete(key) || !this.sorted) return
    this.settle()
    this.sorted.splice(this.lowerBound(this.sorted, key), 1)
  }

  clear(): void {
    this.values.clear()
    this.sorted = undefined
    this.appended = []
  }

  entries(): IterableIterator<[string, V]> {
    return this.values.entries()
  }

  /** Keys that begin with `prefix`, greater than `after` unless that is undefined, at most `max`. */
  page(prefix: string, after: string | undefined, max: number): { entries: [string, V][]; more: boolean } {
    const keys = this.settle()
    const entries: [string, V][] = []
    let at = this.lowerBound(keys, after === undefined || compareUtf8(prefix, after) > 0 ? prefix : after)
    if (after !== undefined && keys[at] === after) at++
    for (; at < keys.length && keys[at]!.startsWith(prefix); at++) {
      if (entries.length >= max) return { entries, more: true }
      entries.push([keys[at]!, this.values.get(keys[at]!)!])
    }
    return { entries, more: false }
  }

  private settle(): string[] {
    if (!this.sorted) {
      this.sorted = [...this.values.keys()].sort(compareUtf8)
    } else if (this.appended.length > SPLICE_LIMIT) {
      this.sorted = [...this.sorted, ...this.appended].sort(compareUtf8)
    } else {
      for (const key of this.appended) this.sorted.splice(this.lowerBound(this.sorted, key), 0, key)
    }
    this.appended.length = 0
    return this.sorted
  }

  private lowerBound(keys: string[], key: string): number {
    let low = 0
    let high = keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareUtf8(keys[middle]!, key) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** New keys beyond which sorting all is cheaper than putting each in its place. */
const SPLICE_LIMIT = 16
