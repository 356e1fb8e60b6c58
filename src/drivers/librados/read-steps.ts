import { unreachable } from '../../base/assert.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import type { ChecksumType, OmapKeysPage, OmapPage, ReadStep } from '../../rados/operation.ts'
import { addPreciseStat } from './cxx-abi.ts'
import { copyFrom, PointerTable, returnArena, stringAt, takeArena, type Arena } from './memory.ts'
import { librados, type Librados, type Pointer } from './native.ts'
import { COMPARISONS, keepAlive } from './write-steps.ts'

/** rados_checksum_type_t, and the bytes of one sum */
const CHECKSUMS: Record<ChecksumType, { type: number; size: number }> = {
  xxhash32: { type: 0, size: 4 },
  xxhash64: { type: 1, size: 8 },
  crc32c: { type: 2, size: 4 },
}

/** Cells that one step takes at most; see `addStep`. */
const CELLS_PER_STEP = 4
/** Cells with which the iterators are walked: four addresses and lengths. */
const WALK_CELLS = 4

/** How one step's result gets out of native memory. */
interface StepResult {
  /** Only after the operation has succeeded. */
  take: () => unknown
  /** Frees what librados has allocated, also after a failure. */
  free?: () => void
}

/**
 * A native read operation. It owns the memory that librados fills: call `discard` once, when the operation has completed or was never sent.
 */
export class NativeRead {
  private readonly api: Librados = librados()
  readonly operation: Pointer = this.api.createReadOp()
  private readonly arena: Arena
  private readonly results: (StepResult | undefined)[]
  /** where librados puts the status of each step; the operation's own status tells enough */
  private readonly status: Pointer

  constructor(steps: readonly ReadStep[]) {
    this.arena = takeArena(1 + WALK_CELLS + steps.length * CELLS_PER_STEP)
    this.status = this.arena.at(this.arena.take())
    try {
      this.results = steps.map((step) => this.addStep(step))
    } catch (error) {
      this.results = []
      this.release()
      throw error
    }
  }

  /** The results by step; throws MalformedInput if librados' answer makes no sense. */
  take(): unknown[] {
    return this.results.map((result) => result?.take())
  }

  /** Frees everything. */
  discard(): void {
    for (const result of this.results) result?.free?.()
    this.release()
  }

  private release(): void {
    this.api.releaseReadOp(this.operation)
    returnArena(this.arena)
  }

  private addStep(step: ReadStep): StepResult | undefined {
    const { api, operation, arena } = this
    switch (step.type) {
      case 'read':
        return this.addRead(step.offset, step.length, step.into)
      case 'stat': {
        const size = arena.take()
        const time = arena.take(2) // struct timespec; of the C API only its seconds
        if (!addPreciseStat(operation, arena.at(size), arena.at(time), this.status)) {
          api.readStat(operation, arena.at(size), arena.at(time), this.status)
        }
        return { take: () => ({ size: arena.number(size), mtime: arena.number(time) * 1000 + Math.floor(arena.number(time + 8) / 1e6) }) }
      }
      case 'getXattr': {
        const all = this.addXattrs()
        return {
          take: () => {
            const value = all.take().get(step.name)
            if (value === undefined) throw new MissingXattr(step.name)
            return value
          },
          free: all.free,
        }
      }
      case 'getXattrs':
        return this.addXattrs()
      case 'omapGet':
        return this.addOmap((iterator, more) => api.readOmapGet(operation, step.after, step.prefix, step.max, iterator, more, this.status))
      case 'omapGetKeys': {
        const page = this.addOmap((iterator, more) => api.readOmapGetKeys(operation, step.after, step.max, iterator, more, this.status))
        return {
          take: (): OmapKeysPage => {
            const { entries, more } = page.take()
            return { keys: [...entries.keys()], more }
          },
          free: page.free,
        }
      }
      case 'omapGetByKeys': {
        const keys = new PointerTable(step.keys.map((key) => Buffer.from(key)))
        const found = this.addOmap((iterator) => api.readOmapGetByKeys(operation, keys.pointers, step.keys.length, keys.lengths, iterator, this.status))
        keepAlive(keys)
        return { take: () => found.take().entries, free: found.free }
      }
      case 'exec':
        return this.addExec(step.cls, step.method, step.input)
      case 'checksum':
        return this.addChecksum(step)
      case 'assertExists':
        api.readAssertExists(operation)
        return undefined
      case 'assertVersion':
        api.readAssertVersion(operation, step.version)
        return undefined
      case 'cmpxattr':
        api.readCmpxattr(operation, step.name, COMPARISONS[step.comparison], step.value, step.value.length)
        return undefined
      case 'cmpext':
        api.readCmpext(operation, step.data, step.data.length, step.offset, this.status)
        return undefined
      case 'omapCmp': {
        const key = Buffer.from(step.key)
        api.readOmapCmp(operation, key, COMPARISONS[step.comparison], step.value, key.length, step.value.length, this.status)
        return undefined
      }
      default:
        return unreachable(step)
    }
  }

  private addRead(offset: number, length: number, into: Buffer | undefined): StepResult {
    if (into && into.length < length) throw new RangeError(`a buffer of ${into.length} bytes can't take a read of ${length}`)
    const buffer = into ?? Buffer.allocUnsafe(length)
    const count = this.arena.take()
    this.api.readRead(this.operation, offset, length, length > 0 ? buffer : null, this.arena.at(count), this.status)
    return { take: () => buffer.subarray(0, this.arena.number(count)) }
  }

  private addExec(cls: string, method: string, input: Buffer): StepResult {
    const { api, arena } = this
    const answer = arena.take()
    const length = arena.take()
    api.readExec(this.operation, cls, method, input, input.length, arena.at(answer), arena.at(length), this.status)
    return {
      take: () => copyFrom(arena.number(answer), arena.number(length)),
      free: () => {
        if (arena.number(answer) !== 0) api.bufferFree(arena.number(answer))
      },
    }
  }

  private addChecksum(step: ReadStep & { type: 'checksum' }): StepResult {
    const { type, size } = CHECKSUMS[step.checksum]
    const chunks = step.chunkSize === 0 ? 1 : Math.ceil(step.length / step.chunkSize)
    const sums = Buffer.alloc(4 + chunks * size) // le32 count, then the sums
    const seed = Buffer.alloc(size)
    if (size === 8) seed.writeBigUInt64LE(step.seed)
    else seed.writeUInt32LE(Number(step.seed))
    this.api.readChecksum(this.operation, type, seed, size, step.offset, step.length, step.chunkSize, sums, sums.length, this.status)
    return {
      take: () => {
        const count = sums.readUInt32LE(0)
        if (count > chunks) throw new MalformedInput('checksums', `${count} sums for ${chunks} chunks`)
        return Array.from({ length: count }, (_, index) =>
          size === 8 ? sums.readBigUInt64LE(4 + index * 8) : BigInt(sums.readUInt32LE(4 + index * 4)),
        )
      },
    }
  }

  private addXattrs(): { take: () => Map<string, Buffer>; free: () => void } {
    const { api, arena } = this
    const iterator = arena.take()
    const walk = arena.take(3)
    api.readGetXattrs(this.operation, arena.at(iterator), this.status)
    return {
      take: () => {
        const xattrs = new Map<string, Buffer>()
        for (;;) {
          const status = api.xattrsNext(arena.number(iterator), arena.at(walk), arena.at(walk + 8), arena.at(walk + 16))
          if (status < 0) throw new MalformedInput('xattrs', `iterator failed with ${status}`)
          const name = arena.number(walk)
          if (name === 0) return xattrs
          xattrs.set(stringAt(name), copyFrom(arena.number(walk + 8), arena.number(walk + 16)))
        }
      },
      free: () => {
        if (arena.number(iterator) !== 0) api.xattrsEnd(arena.number(iterator))
      },
    }
  }

  private addOmap(begin: (iterator: Pointer, more: Pointer) => void): { take: () => OmapPage; free: () => void } {
    const { api, arena } = this
    const iterator = arena.take()
    const more = arena.take()
    begin(arena.at(iterator), arena.at(more))
    return {
      take: () => {
        const entries = new Map<string, Buffer>()
        const walk = takeArena(WALK_CELLS)
        const [key, value, keyLength, valueLength] = [walk.take(), walk.take(), walk.take(), walk.take()]
        for (;;) {
          const status = api.omapNext(arena.number(iterator), walk.at(key), walk.at(value), walk.at(keyLength), walk.at(valueLength))
          if (status < 0) throw new MalformedInput('omap', `iterator failed with ${status}`)
          if (walk.number(key) === 0) break
          entries.set(copyFrom(walk.number(key), walk.number(keyLength)).toString(), copyFrom(walk.number(value), walk.number(valueLength)))
        }
        returnArena(walk)
        return { entries, more: arena.u8(more) !== 0 }
      },
      free: () => {
        if (arena.number(iterator) !== 0) api.omapEnd(arena.number(iterator))
      },
    }
  }
}

/** The object exists but has no such attribute: ENODATA. */
export class MissingXattr extends Error {
  constructor(name: string) {
    super(`no attribute ${name}`)
    this.name = 'MissingXattr'
  }
}
