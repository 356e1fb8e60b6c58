import type { Random } from '../../base/random.ts'
import type { Caller, ObjectContext, ObjectWatcher } from '../../objclass/object-context.ts'
import type { ServerMethod } from '../../objclass/registry.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { ObjectStat, OmapPage } from '../../rados/operation.ts'
import type { Operation } from './operation.ts'

/** What a method that runs inside `operation` sees of its object. */
export class ClassContext implements ObjectContext {
  constructor(
    private readonly operation: Operation,
    private readonly method: ServerMethod,
  ) {}

  get oid(): string {
    return this.operation.target.oid
  }
  get poolId(): bigint {
    return this.operation.target.poolId
  }
  get namespace(): string {
    return this.operation.target.namespace
  }
  get caller(): Caller {
    return this.operation.environment.caller
  }
  get now(): number {
    return this.operation.now
  }
  get random(): Random {
    return this.operation.environment.random
  }

  // Async, although most have nothing to wait for: their failures are to be rejections.
   
  async snapSetSeq(): Promise<bigint> {
    return this.operation.snapSetSeq()
  }
  async stat(): Promise<ObjectStat> {
    return this.operation.stat()
  }
  async read(offset: number, length: number): Promise<Buffer> {
    return this.operation.readData(offset, length)
  }
  async getXattr(name: string): Promise<Buffer> {
    const value = this.operation.reader.xattrs().get(name)
    if (!value) throw new RadosError(Errno.ENODATA, { op: 'get xattr' })
    return value
  }
  async getXattrs(): Promise<Map<string, Buffer>> {
    return new Map(this.operation.reader.xattrs())
  }
  async omapGetValue(key: string): Promise<Buffer> {
    const value = (await this.operation.reader.omapValues([key])).get(key)
    if (!value) throw new RadosError(Errno.ENOENT, { op: 'get omap value' })
    return value
  }
  async omapGet(after: string, prefix: string, max: number): Promise<OmapPage> {
    return this.operation.omapPage(after, prefix, max)
  }
  async watchers(): Promise<ObjectWatcher[]> {
    return (await this.operation.watchers()).map(({ clientId, cookie }) => ({ clientId, cookie }))
  }
   

  private get mutation() {
    if (!this.method.writes) throw new RadosError(Errno.EIO, { op: `write in the reading method ${this.method.cls}.${this.method.name}` })
    return this.operation.mutation
  }

  create(exclusive: boolean): void {
    this.mutation.create(exclusive)
  }
  remove(): void {
    this.mutation.remove()
  }
  write(offset: number, data: Buffer): void {
    this.mutation.write(offset, data)
  }
  writeFull(data: Buffer): void {
    this.mutation.writeFull(data)
  }
  truncate(size: number): void {
    this.mutation.truncate(size)
  }
  zero(offset: number, length: number): void {
    this.mutation.zero(offset, length)
  }
  setXattr(name: string, value: Buffer): void {
    this.mutation.setXattr(name, value)
  }
  removeXattr(name: string): void {
    this.mutation.removeXattr(name)
  }
  omapSet(entries: ReadonlyMap<string, Buffer>): void {
    this.mutation.setOmap(entries)
  }
  omapRemoveKeys(keys: readonly string[]): void {
    this.mutation.removeOmapKeys(keys)
  }
  omapClear(): void {
    this.mutation.clearOmap()
  }
}
