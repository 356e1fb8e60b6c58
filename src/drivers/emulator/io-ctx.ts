import { abortable } from '../../base/cancelled.ts'
import { Errno, RadosError, isErrno } from '../../rados/errors.ts'
import {
  NO_SNAP,
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
import { ReadOperation, ReadResults, type ReadStep, type WriteOperation, type WriteStep } from '../../rados/operation.ts'
import type { EmulatedCluster } from './cluster.ts'
import { shardOf, shardsOf, type PoolRecord } from './cluster-map.ts'
import type { Executed, OperationKind } from './executor.ts'
import { objectEntry } from './mutation.ts'
import type { WatchRecord } from './object-head.ts'
import type { Operation, Target } from './operation.ts'
import { snapSetOf } from './snapshots.ts'
import { removeSnap } from './snap-trim.ts'
import { EmulatedWatch } from './watches.ts'

/** osd_client_watch_timeout: what watchers are listed with */
const WATCH_TIMEOUT_SECONDS = 30
/** osd_default_notify_timeout */
const DEFAULT_NOTIFY_TIMEOUT_MS = 30_000
/** Names of a listing that are read at once. */
const LIST_PAGE = 1000
/** Nothing to undo: the watch is gone already, the object is, or we are shut out. */
const GONE = [Errno.ENOENT, Errno.ENOTCONN, Errno.ESHUTDOWN]

export interface Identity {
  readonly poolId: bigint
  readonly poolName: string
  readonly namespace: string
  readonly readSnap: SnapId
  readonly snapContext: SnapContext | undefined
}

/** Steps of a write operation that change nothing; of an `exec`, the method tells. */
const LOOKING: ReadonlySet<WriteStep['type']> = new Set(['assertExists', 'assertVersion', 'cmpxattr', 'cmpext', 'omapCmp', 'exec'])

export class EmulatedIoCtx extends OneStepOperations implements IoCtx {
  readonly poolId: bigint
  readonly poolName: string
  readonly namespace: string
  readonly readSnap: SnapId
  readonly snapContext: SnapContext | undefined
  private closed = false

  constructor(
    private readonly cluster: EmulatedCluster,
    identity: Identity,
  ) {
    super()
    this.poolId = identity.poolId
    this.poolName = identity.poolName
    this.namespace = identity.namespace
    this.readSnap = identity.readSnap
    this.snapContext = identity.snapContext
  }

  get clusterName(): string {
    return this.cluster.name
  }

  private error(errno: number, op: string, oid?: string, cause?: unknown): RadosError {
    return new RadosError(errno, { op, cluster: this.clusterName, pool: this.poolName, namespace: this.namespace, oid, cause })
  }

  private assertOpen(op: string, oid?: string): void {
    this.cluster.assertOpen(op)
    if (this.closed) throw this.error(Errno.EBADF, `${op} on a closed io context`, oid)
  }

  duplicate(changes: { namespace?: string; readSnap?: SnapId; snapContext?: SnapContext }): EmulatedIoCtx {
    this.assertOpen('duplicate')
    const { snapContext } = changes
    if (snapContext && !isValid(snapContext)) throw this.error(Errno.EINVAL, 'set snapshot context')
    const { poolId, poolName, namespace, readSnap } = this
    return new EmulatedIoCtx(this.cluster, { poolId, poolName, namespace, readSnap, snapContext: this.snapContext, ...changes })
  }

  close(): void {
    this.closed = true
  }

  private pool(op: string): PoolRecord {
    const pool = this.cluster.host.map.pool(Number(this.poolId))
    if (!pool) throw this.error(Errno.ENOENT, `${op}: the pool is gone`)
    return pool
  }

  private target(op: string, oid: string, snap: SnapId): Target {
    const pool = this.pool(op)
    const key = `${this.namespace}\0${oid}`
    return {
      id: { pool: pool.id, shard: shardOf(key, pool.pgNum), key },
      poolId: this.poolId,
      namespace: this.namespace,
      oid,
      snap,
      context: this.snapContext && withoutRemoved(this.snapContext, pool.removing),
    }
  }

  /** Runs `body` on the object, as often as others make it necessary; failures say where. */
  private async execute<T>(op: string, oid: string, snap: SnapId, kind: OperationKind, body: (operation: Operation) => Promise<T>): Promise<Executed<T>> {
    try {
      const executed = await this.cluster.executor.run(this.target(op, oid, snap), kind, body)
      if (executed.lostWatchers.length > 0) this.cluster.tellLost(executed.lostWatchers)
      return executed
    } catch (error) {
      if (error instanceof RadosError) throw this.error(error.errno, op, oid, error.cause)
      throw error
    }
  }

  // Async, so that what is wrong before the start is a rejection too.
  async write(oid: string, operation: WriteOperation, options?: OperationOptions): Promise<bigint> {
    options?.signal?.throwIfAborted()
    this.assertOpen('write', oid)
    if (this.readSnap !== NO_SNAP) throw this.error(Errno.EROFS, 'write', oid)
    // What only looks is no write, whatever it was sent as: it needs an object.
    const writes = this.findMethods('write', oid, operation.steps) || !operation.steps.every(({ type }) => LOOKING.has(type))
    const run = this.execute('write', oid, NO_SNAP, writes ? 'write' : 'read', (running) => running.runWrites(operation.steps))
    return BigInt((await abortable(run, options?.signal)).version)
  }

  async read(oid: string, operation: ReadOperation, options?: OperationOptions): Promise<ReadResults> {
    options?.signal?.throwIfAborted()
    return this.runRead('read', oid, operation.steps, options?.signal)
  }

  private async runRead(op: string, oid: string, steps: readonly ReadStep[], signal?: AbortSignal): Promise<ReadResults> {
    this.assertOpen(op, oid)
    const writes = this.findMethods(op, oid, steps)
    if (writes && this.readSnap !== NO_SNAP) throw this.error(Errno.EINVAL, op, oid)
    const run = this.execute(op, oid, this.readSnap, writes ? 'write' : 'read', (running) => running.runReads(steps))
    const { value, version } = await abortable(run, signal)
    return new ReadResults(value, BigInt(version))
  }

  /** Whether one of the methods called writes. @throws RadosError EOPNOTSUPP if there is no such method, before anything is done */
  private findMethods(op: string, oid: string, steps: readonly (ReadStep | WriteStep)[]): boolean {
    let writes = false
    for (const step of steps) {
      if (step.type !== 'exec') continue
      try {
        if (this.cluster.host.classes.find(step.cls, step.method).writes) writes = true
      } catch (error) {
        throw error instanceof RadosError ? this.error(error.errno, op, oid, error) : error
      }
    }
    return writes
  }

  async exec(oid: string, cls: string, method: string, input: Buffer, options?: OperationOptions): Promise<Buffer> {
    options?.signal?.throwIfAborted()
    const operation = new ReadOperation()
    const answer = operation.exec(cls, method, input)
    return (await this.runRead(`${cls}.${method}`, oid, operation.steps, options?.signal)).get(answer)
  }

  async listSnaps(oid: string): Promise<SnapSet> {
    const op = 'list snapshots'
    this.assertOpen(op, oid)
    const { id } = this.target(op, oid, NO_SNAP)
    const { head } = await this.cluster.direct(op, () => this.cluster.host.engine.open(this.cluster.client, id, []))
    if (!head) throw this.error(Errno.ENOENT, op, oid)
    return snapSetOf(head)
  }

  listObjects(): AsyncIterable<string> {
    this.assertOpen('list objects')
    return this.names(this.pool('list objects'))
  }

  private async *names(pool: PoolRecord): AsyncGenerator<string, void, undefined> {
    const prefix = objectEntry(`${this.namespace}\0`)
    for (const shard of shardsOf(pool)) {
      let after: string | undefined
      for (;;) {
        this.cluster.assertOpen('list objects')
        const from = after
        const page = await this.cluster.direct('list objects', () => this.cluster.host.engine.scan(this.cluster.client, shard, prefix, from, LIST_PAGE))
        for (const entry of page) yield entry.slice(prefix.length)
        if (page.length < LIST_PAGE) break
        after = page.at(-1)
      }
    }
  }

  async watch(oid: string, handlers: WatchHandlers): Promise<Watch> {
    this.assertOpen('watch', oid)
    const { cluster } = this
    const cookie = cluster.nextCookie()
    const record: WatchRecord = { clientId: cluster.instanceId, cookie, address: await cluster.address(), timeoutSeconds: WATCH_TIMEOUT_SECONDS }
    const watch = new EmulatedWatch(cookie, cluster.watchOwner(this.poolName, this.namespace, oid), handlers, () => this.unwatch(oid, cookie))
    cluster.track(watch)
    try {
      await this.execute('watch', oid, NO_SNAP, 'silent', async (operation) => {
        operation.mutation.assertExists()
        operation.mutation.setWatchers([...(await operation.watchers()), record])
      })
    } catch (error) {
      cluster.untrack(watch)
      throw error
    }
    return watch
  }

  private async unwatch(oid: string, cookie: bigint): Promise<void> {
    const { instanceId } = this.cluster
    try {
      await this.execute('unwatch', oid, NO_SNAP, 'silent', async (operation) => {
        operation.mutation.assertExists()
        const others = (await operation.watchers()).filter((one) => one.clientId !== instanceId || one.cookie !== cookie)
        operation.mutation.setWatchers(others)
      })
    } catch (error) {
      if (!isErrno(error, ...GONE)) throw error
    }
  }

  async listWatchers(oid: string): Promise<Watcher[]> {
    this.assertOpen('list watchers', oid)
    const { value } = await this.execute('list watchers', oid, NO_SNAP, 'read', (operation) => operation.watchers())
    return value.map(({ address, clientId, cookie, timeoutSeconds }) => ({ address, clientId, cookie, timeoutSeconds }))
  }

  async notify(oid: string, payload: Buffer, timeoutMs: number): Promise<NotifyResult> {
    this.assertOpen('notify', oid)
    const { value } = await this.execute('notify', oid, NO_SNAP, 'read', (operation) => operation.watchers())
    return this.cluster.notify(value, payload, timeoutMs > 0 ? timeoutMs : DEFAULT_NOTIFY_TIMEOUT_MS)
  }

  async createSelfManagedSnap(): Promise<SnapId> {
    this.assertOpen('create snapshot id')
    const id = this.pool('create snapshot id').id
    const snap = await this.cluster.changeMap('create snapshot id', (map) =>
      map.updatePool(id, (pool) => ({ pool: { ...pool, snapSeq: pool.snapSeq + 1 }, result: pool.snapSeq + 1 })),
    )
    return BigInt(snap)
  }

  async removeSelfManagedSnap(snap: SnapId): Promise<void> {
    this.assertOpen('remove snapshot id')
    const { id } = this.pool('remove snapshot id')
    await this.cluster.direct('remove snapshot id', () => removeSnap(this.cluster, id, snap))
  }

  async rollbackSelfManagedSnap(oid: string, snap: SnapId): Promise<void> {
    this.assertOpen('rollback', oid)
     
    await this.execute('rollback', oid, NO_SNAP, 'write', async (operation) => operation.mutation.rollBack(snap))
  }

   
  async requiredAlignment(): Promise<number | undefined> {
    this.assertOpen('required alignment')
    return undefined
  }
}

function isValid({ seq, snaps }: SnapContext): boolean {
  return snaps.every((snap, index) => snap > 0n && snap <= seq && (index === 0 || snap < snaps[index - 1]!))
}

function withoutRemoved(context: SnapContext, removing: readonly number[]): SnapContext {
  if (removing.length === 0) return context
  return { ...context, snaps: context.snaps.filter((snap) => !removing.includes(Number(snap))) }
}
