import koffi from 'koffi'
import type { Pointer } from './native.ts'

const libc = koffi.load('libc.so.6')
const memcpy = libc.func('memcpy', 'uintptr_t', ['void *', 'uintptr_t', 'size_t']) as unknown as (to: Buffer, from: Pointer, length: number) => void

const [M_TRIM_THRESHOLD, M_MMAP_THRESHOLD] = [-1, -3]

/**
 * Has the C library keep megabytes that librados frees, instead of giving them back to the kernel and taking them anew, page fault by page
 * fault, for every object of 4 MiB: more than a third of what copying objects costs.
 */
export function keepFreedMemory(): void {
  const mallopt = libc.func('mallopt', 'int', ['int', 'int']) as unknown as (parameter: number, value: number) => number
  if (process.env['MALLOC_TRIM_THRESHOLD_'] === undefined) mallopt(M_TRIM_THRESHOLD, 128 << 20)
  if (process.env['MALLOC_MMAP_THRESHOLD_'] === undefined) mallopt(M_MMAP_THRESHOLD, 32 << 20)
}

/** A copy of native memory. */
export function copyFrom(address: Pointer, length: number): Buffer {
  const copy = Buffer.allocUnsafe(length)
  if (length > 0) memcpy(copy, address, length)
  return copy
}

/** The NUL-terminated string at an address. */
export function stringAt(address: Pointer): string {
  return koffi.decode.string(address)
}

/** The address of JavaScript's memory; valid as long as `buffer` is referenced. */
export function addressOf(buffer: Uint8Array): Pointer {
  return Number(koffi.address(buffer))
}

/**
 * Memory into which librados puts results: 8-byte cells, addressed by their offset. An arena must stay referenced until the call that
 * fills it has completed.
 */
export class Arena {
  readonly memory: Buffer
  readonly address: Pointer
  private used = 0

  constructor(readonly cells: number) {
    this.memory = Buffer.alloc(cells * 8)
    this.address = addressOf(this.memory)
  }

  reset(): void {
    this.memory.fill(0, 0, this.used)
    this.used = 0
  }

  /** Takes `count` zeroed cells and gives the offset of the first. */
  take(count = 1): number {
    const offset = this.used
    this.used += count * 8
    return offset
  }

  /** The native address of a cell. */
  at(offset: number): Pointer {
    return this.address + offset
  }

  u8(offset: number): number {
    return this.memory[offset]!
  }
  i32(offset: number): number {
    return this.memory.readInt32LE(offset)
  }
  u64(offset: number): bigint {
    return this.memory.readBigUInt64LE(offset)
  }
  setU64(offset: number, value: number): void {
    this.memory.writeUInt32LE(value >>> 0, offset)
    this.memory.writeUInt32LE(Math.floor(value / 2 ** 32), offset + 4)
  }
  /** A size or an address: below 2^53. */
  number(offset: number): number {
    return readNumber(this.memory, offset)
  }
}

export function readNumber(memory: Buffer, offset: number): number {
  return memory.readUInt32LE(offset) + memory.readUInt32LE(offset + 4) * 2 ** 32
}

const POOLED_CELLS = 64
const POOL_LIMIT = 4096
const pool: Arena[] = []

/** An arena with at least `cells` cells, usually one that was used before. */
export function takeArena(cells: number): Arena {
  if (cells > POOLED_CELLS) return new Arena(cells)
  return pool.pop() ?? new Arena(POOLED_CELLS)
}

/** Only when nothing native refers to the arena any more. */
export function returnArena(arena: Arena): void {
  if (arena.cells !== POOLED_CELLS || pool.length >= POOL_LIMIT) return
  arena.reset()
  pool.push(arena)
}

const EMPTY = Buffer.alloc(0)

/** Strings or bytes as C arrays of addresses and lengths; referenced until the call that reads them returns. */
export class PointerTable {
  readonly pointers: Buffer
  readonly lengths: Buffer
  private content: Buffer

  constructor(items: readonly Buffer[]) {
    const content = Buffer.concat(items)
    this.content = content
    this.pointers = Buffer.allocUnsafe(Math.max(8, items.length * 8))
    this.lengths = Buffer.allocUnsafe(Math.max(8, items.length * 8))
    let address = addressOf(content.length > 0 ? content : this.pointers)
    for (const [index, { length }] of items.entries()) {
      this.pointers.writeUInt32LE(address % 2 ** 32, index * 8)
      this.pointers.writeUInt32LE(Math.floor(address / 2 ** 32), index * 8 + 4)
      this.lengths.writeUInt32LE(length, index * 8)
      this.lengths.writeUInt32LE(0, index * 8 + 4)
      address += length
    }
  }

  /** bytes of all items */
  get size(): number {
    return this.content.length
  }

  /** After the call: until here the strings are reachable, as the garbage collector sees it. */
  release(): void {
    this.content = EMPTY
  }
}

/** librados' form of a string map: key NUL value NUL … NUL. */
export function dictionary(entries: Readonly<Record<string, string>>): Buffer {
  return Buffer.from(
    Object.entries(entries)
      .map(([key, value]) => `${key}\0${value.replaceAll('\0', '')}\0`)
      .join('') + '\0',
  )
}

/** The string in front of the first NUL. */
export function cString(buffer: Buffer): string {
  const end = buffer.indexOf(0)
  return buffer.toString('utf8', 0, end < 0 ? buffer.length : end)
}
