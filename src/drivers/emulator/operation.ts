import { unreachable } from '../../base/assert.ts'
import type { Random } from '../../base/random.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import type { Caller } from '../../objclass/object-context.ts'
import type { ClassRegistry } from '../../objclass/registry.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { SnapContext } from '../../rados/io-ctx.ts'
import type { Comparison, GuardStep, ObjectStat, OmapPage, ReadStep, WriteStep } from '../../rados/operation.ts'
import { checkedLength, checksums } from './checksum.ts'
import { ClassContext } from './class-context.ts'
import type { Engine, EngineClient, MaybePromise, ObjectId, ObjectView } from './engine.ts'
import { Mutation } from './mutation.ts'
import type { WatchRecord } from './object-head.ts'
import { ObjectReader } from './object-reader.ts'
import { stateAt } from './snapshots.ts'

/** A mismatch at byte n of a compared extent is told as errno 4095 + n. */
const MISMATCH = 4095
const EMPTY = Buffer.alloc(0)

/** What an operation needs besides the object. */
export interface OperationEnvironment {
  readonly engine: Engine
  readonly client: EngineClient
  readonly caller: Caller
  readonly classes: ClassRegistry
  readonly random: Random
  /** of an object's watchers, those whose clients are alive */
  livingWatchers(watchers: readonly WatchRecord[]): MaybePromise<readonly WatchRecord[]>
}

/** The object an operation is for. */
export interface Target {
  readonly id: ObjectId
  readonly poolId: bigint
  readonly namespace: string
  readonly oid: string
  /** the snapshot that is read */
  readonly snap: bigint
  /** the snapshots it is written under */
  readonly context: SnapContext | undefined
}

/**
 * One try of an operation vector on an object as it was opened: steps read what is stored, and note in the mutation what is to change.
 * Follows `do_osd_ops` of PrimaryLogPG.cc.
 */
export class Operation {
  readonly reader: ObjectReader
  readonly mutation: Mutation
  /** version of what is read */
  readonly version: number
  /** the first attribute asked for by name that there is not: librados finds that when all steps have succeeded */
  private missingXattr: string | undefined

  constructor(
    readonly environment: OperationEnvironment,
    readonly target: Target,
    private readonly view: ObjectView,
    /** milliseconds since the epoch */
    readonly now: number,
    /** a write, or a read that contains a writing method */
    writes: boolean,
  ) {
    const { head, revision } = view
    const at = stateAt(head, target.snap)
    // A write sees the remains of a removed object as an object without anything.
    const seen = writes && head && !at ? { state: head, omap: 0n, clone: undefined } : at
    if (!writes && !at) throw new RadosError(Errno.ENOENT, { op: 'open' })
    this.reader = new ObjectReader(environment.engine, environment.client, target.id, revision, seen)
    this.version = at?.clone?.version ?? view.version
    this.mutation = new Mutation(at?.clone ? { ...head!, ...at.clone, exists: true } : head, this.version, target.context)
  }

  snapSetSeq(): bigint {
    // of a removed object whose clones remain, there still is one
    if (!this.mutation.exists && !this.view.head?.clones.length) throw new RadosError(Errno.ENOENT, { op: 'snapset' })
    return this.view.head?.snapSeq ?? 0n
  }

  stat(): ObjectStat {
    this.mutation.assertExists()
    return { size: this.mutation.size, mtime: Math.floor(this.reader.at?.state.mtime ?? 0) }
  }

  /** Stored bytes, within the size that earlier steps have left. @throws RadosError ENOENT for bytes of an object that is not stored yet */
  async readData(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    const wanted = Math.min(length, Math.max(0, this.mutation.size - offset))
    if (wanted > 0 && !this.reader.at) throw new RadosError(Errno.ENOENT, { op: 'read' })
    return this.reader.data(offset, wanted, into)
  }

  async omapPage(after: string, prefix: string, max: number): Promise<OmapPage> {
    if (this.mutation.omap && !this.reader.at) throw new RadosError(Errno.ENOENT, { op: 'get omap' })
    return this.mutation.omap ? this.reader.omapPage(after, prefix, max) : { entries: new Map(), more: false }
  }

  async watchers(): Promise<readonly WatchRecord[]> {
    return this.environment.livingWatchers(this.view.head?.watchers ?? [])
  }

  /** Calls an object class's method. @throws RadosError */
  async exec(cls: string, name: string, input: Buffer): Promise<Buffer> {
    const method = this.environment.classes.find(cls, name)
    try {
      return await method.run(new ClassContext(this, method), input)
    } catch (error) {
      // What a class can't decode it calls invalid.
      if (error instanceof MalformedInput) throw new RadosError(Errno.EINVAL, { op: `${cls}.${name}`, cause: error })
      throw error
    }
  }

  private async guard(step: GuardStep): Promise<void> {
    switch (step.type) {
      case 'assertExists':
        return this.mutation.assertExists()
      case 'assertVersion':
        return assertVersion(this.version, step.version)
      case 'cmpxattr': {
        const stored = this.reader.xattrs().get(step.name) ?? EMPTY
        if (!holds(step.comparison, Buffer.compare(step.value, stored))) throw new RadosError(Errno.ECANCELED, { op: 'compare xattr' })
        return
      }
      case 'cmpext': {
        const stored = this.reader.at ? await this.readData(step.offset, step.data.length) : EMPTY
        for (let at = 0; at < step.data.length; at++) {
          if (step.data[at] !== (stored[at] ?? 0)) throw new RadosError(MISMATCH + at, { op: 'compare extent' })
        }
        return
      }
      case 'omapCmp':
        return this.compareOmap(step.key, step.comparison, step.value)
    }
  }

  /** Unlike attributes, the stored value stands on the left, and there are three operators only. */
  private async compareOmap(key: string, comparison: Comparison, value: Buffer): Promise<void> {
    this.mutation.assertExists()
    if (this.mutation.omap && !this.reader.at) throw new RadosError(Errno.ENOENT, { op: 'compare omap' })
    const stored = (this.mutation.omap ? (await this.reader.omapValues([key])).get(key) : undefined) ?? EMPTY
    if (comparison !== 'eq' && comparison !== 'lt' && comparison !== 'gt') throw new RadosError(Errno.EINVAL, { op: 'compare omap' })
    if (!holds(comparison, compareSigned(stored, value))) throw new RadosError(Errno.ECANCELED, { op: 'compare omap' })
  }

  /** What each step answers. */
  async runReads(steps: readonly ReadStep[]): Promise<unknown[]> {
    const results: unknown[] = []
    for (const step of steps) results.push(await this.readStep(step))
    if (this.missingXattr !== undefined) throw new RadosError(Errno.ENODATA, { op: `get xattr ${this.missingXattr}` })
    return results
  }

  private async readStep(step: ReadStep): Promise<unknown> {
    switch (step.type) {
      case 'read':
        if (step.into && step.into.length < step.length) {
          throw new RangeError(`a buffer of ${step.into.length} bytes can't take a read of ${step.length}`)
        }
        return this.readData(step.offset, step.length, step.into)
      case 'stat':
        return this.stat()
      case 'getXattr': {
        const value = this.reader.xattrs().get(step.name)
        if (!value) this.missingXattr ??= step.name
        return value
      }
      case 'getXattrs':
        return new Map(this.reader.xattrs())
      case 'omapGet':
        return this.omapPage(step.after, step.prefix, step.max)
      case 'omapGetKeys': {
        const { entries, more } = await this.omapPage(step.after, '', step.max)
        return { keys: [...entries.keys()], more }
      }
      case 'omapGetByKeys':
        return this.mutation.omap ? this.reader.omapValues(step.keys) : new Map()
      case 'exec':
        return this.exec(step.cls, step.method, step.input)
      case 'checksum': {
        const { checksum, seed, offset, chunkSize } = step
        const length = checkedLength(this.mutation.size, offset, step.length, chunkSize)
        return checksums(checksum, seed, await this.readData(offset, length), chunkSize)
      }
      default:
        return this.guard(step)
    }
  }

  async runWrites(steps: readonly WriteStep[]): Promise<void> {
    for (const step of steps) {
      const waiting = this.writeStep(step)
      if (waiting) await waiting
    }
  }

  private writeStep(step: WriteStep): Promise<unknown> | undefined {
    const { mutation } = this
    switch (step.type) {
      case 'create':
        return void mutation.create(step.exclusive)
      case 'write':
        return void mutation.write(step.offset, step.data)
      case 'writeFull':
        return void mutation.writeFull(step.data)
      case 'writeSame':
        return void mutation.writeSame(step.offset, step.length, step.data)
      case 'append':
        return void mutation.append(step.data)
      case 'zero':
        return void mutation.zero(step.offset, step.length)
      case 'truncate':
        return void mutation.truncate(step.size)
      case 'remove':
        return void mutation.remove()
      case 'setXattr':
        return void mutation.setXattr(step.name, step.value)
      case 'removeXattr':
        return void mutation.removeXattr(step.name)
      case 'omapSet':
        return void mutation.setOmap(step.entries)
      case 'omapRemoveKeys':
        return void mutation.removeOmapKeys(step.keys)
      case 'omapClear':
        return void mutation.clearOmap()
      case 'setAllocHint':
        return void mutation.setAllocHint()
      case 'exec':
        return this.exec(step.cls, step.method, step.input)
      case 'assertExists':
      case 'assertVersion':
      case 'cmpxattr':
      case 'cmpext':
      case 'omapCmp':
        return this.guard(step)
      default:
        return unreachable(step)
    }
  }
}

function assertVersion(current: number, asked: bigint): void {
  const op = 'assert version'
  if (asked === 0n) throw new RadosError(Errno.EINVAL, { op })
  if (asked < BigInt(current)) throw new RadosError(Errno.ERANGE, { op })
  if (asked > BigInt(current)) throw new RadosError(Errno.EOVERFLOW, { op })
}

function holds(comparison: Comparison, order: number): boolean {
  switch (comparison) {
    case 'eq':
      return order === 0
    case 'ne':
      return order !== 0
    case 'gt':
      return order > 0
    case 'gte':
      return order >= 0
    case 'lt':
      return order < 0
    case 'lte':
      return order <= 0
  }
}

/** The order of Ceph's bufferlists, whose bytes have a sign. */
function compareSigned(a: Buffer, b: Buffer): number {
  const common = Math.min(a.length, b.length)
  for (let at = 0; at < common; at++) {
    if (a[at] !== b[at]) return a.readInt8(at) - b.readInt8(at)
  }
  return a.length - b.length
}
