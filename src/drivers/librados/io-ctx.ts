import { Errno, type RadosError } from '../../rados/errors.ts'
import {
  SNAP_DIR,
  type IoCtx,
  type NotifyResult,
  type OperationOptions,
  type SnapContext,
  type SnapId,
  type SnapSet,
  type Watch,
  type Watcher,
  type WatchHandlers,
} from '../../rados/io-ctx.ts'
import { OneStepOperations } from '../../rados/one-step.ts'
import { ReadResults, type ReadOperation, type WriteOperation } from '../../rados/operation.ts'
import type { Connection, ConnectionCall } from './connection.ts'
import { addListSnaps, addListWatchers, addRollback, duplicateContext, type ForeignStep } from './cxx-abi.ts'
import { copyFrom, returnArena, takeArena } from './memory.ts'
import type { Librados, Pointer } from './native.ts'
import { decodeNotifyReply } from './notify-reply.ts'
import { listObjects } from './object-listing.ts'
import { MissingXattr, NativeRead } from './read-steps.ts'
import { LibradosWatch } from './watch.ts'
import { buildWriteOperation } from './write-steps.ts'

/** A notify that even its time-out did not end (the OSD is gone) is given up this long after it (milliseconds). */
const NOTIFY_GRACE_MS = 10_000

/** A native asynchronous call on an io context, from its start to its result. */
export interface IoCall<T> {
  op: string
  oid?: string | undefined
  /** hands the call to librados and returns its status */
  begin(io: Pointer, completion: Pointer): number
  /** What a successful call resolves with. */
  result(value: number, completion: Pointer): T
  /** Once, when nothing native refers to the call's memory any more, after `result`. */
  cleanup?(): void
  /** negative values that are results, not failures */
  accepts?(value: number): boolean
  signal?: AbortSignal | undefined
  timeoutMs?: number
  duringClose?: boolean
  /** see {@link ConnectionCall} */
  lingers?: boolean
}

interface Identity {
  poolId: bigint
  poolName: string
  namespace: string
  readSnap: SnapId
  snapContext: SnapContext | undefined
}

/** A native io context; snapshots and namespace are state of it, so every view has one of its own. */
export class LibradosIoCtx extends OneStepOperations implements IoCtx {
  readonly api: Librados
  readonly poolId: bigint
  readonly poolName: string
  readonly namespace: string
  readonly readSnap: SnapId
  readonly snapContext: SnapContext | undefined
  private closed = false
  private holders = 1
  private snapDirectory: LibradosIoCtx | undefined
  private readonly untrack: () => void

  constructor(
    readonly connection: Connection,
    readonly native: Pointer,
    identity: Identity,
  ) {
    super()
    this.api = connection.api
    this.poolId = identity.poolId
    this.poolName = identity.poolName
    this.namespace = identity.namespace
    this.readSnap = identity.readSnap
    this.snapContext = identity.snapContext
    // A full pool refuses what would take space (ENOSPC, EDQUOT) and lets the rest through; otherwise all writes would wait for space, unseen.
    this.api.ioctxSetFullTry(native)
    this.untrack = connection.track('context', this)
  }

  get clusterName(): string {
    return this.connection.name
  }

  error(errno: number, op: string, oid?: string, cause?: unknown): RadosError {
    return this.connection.error(errno, { op, pool: this.poolName, namespace: this.namespace, oid, cause })
  }

  duplicate(changes: { namespace?: string; readSnap?: SnapId; snapContext?: SnapContext }): LibradosIoCtx {
    this.assertOpen('duplicate')
    const native = duplicateContext(this.native) ?? this.createNative()
    const identity = { ...this.identity(), ...changes }
    try {
      this.api.ioctxSetNamespace(native, identity.namespace)
      this.api.ioctxSnapSetRead(native, identity.readSnap)
      if (identity.snapContext) this.setSnapContext(native, identity.snapContext)
    } catch (error) {
      this.api.ioctxDestroy(native)
      throw error
    }
    return new LibradosIoCtx(this.connection, native, identity)
  }

  private identity(): Identity {
    const { poolId, poolName, namespace, readSnap, snapContext } = this
    return { poolId, poolName, namespace, readSnap, snapContext }
  }

  private createNative(): Pointer {
    const arena = takeArena(1)
    const out = arena.take()
    const status = this.api.ioctxCreate2(this.connection.handle, this.poolId, arena.at(out))
    const native = arena.number(out)
    returnArena(arena)
    if (status < 0) throw this.error(status, 'open pool')
    return native
  }

  private setSnapContext(native: Pointer, { seq, snaps }: SnapContext): void {
    const ids = Buffer.alloc(Math.max(8, snaps.length * 8))
    for (const [index, snap] of snaps.entries()) ids.writeBigUInt64LE(snap, index * 8)
    const status = this.api.ioctxSetWriteContext(native, seq, ids, snaps.length)
    if (status < 0) throw this.error(status, 'set snapshot context')
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.snapDirectory?.close()
    this.untrack()
    this.letGo()
  }

  /** Keeps the native context although this one is closed; the returned function lets it go. */
  hold(): () => void {
    this.holders++
    let held = true
    return () => {
      if (held) this.letGo()
      held = false
    }
  }

  private letGo(): void {
    if (--this.holders === 0) this.api.ioctxDestroy(this.native)
  }

  private assertOpen(op: string, oid?: string): void {
    this.connection.assertOpen(op)
    if (this.closed) throw this.error(Errno.EBADF, `${op} on a closed io context`, oid)
  }

  /** Runs a native asynchronous call. The promise may settle before the native call does (time-out); its memory stays until then. */
  call<T>(call: IoCall<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      try {
        call.signal?.throwIfAborted()
        if (!call.duringClose) this.assertOpen(call.op, call.oid)
      } catch (error) {
        call.cleanup?.()
        throw error
      }
      const release = this.hold()
      const onAbort = () => this.connection.cancel(native)
      let timer: NodeJS.Timeout | undefined
      const native: ConnectionCall = {
        io: this.native,
        completion: 0,
        lingers: call.lingers,
        duringClose: call.duringClose,
        fail: reject,
        completed: (value, completion) => {
          clearTimeout(timer)
          call.signal?.removeEventListener('abort', onAbort)
          try {
            if (call.signal?.aborted) reject(abortReason(call.signal))
            else if (value >= 0 || call.accepts?.(value)) resolve(call.result(value, completion))
            else if (value === -Errno.ECANCELED && this.connection.closed) reject(this.error(Errno.ESHUTDOWN, `${call.op} during close`, call.oid))
            else reject(this.error(value, call.op, call.oid))
          } catch (error) {
            if (error instanceof MissingXattr) reject(this.error(Errno.ENODATA, call.op, call.oid, error))
            else reject(error instanceof Error ? error : new Error(String(error)))
          } finally {
            call.cleanup?.()
            release()
          }
        },
      }
      const status = this.connection.start(native, (completion) => call.begin(this.native, completion))
      if (status < 0) {
        call.cleanup?.()
        release()
        return reject(this.error(status, call.op, call.oid))
      }
      call.signal?.addEventListener('abort', onAbort, { once: true })
      if (call.timeoutMs !== undefined) timer = setTimeout(() => reject(this.error(Errno.ETIMEDOUT, call.op, call.oid)), call.timeoutMs)
    })
  }

  async write(oid: string, operation: WriteOperation, options?: OperationOptions): Promise<bigint> {
    return this.operateWrite('write', oid, buildWriteOperation(operation.steps), options?.signal)
  }

  private operateWrite(op: string, oid: string, operation: Pointer, signal?: AbortSignal): Promise<bigint> {
    return this.call({
      op,
      oid,
      signal,
      begin: (io, completion) => this.api.aioWriteOperate(operation, io, completion, oid, null, 0),
      result: (_, completion) => BigInt(this.api.aioVersion(completion)),
      cleanup: () => this.api.releaseWriteOp(operation),
    })
  }

  async read(oid: string, operation: ReadOperation, options?: OperationOptions): Promise<ReadResults> {
    const read = new NativeRead(operation.steps)
    return this.call({
      op: 'read',
      oid,
      signal: options?.signal,
      begin: (io, completion) => this.api.aioReadOperate(read.operation, io, completion, oid, 0),
      result: (_, completion) => new ReadResults(read.take(), BigInt(this.api.aioVersion(completion))),
      cleanup: () => read.discard(),
    })
  }

  async exec(oid: string, cls: string, method: string, input: Buffer, options?: OperationOptions): Promise<Buffer> {
    // The OSD looks at the method, not at the kind of operation, to tell reads from writes, and a "read" does bring an answer back,
    // in memory that librados allocates, so there is no answer too long for a buffer and no second execution.
    const read = new NativeRead([{ type: 'exec', cls, method, input }])
    return this.call({
      op: `${cls}.${method}`,
      oid,
      signal: options?.signal,
      begin: (io, completion) => this.api.aioReadOperate(read.operation, io, completion, oid, 0),
      result: () => read.take()[0] as Buffer,
      cleanup: () => read.discard(),
    })
  }

  async listSnaps(oid: string): Promise<SnapSet> {
    this.assertOpen('list snapshots', oid)
    this.snapDirectory ??= this.readSnap === SNAP_DIR ? undefined : this.duplicate({ readSnap: SNAP_DIR })
    return (this.snapDirectory ?? this).foreignRead('list snapshots', oid, addListSnaps)
  }

  async listWatchers(oid: string): Promise<Watcher[]> {
    return this.foreignRead('list watchers', oid, addListWatchers)
  }

  private foreignRead<T>(op: string, oid: string, add: (operation: Pointer) => ForeignStep<T> | undefined): Promise<T> {
    const operation = this.api.createReadOp()
    const step = add(operation)
    if (!step) {
      this.api.releaseReadOp(operation)
      throw this.error(Errno.EOPNOTSUPP, op, oid)
    }
    return this.call({
      op,
      oid,
      begin: (io, completion) => this.api.aioReadOperate(operation, io, completion, oid, 0),
      result: () => step.take(),
      cleanup: () => {
        step.free()
        this.api.releaseReadOp(operation)
      },
    })
  }

  listObjects(): AsyncIterable<string> {
    this.assertOpen('list objects')
    return listObjects(this)
  }

  watch(oid: string, handlers: WatchHandlers): Promise<Watch> {
    return LibradosWatch.open(this, oid, handlers)
  }

  async notify(oid: string, payload: Buffer, timeoutMs: number): Promise<NotifyResult> {
    const arena = takeArena(2)
    const reply = arena.take()
    const length = arena.take()
    return this.call({
      op: 'notify',
      oid,
      lingers: true,
      timeoutMs: timeoutMs + NOTIFY_GRACE_MS,
      begin: (io, completion) => this.api.aioNotify(io, oid, completion, payload, payload.length, timeoutMs, arena.at(reply), arena.at(length)),
      // Watchers that did not answer in time make it ETIMEDOUT, with a reply that says which.
      accepts: (value) => value === -Errno.ETIMEDOUT && arena.number(reply) !== 0,
      result: () => decodeNotifyReply(copyFrom(arena.number(reply), arena.number(length))),
      cleanup: () => {
        if (arena.number(reply) !== 0) this.api.bufferFree(arena.number(reply))
        returnArena(arena)
      },
    })
  }

  /** Answers a notification; nobody waits for it any more when the connection is closing. */
  acknowledge(oid: string, notifyId: bigint, cookie: bigint, payload: Buffer): void {
    if (this.connection.closed || this.holders === 0) return
    this.api.notifyAck(this.native, oid, notifyId, cookie, payload, payload.length)
  }

  createSelfManagedSnap(): Promise<SnapId> {
    const arena = takeArena(1)
    const snap = arena.take()
    return this.call({
      op: 'create snapshot id',
      begin: (io, completion) => {
        this.api.aioSnapCreate(io, arena.at(snap), completion)
        return 0
      },
      result: () => arena.u64(snap),
      cleanup: () => returnArena(arena),
    })
  }

  async removeSelfManagedSnap(snap: SnapId): Promise<void> {
    await this.call({
      op: 'remove snapshot id',
      begin: (io, completion) => {
        this.api.aioSnapRemove(io, snap, completion)
        return 0
      },
      result: () => undefined,
    })
  }

  async rollbackSelfManagedSnap(oid: string, snap: SnapId): Promise<void> {
    const operation = this.api.createWriteOp()
    if (addRollback(operation, snap)) {
      await this.operateWrite('rollback', oid, operation)
      return
    }
    this.api.releaseWriteOp(operation)
    const release = this.hold()
    const status = await this.connection.blocking('rollback', (done) =>
      this.api.snapRollback.async(this.native, oid, snap, (error, result) => {
        release()
        done(error, result)
      }),
    )
    if (status < 0) throw this.error(status, 'rollback', oid)
  }

  async requiredAlignment(): Promise<number | undefined> {
    this.assertOpen('required alignment')
    const arena = takeArena(2)
    const [requires, alignment] = [arena.take(), arena.take()]
    try {
      let status = this.api.ioctxRequiresAlignment(this.native, arena.at(requires))
      if (status >= 0 && arena.i32(requires) === 0) return undefined
      if (status >= 0) status = this.api.ioctxRequiredAlignment(this.native, arena.at(alignment))
      if (status < 0) throw this.error(status, 'required alignment')
      return arena.number(alignment)
    } finally {
      returnArena(arena)
    }
  }
}

function abortReason(signal: AbortSignal): Error {
  return signal.reason as Error
}
