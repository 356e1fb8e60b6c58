import type { JournalEntry } from './entry.ts'
import { parseEntry } from './entry.ts'

/** Reads up to `into.length` bytes of a data object from `offset`; fewer at its end, 0 if it does not exist. */
export type ReadObject = (objectNumber: number, offset: number, into: Buffer) => Promise<number>

/** Bytes of a data object that are no entry. */
export interface JournalFault {
  type: 'corrupt'
  objectNumber: number
  /** in the object, bytes */
  offset: number
  detail: string
}

export const MIN_FETCH_BYTES = 32 * 1024

/** Buffers of the smallest fetches, for the next ones: a live journal is looked at many times a second, mostly for a few entries. */
const spareBuffers: Buffer[] = []
const MAX_SPARE_BUFFERS = 16

/** Takes the entries out of one data object, from its start to its end, in fetches whose size follows what there is to fetch. */
export class ObjectReader {
  private readonly queue: JournalEntry[] = []
  private head = 0
  private queued = 0
  /** next byte to fetch */
  private offset = 0
  /** the beginning of an entry that was not fetched whole */
  private tail: Buffer = Buffer.alloc(0)
  private wanted = 0
  private fetchBytes = MIN_FETCH_BYTES
  private fetching: Promise<void> | undefined
  private fetchFailed: { error: unknown } | undefined
  private damage: JournalFault | undefined
  private endSeen = -1

  constructor(
    readonly objectNumber: number,
    private readonly read: ReadObject,
    private readonly limits: { readonly maxFetchBytes: number },
  ) {}

  /** The oldest entry that was not taken yet. */
  get front(): JournalEntry | undefined {
    return this.queue[this.head]
  }

  get bufferedBytes(): number {
    return this.queued
  }

  /** What stands behind the last entry, once those before it have been taken. */
  get fault(): JournalFault | undefined {
    return this.front ? undefined : this.damage
  }

  /** The highest active set at whose time the object's end had been reached; -1 when it never was. */
  get endSeenAtSet(): number {
    return this.endSeen
  }

  shift(): void {
    const entry = this.queue[this.head]!
    this.queued -= entry.data.length
    this.head++
    // what was taken must not be held, also if the queue is never empty
    if (this.head * 2 < this.queue.length) return
    this.queue.splice(0, this.head)
    this.head = 0
  }

  /** Fetches more in the background unless that is under way, the buffer is full, or the end was seen at `activeSet`. */
  prefetch(activeSet: number): void {
    if (this.damage || this.endSeen >= activeSet || this.queued >= this.limits.maxFetchBytes) return
    this.fetch(activeSet).catch((error: unknown) => (this.fetchFailed ??= { error }))
  }

  /**
   * Fetches what comes next, or awaits the fetch under way.
   *
   * @param activeSet as known now: an object of an older set is complete when its end is seen
   */
  async fetch(activeSet: number): Promise<void> {
    if (this.fetchFailed) {
      const { error } = this.fetchFailed
      this.fetchFailed = undefined
      throw error
    }
    if (this.damage) return
    this.fetching ??= this.fetchOnce(activeSet).finally(() => (this.fetching = undefined))
    await this.fetching
  }

  /** Fetches after any fetch under way: sees all that was written before the call. */
  async fetchAnew(activeSet: number): Promise<void> {
    await this.fetching
    await this.fetch(activeSet)
  }

  /** Marks the object as one that ends within an entry, once nothing more can come. */
  checkTorn(): void {
    if (this.tail.length === 0 || this.damage) return
    this.damage = {
      type: 'corrupt',
      objectNumber: this.objectNumber,
      offset: this.offset - this.tail.length,
      detail: `it ends ${this.wanted - this.tail.length} bytes before the end of its last entry`,
    }
  }

  private async fetchOnce(activeSet: number): Promise<void> {
    const kept = this.tail.length
    const size = Math.max(Math.min(this.fetchBytes, this.limits.maxFetchBytes), this.wanted - kept)
    const reusable = kept + size === MIN_FETCH_BYTES
    const buffer = (reusable ? spareBuffers.pop() : undefined) ?? Buffer.allocUnsafeSlow(kept + size)
    // after a failure the buffer is not used again: a native read may still write to it
    const got = await this.read(this.objectNumber, this.offset, buffer.subarray(kept))
    if (got < size) this.endSeen = Math.max(this.endSeen, activeSet)
    if (got === size) this.fetchBytes = Math.min(this.fetchBytes * 2, this.limits.maxFetchBytes)
    else if (got < size / 4) this.fetchBytes = Math.max(MIN_FETCH_BYTES, this.fetchBytes / 2)
    if (got > 0) {
      this.tail.copy(buffer)
      const base = this.offset - kept
      this.offset += got
      // entries refer to what they lie in: a few do not keep much more than themselves
      const bytes = reusable ? Buffer.allocUnsafeSlow(kept + got) : buffer.subarray(0, kept + got)
      if (reusable) buffer.copy(bytes)
      this.parse(bytes, base)
    }
    if (reusable && spareBuffers.length < MAX_SPARE_BUFFERS) spareBuffers.push(buffer)
  }

  private parse(buffer: Buffer, base: number): void {
    this.tail = Buffer.alloc(0)
    this.wanted = 0
    for (let at = 0; at < buffer.length; ) {
      const parsed = parseEntry(buffer, at, base)
      switch (parsed.type) {
        case 'entry':
          this.queue.push(parsed.entry)
          this.queued += parsed.entry.data.length
          at += parsed.length
          break
        case 'padding':
          at += parsed.length
          break
        case 'partial':
          this.tail = buffer.subarray(at)
          this.wanted = parsed.length
          return
        case 'corrupt':
          this.damage = { type: 'corrupt', objectNumber: this.objectNumber, offset: base + at, detail: parsed.detail }
          return
      }
    }
  }
}
