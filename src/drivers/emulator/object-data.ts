import { CHUNK_BYTES, type ChunkTable } from './object-head.ts'

/** What an operation does to an object's bytes; nothing else changes the size of what is stored. */
export type DataStep =
  | { readonly type: 'write'; readonly offset: number; readonly data: Buffer }
  | { readonly type: 'zero'; readonly offset: number; readonly length: number }
  /** down only: what is cut off is gone, and reads as zeros if the object grows again */
  | { readonly type: 'truncate'; readonly size: number }

/** A chunk as it will be: an id that stays (0: a hole), or new bytes. */
export type ChunkSlot = number | Buffer

const EMPTY = Buffer.alloc(0)

/**
 * What `steps` make of the chunks of `table`. Bytes of chunks that are written in part are looked up in `known`; ids that are not there
 * are told as `missing`, and then `slots` is of no use.
 */
export function applyDataSteps(
  table: ChunkTable,
  steps: readonly DataStep[],
  known: ReadonlyMap<number, Buffer>,
): { slots: readonly ChunkSlot[]; missing: readonly number[] } {
  const slots = new Slots(table, known)
  for (const step of steps) {
    switch (step.type) {
      case 'write':
        slots.write(step.offset, step.data)
        break
      case 'zero':
        slots.zero(step.offset, step.length)
        break
      case 'truncate':
        slots.truncate(step.size)
        break
    }
  }
  return slots.finish()
}

class Slots {
  private readonly slots: ChunkSlot[]
  /** positions whose buffer was made here and may be written to */
  private readonly own = new Set<number>()
  private readonly missing = new Set<number>()

  constructor(
    table: ChunkTable,
    private readonly known: ReadonlyMap<number, Buffer>,
  ) {
    this.slots = [...table]
  }

  write(offset: number, data: Buffer): void {
    for (let from = 0; from < data.length; ) {
      const at = Math.floor((offset + from) / CHUNK_BYTES)
      const start = offset + from - at * CHUNK_BYTES
      const length = Math.min(CHUNK_BYTES - start, data.length - from)
      this.writePart(at, start, data.subarray(from, from + length))
      from += length
    }
  }

  private writePart(at: number, start: number, part: Buffer): void {
    while (this.slots.length <= at) this.slots.push(0)
    const end = start + part.length
    if (start === 0 && (end === CHUNK_BYTES || this.slots[at] === 0)) {
      this.put(at, Buffer.from(part))
      return
    }
    const old = this.bytesOf(at)
    if (this.own.has(at) && old.length >= end) {
      part.copy(old, start)
      return
    }
    const merged = Buffer.allocUnsafe(Math.max(old.length, end))
    old.copy(merged)
    if (start > old.length) merged.fill(0, old.length, start)
    part.copy(merged, start)
    this.put(at, merged)
  }

  zero(offset: number, length: number): void {
    const end = Math.min(offset + length, this.slots.length * CHUNK_BYTES)
    for (let position = offset; position < end; ) {
      const at = Math.floor(position / CHUNK_BYTES)
      const start = position - at * CHUNK_BYTES
      const stop = Math.min(CHUNK_BYTES, end - at * CHUNK_BYTES)
      position = at * CHUNK_BYTES + stop
      if (start === 0 && stop === CHUNK_BYTES) this.put(at, 0)
      else this.zeroPart(at, start, stop)
    }
  }

  private zeroPart(at: number, start: number, stop: number): void {
    if (this.slots[at] === 0) return
    const old = this.bytesOf(at)
    if (start >= old.length) return
    if (stop >= old.length) {
      this.put(at, start === 0 ? 0 : Buffer.from(old.subarray(0, start)))
      return
    }
    this.put(at, Buffer.from(old).fill(0, start, stop))
  }

  truncate(size: number): void {
    const count = Math.ceil(size / CHUNK_BYTES)
    if (this.slots.length > count) this.slots.length = count
    const tail = size % CHUNK_BYTES
    if (tail !== 0 && this.slots.length === count) this.zeroPart(count - 1, tail, CHUNK_BYTES)
  }

  finish(): { slots: readonly ChunkSlot[]; missing: readonly number[] } {
    while (this.slots.at(-1) === 0) this.slots.pop()
    return { slots: this.slots, missing: [...this.missing] }
  }

  private bytesOf(at: number): Buffer {
    const slot = this.slots[at]!
    if (typeof slot !== 'number') return slot
    if (slot === 0) return EMPTY
    const bytes = this.known.get(slot)
    if (!bytes) this.missing.add(slot)
    return bytes ?? EMPTY
  }

  private put(at: number, slot: ChunkSlot): void {
    this.slots[at] = slot
    if (typeof slot === 'number') this.own.delete(at)
    else this.own.add(at)
  }
}

/** Ids of the chunks that hold bytes of [offset, offset + length), without holes. */
export function chunksOf(table: ChunkTable, offset: number, length: number): number[] {
  const ids: number[] = []
  const last = Math.min(table.length, Math.ceil((offset + length) / CHUNK_BYTES))
  for (let at = Math.floor(offset / CHUNK_BYTES); at < last; at++) {
    const id = table[at]!
    if (id !== 0) ids.push(id)
  }
  return ids
}

/** Puts the bytes from `offset` on into all of `target`; what no chunk holds is zeros. */
export function readChunks(table: ChunkTable, known: ReadonlyMap<number, Buffer>, offset: number, target: Buffer): void {
  for (let done = 0; done < target.length; ) {
    const at = Math.floor((offset + done) / CHUNK_BYTES)
    const start = offset + done - at * CHUNK_BYTES
    const length = Math.min(CHUNK_BYTES - start, target.length - done)
    const bytes = known.get(table[at] ?? 0)
    const copied = bytes && start < bytes.length ? bytes.copy(target, done, start, start + length) : 0
    if (copied < length) target.fill(0, done + copied, done + length)
    done += length
  }
}
