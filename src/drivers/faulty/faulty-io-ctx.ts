import type { IoCtx, NotifyResult, OperationOptions, SnapContext, SnapId, SnapSet, Watch, Watcher, WatchHandlers } from '../../rados/io-ctx.ts'
import type { ObjectStat, OmapPage, ReadOperation, ReadResults, WriteOperation } from '../../rados/operation.ts'
import type { FaultInjector, Place } from './fault-injector.ts'

/** An io context on which things go wrong as planned. */
export class FaultyIoCtx implements IoCtx {
  constructor(
    private readonly inner: IoCtx,
    private readonly faults: FaultInjector,
  ) {}

  get clusterName(): string {
    return this.inner.clusterName
  }
  get poolId(): bigint {
    return this.inner.poolId
  }
  get poolName(): string {
    return this.inner.poolName
  }
  get namespace(): string {
    return this.inner.namespace
  }
  get readSnap(): SnapId {
    return this.inner.readSnap
  }
  get snapContext(): SnapContext | undefined {
    return this.inner.snapContext
  }

  private place(oid?: string): Place {
    return { pool: this.inner.poolName, namespace: this.inner.namespace, oid }
  }

  private reading<T>(method: string, oid: string | undefined, action: () => Promise<T>): Promise<T> {
    return this.faults.run('read', method, this.place(oid), action)
  }

  private writing<T>(method: string, oid: string | undefined, action: () => Promise<T>): Promise<T> {
    return this.faults.run('write', method, this.place(oid), action)
  }

  duplicate(changes: { namespace?: string; readSnap?: SnapId; snapContext?: SnapContext }): IoCtx {
    return new FaultyIoCtx(this.inner.duplicate(changes), this.faults)
  }
  close(): void {
    this.inner.close()
  }

  write(oid: string, operation: WriteOperation, options?: OperationOptions): Promise<bigint> {
    return this.writing('write', oid, () => this.inner.write(oid, operation, options))
  }
  read(oid: string, operation: ReadOperation, options?: OperationOptions): Promise<ReadResults> {
    return this.reading('read', oid, () => this.inner.read(oid, operation, options))
  }
  /** May write, so it may lose its acknowledgement. */
  exec(oid: string, cls: string, method: string, input: Buffer, options?: OperationOptions): Promise<Buffer> {
    return this.writing(`${cls}.${method}`, oid, () => this.inner.exec(oid, cls, method, input, options))
  }
  stat(oid: string): Promise<ObjectStat> {
    return this.reading('stat', oid, () => this.inner.stat(oid))
  }
  readData(oid: string, offset: number, length: number, into?: Buffer): Promise<Buffer> {
    return this.reading('readData', oid, () => this.inner.readData(oid, offset, length, into))
  }
  omapGet(oid: string, after: string, prefix: string, max: number): Promise<OmapPage> {
    return this.reading('omapGet', oid, () => this.inner.omapGet(oid, after, prefix, max))
  }
  remove(oid: string): Promise<void> {
    return this.writing('remove', oid, () => this.inner.remove(oid))
  }
  listSnaps(oid: string): Promise<SnapSet> {
    return this.reading('listSnaps', oid, () => this.inner.listSnaps(oid))
  }
  async *listObjects(): AsyncIterable<string> {
    const objects = await this.reading('listObjects', undefined, async () => this.inner.listObjects())
    for await (const object of objects) {
      this.faults.assertUsable('listObjects', this.place())
      yield object
    }
  }

  watch(oid: string, handlers: WatchHandlers): Promise<Watch> {
    return this.faults.watch(this.place(oid), handlers, (wrapped) => this.inner.watch(oid, wrapped))
  }
  notify(oid: string, payload: Buffer, timeoutMs: number): Promise<NotifyResult> {
    return this.faults.run('notify', 'notify', this.place(oid), () => this.inner.notify(oid, payload, timeoutMs))
  }
  listWatchers(oid: string): Promise<Watcher[]> {
    return this.reading('listWatchers', oid, () => this.inner.listWatchers(oid))
  }

  createSelfManagedSnap(): Promise<SnapId> {
    return this.writing('createSelfManagedSnap', undefined, () => this.inner.createSelfManagedSnap())
  }
  removeSelfManagedSnap(snap: SnapId): Promise<void> {
    return this.writing('removeSelfManagedSnap', undefined, () => this.inner.removeSelfManagedSnap(snap))
  }
  rollbackSelfManagedSnap(oid: string, snap: SnapId): Promise<void> {
    return this.writing('rollbackSelfManagedSnap', oid, () => this.inner.rollbackSelfManagedSnap(oid, snap))
  }
  requiredAlignment(): Promise<number | undefined> {
    return this.inner.requiredAlignment()
  }
}
