// A pool that behaves as OSDs do towards data objects with clones, and towards object maps: in memory, for tests of what lies above.
import { Extents } from '../../src/base/extents.ts'
import { Decoder } from '../../src/encoding/decoder.ts'
import { Errno, RadosError } from '../../src/rados/errors.ts'
import { NO_SNAP, type IoCtx, type SnapContext, type SnapId, type SnapSet } from '../../src/rados/io-ctx.ts'
import { ReadResults, type ReadOperation, type WriteOperation, type WriteStep } from '../../src/rados/operation.ts'
import { decodeObjectStates, encodeObjectStates } from '../../src/rbd/data/object-states.ts'
import { TwoBitVector } from '../../src/rbd/data/two-bit-vector.ts'
import { checksums } from '../../src/drivers/emulator/checksum.ts'

interface Clone {
  id: SnapId
  /** descending */
  snaps: SnapId[]
  data: Buffer
  overlap: Extents
}

interface ModelObject {
  head: Buffer | undefined
  seq: SnapId
  snaps: readonly SnapId[]
  clones: Clone[]
}

const EMPTY: SnapContext = { seq: 0n, snaps: [] }

export class ModelPool {
  readonly objects = new Map<string, ModelObject>()
  /** Called before each operation; may throw to make it fail, or return true to let it happen and fail after. */
  beforeWrite: (oid: string) => boolean = () => false
  /** holds a read back */
  beforeRead: ((oid: string) => Promise<void>) | undefined
  /** without it drivers answer EOPNOTSUPP */
  listsSnaps = true
  writes = 0
  reads = 0
  private lastSnap = 10n

  /** Ids are not neighbours, as in a pool with other images. */
  newSnap(): SnapId {
    return (this.lastSnap += 3n)
  }

  io(view: { readSnap?: SnapId; snapContext?: SnapContext } = {}): IoCtx {
    return new ModelIoCtx(this, view.readSnap ?? NO_SNAP, view.snapContext ?? EMPTY) as unknown as IoCtx
  }

  error(errno: number, op: string, oid: string): RadosError {
    return new RadosError(errno, { op, pool: 'model', oid })
  }

  contentAt(oid: string, snap: SnapId): Buffer | undefined {
    const object = this.objects.get(oid)
    if (!object) return undefined
    if (snap === NO_SNAP || snap > object.seq) return object.head
    const clone = object.clones.find(({ id }) => id >= snap)
    return clone && clone.snaps.at(-1)! <= snap ? clone.data : undefined
  }

  listSnaps(oid: string): SnapSet {
    const object = this.objects.get(oid)
    if (!object) throw this.error(Errno.ENOENT, 'listSnaps', oid)
    const clones = object.clones.map(({ id, snaps, data, overlap }) => ({
      id,
      snaps: [...snaps].reverse(),
      overlap: overlap.toArray().map(([start, end]) => [start, end - start] as const),
      size: data.length,
    }))
    if (object.head) clones.push({ id: NO_SNAP, snaps: [], overlap: [], size: object.head.length })
    return { seq: object.seq, clones }
  }

  /** What the OSDs do some time after a snapshot id was removed. */
  trim(snap: SnapId): void {
    for (const [oid, object] of this.objects) {
      const index = object.clones.findIndex(({ snaps }) => snaps.includes(snap))
      if (index < 0) continue
      const clone = object.clones[index]!
      clone.snaps = clone.snaps.filter((id) => id !== snap)
      if (clone.snaps.length > 0) continue
      const older = object.clones[index - 1]
      if (older) older.overlap = older.overlap.intersection(clone.overlap)
      object.clones.splice(index, 1)
      if (!object.head && object.clones.length === 0) this.objects.delete(oid)
    }
  }

  /** PrimaryLogPG: the steps, then make_writeable. */
  write(oid: string, steps: readonly WriteStep[], given: SnapContext): void {
    const before = this.objects.get(oid)
    const object: ModelObject = before ?? { head: undefined, seq: 0n, snaps: [], clones: [] }
    const context = object.seq > given.seq ? { seq: object.seq, snaps: object.snaps } : given
    const modified = new Extents()
    let head = object.head
    let removed = false
    for (const step of steps) {
      const result = this.applyStep(oid, step, head, object.head, modified)
      if (result === 'removed') {
        head = undefined
        removed = true
      } else head = result
    }
    if (!before && !head && !removed) return
    let { clones } = object
    if (object.head && context.snaps.length > 0 && context.snaps[0]! > object.seq) {
      const snaps = context.snaps.filter((id) => id > object.seq)
      clones = [...clones, { id: context.seq, snaps, data: object.head, overlap: Extents.of([0, object.head.length]) }]
    }
    const newest = clones.at(-1)
    if (newest) newest.overlap = Extents.of(...newest.overlap.toArray()).subtract(modified)
    if (!head && clones.length === 0) this.objects.delete(oid)
    else {
      const newer = context.seq > object.seq
      this.objects.set(oid, { head, clones, seq: newer ? context.seq : object.seq, snaps: newer ? context.snaps : object.snaps })
    }
  }

  private applyStep(oid: string, step: WriteStep, head: Buffer | undefined, before: Buffer | undefined, modified: Extents): Buffer | undefined | 'removed' {
    switch (step.type) {
      case 'assertExists':
        if (!head) throw this.error(Errno.ENOENT, 'assertExists', oid)
        return head
      case 'create':
        if (head && step.exclusive) throw this.error(Errno.EEXIST, 'create', oid)
        return head ?? Buffer.alloc(0)
      case 'write': {
        const next = Buffer.alloc(Math.max(head?.length ?? 0, step.offset + step.data.length))
        head?.copy(next)
        step.data.copy(next, step.offset)
        modified.add(Math.min(step.offset, head?.length ?? 0), step.offset + step.data.length)
        return next
      }
      case 'writeFull':
        modified.add(0, Math.max(head?.length ?? 0, step.data.length))
        return Buffer.from(step.data)
      case 'zero': {
        if (!head) return head
        const next = Buffer.from(head)
        next.fill(0, Math.min(step.offset, next.length), Math.min(step.offset + step.length, next.length))
        modified.add(step.offset, step.offset + step.length)
        return next
      }
      case 'truncate': {
        if (!head) return head
        modified.add(Math.min(step.size, head.length), Math.max(step.size, head.length))
        const next = Buffer.alloc(step.size)
        head.copy(next)
        return next
      }
      case 'remove':
        if (!head) throw this.error(Errno.ENOENT, 'remove', oid)
        modified.add(0, head.length)
        return 'removed'
      case 'exec':
        if (step.cls === 'lock') return head ?? Buffer.alloc(0)
        // a class reads what was there before the operation, not what earlier steps wrote
        return this.execObjectMap(oid, step.method, step.input, before)
      default:
        throw new Error(`the model has no ${step.type}`)
    }
  }

  private execObjectMap(oid: string, method: string, input: Buffer, head: Buffer | undefined): Buffer {
    const map = head && head.length > 0 ? decodeObjectStates(head) : undefined
    const args = new Decoder(input, method)
    const save = (states: TwoBitVector) => encodeObjectStates(states, true)
    switch (method) {
      case 'object_map_save':
        return save(decodeObjectStates(input))
      case 'object_map_resize': {
        const count = args.size()
        const added = args.u8()
        const next = (map ?? new TwoBitVector(0)).resized(count)
        for (let object = count; object < (map?.length ?? 0); object++) {
          if (map!.get(object) !== added) throw this.error(Errno.ESTALE, method, oid)
        }
        for (let object = map?.length ?? 0; object < count; object++) next.set(object, added)
        return save(next)
      }
      case 'object_map_update': {
        if (!map) throw this.error(Errno.ENOENT, method, oid)
        const [start, end, state] = [args.size(), args.size(), args.u8()]
        if (start >= end || end > map.length) throw this.error(Errno.ERANGE, method, oid)
        for (let object = start; object < end; object++) map.set(object, state)
        return save(map)
      }
      case 'object_map_snap_add': {
        for (let object = 0; object < map!.length; object++) if (map!.get(object) === 1) map!.set(object, 3)
        return save(map!)
      }
      default:
        throw new Error(`the model has no ${method}`)
    }
  }
}

class ModelIoCtx {
  readonly clusterName = 'model'
  readonly poolName = 'model'
  readonly poolId = 1n
  readonly namespace = ''

  constructor(
    private readonly pool: ModelPool,
    readonly readSnap: SnapId,
    readonly snapContext: SnapContext,
  ) {}

  duplicate(changes: { readSnap?: SnapId; snapContext?: SnapContext }) {
    return new ModelIoCtx(this.pool, changes.readSnap ?? this.readSnap, changes.snapContext ?? this.snapContext)
  }

  close() {}

  async write(oid: string, operation: WriteOperation): Promise<bigint> {
    await turn()
    this.pool.writes++
    const failAfter = this.pool.beforeWrite(oid)
    this.pool.write(oid, operation.steps, this.snapContext)
    if (failAfter) throw this.pool.error(Errno.ETIMEDOUT, 'write', oid)
    return 1n
  }

  async remove(oid: string): Promise<void> {
    this.pool.write(oid, [{ type: 'remove' }], this.snapContext)
  }

  async read(oid: string, operation: ReadOperation, options?: { signal?: AbortSignal }): Promise<ReadResults> {
    await turn()
    await this.pool.beforeRead?.(oid)
    options?.signal?.throwIfAborted()
    this.pool.reads++
    const data = this.pool.contentAt(oid, this.readSnap)
    if (!data) throw this.pool.error(Errno.ENOENT, 'read', oid)
    const values = operation.steps.map((step) => {
      if (step.type === 'read') {
        const into = step.into ?? Buffer.alloc(step.length)
        return into.subarray(0, data.copy(into, 0, step.offset, Math.min(data.length, step.offset + step.length)))
      }
      if (step.type === 'stat') return { size: data.length, mtime: 0 }
      if (step.type === 'checksum') return checksums(step.checksum, step.seed, this.range(oid, data, step), step.chunkSize)
      if (step.type === 'exec' && step.method === 'object_map_load') {
        if (data.length === 0) throw this.pool.error(Errno.ENOENT, 'object_map_load', oid)
        return encodeObjectStates(decodeObjectStates(data), false)
      }
      throw new Error(`the model has no ${step.type}`)
    })
    return new ReadResults(values, 1n)
  }

  private range(oid: string, data: Buffer, { offset, length, chunkSize }: { offset: number; length: number; chunkSize: number }): Buffer {
    const range = data.subarray(offset, offset + length)
    if (chunkSize > 0 && range.length % chunkSize !== 0) throw this.pool.error(Errno.EINVAL, 'checksum', oid)
    return range
  }

  async stat(oid: string): Promise<{ size: number; mtime: number }> {
    await turn()
    const data = this.pool.contentAt(oid, this.readSnap)
    if (!data) throw this.pool.error(Errno.ENOENT, 'stat', oid)
    return { size: data.length, mtime: 0 }
  }

  async readData(oid: string, offset: number, length: number): Promise<Buffer> {
    await turn()
    const data = this.pool.contentAt(oid, this.readSnap)
    if (!data) throw this.pool.error(Errno.ENOENT, 'read', oid)
    return Buffer.from(data.subarray(offset, offset + length))
  }

  async listSnaps(oid: string): Promise<SnapSet> {
    await turn()
    if (!this.pool.listsSnaps) throw this.pool.error(Errno.EOPNOTSUPP, 'listSnaps', oid)
    return this.pool.listSnaps(oid)
  }
}

/** Lets others run in between, as a real operation would. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
