/**
 * Operation vectors: what one atomic RADOS operation does to one object, as plain data that every driver understands.
 * Steps run in order; a write operation is applied whole or not at all.
 */

/** Comparison operators of cmpxattr and omap-cmp (Ceph's LIBRADOS_CMPXATTR_OP_*). */
export type Comparison = 'eq' | 'ne' | 'gt' | 'gte' | 'lt' | 'lte'

/** Steps that check and may fail an operation; allowed in reads and in writes. */
export type GuardStep =
  | { type: 'assertExists' }
  /** Fails with ERANGE if the object is newer, EOVERFLOW if it is older than `version`. */
  | { type: 'assertVersion'; version: bigint }
  | { type: 'cmpxattr'; name: string; comparison: Comparison; value: Buffer }
  /** Fails with EILSEQ-like negative offset (-4095 - mismatch offset) if the bytes differ. */
  | { type: 'cmpext'; offset: number; data: Buffer }
  | { type: 'omapCmp'; key: string; comparison: Comparison; value: Buffer }

export type WriteStep =
  | GuardStep
  | { type: 'create'; exclusive: boolean }
  | { type: 'write'; offset: number; data: Buffer }
  | { type: 'writeFull'; data: Buffer }
  | { type: 'writeSame'; offset: number; length: number; data: Buffer }
  | { type: 'append'; data: Buffer }
  | { type: 'zero'; offset: number; length: number }
  | { type: 'truncate'; size: number }
  | { type: 'remove' }
  | { type: 'setXattr'; name: string; value: Buffer }
  | { type: 'removeXattr'; name: string }
  | { type: 'omapSet'; entries: ReadonlyMap<string, Buffer> }
  | { type: 'omapRemoveKeys'; keys: readonly string[] }
  | { type: 'omapClear' }
  | { type: 'exec'; cls: string; method: string; input: Buffer }
  | { type: 'setAllocHint'; objectSize: number; writeSize: number; flags: number }

/** xxhash64 and crc32c of the OSD's checksum step: `chunkSize` 0 means one sum over the whole range. */
export type ChecksumType = 'xxhash32' | 'xxhash64' | 'crc32c'

export type ReadStep =
  | GuardStep
  | { type: 'read'; offset: number; length: number; into?: Buffer | undefined }
  | { type: 'stat' }
  | { type: 'getXattr'; name: string }
  | { type: 'getXattrs' }
  | { type: 'omapGet'; after: string; prefix: string; max: number }
  | { type: 'omapGetKeys'; after: string; max: number }
  | { type: 'omapGetByKeys'; keys: readonly string[] }
  | { type: 'exec'; cls: string; method: string; input: Buffer }
  | { type: 'checksum'; checksum: ChecksumType; seed: bigint; offset: number; length: number; chunkSize: number }

export interface ObjectStat {
  /** bytes */
  size: number
  /** milliseconds since the epoch */
  mtime: number
}

export interface OmapPage {
  entries: Map<string, Buffer>
  more: boolean
}

export interface OmapKeysPage {
  keys: string[]
  more: boolean
}

/** Names the result of one read step until the operation has been executed; see {@link ReadResults.get}. */
export class ReadHandle<T> {
  declare private readonly _type: T
  constructor(readonly index: number) {}
}

/** A write operation under construction. Buffers are not copied: leave them unchanged until it has completed. */
export class WriteOperation {
  readonly steps: WriteStep[] = []

  private add(step: WriteStep): this {
    this.steps.push(step)
    return this
  }

  assertExists(): this {
    return this.add({ type: 'assertExists' })
  }
  assertVersion(version: bigint): this {
    return this.add({ type: 'assertVersion', version })
  }
  cmpxattr(name: string, comparison: Comparison, value: Buffer): this {
    return this.add({ type: 'cmpxattr', name, comparison, value })
  }
  cmpext(offset: number, data: Buffer): this {
    return this.add({ type: 'cmpext', offset, data })
  }
  omapCmp(key: string, comparison: Comparison, value: Buffer): this {
    return this.add({ type: 'omapCmp', key, comparison, value })
  }
  /** With `exclusive` fails with EEXIST if the object exists. */
  create(exclusive: boolean): this {
    return this.add({ type: 'create', exclusive })
  }
  write(offset: number, data: Buffer): this {
    return this.add({ type: 'write', offset, data })
  }
  writeFull(data: Buffer): this {
    return this.add({ type: 'writeFull', data })
  }
  writeSame(offset: number, length: number, data: Buffer): this {
    return this.add({ type: 'writeSame', offset, length, data })
  }
  append(data: Buffer): this {
    return this.add({ type: 'append', data })
  }
  zero(offset: number, length: number): this {
    return this.add({ type: 'zero', offset, length })
  }
  truncate(size: number): this {
    return this.add({ type: 'truncate', size })
  }
  remove(): this {
    return this.add({ type: 'remove' })
  }
  setXattr(name: string, value: Buffer): this {
    return this.add({ type: 'setXattr', name, value })
  }
  removeXattr(name: string): this {
    return this.add({ type: 'removeXattr', name })
  }
  omapSet(entries: ReadonlyMap<string, Buffer>): this {
    return this.add({ type: 'omapSet', entries })
  }
  omapRemoveKeys(keys: readonly string[]): this {
    return this.add({ type: 'omapRemoveKeys', keys })
  }
  omapClear(): this {
    return this.add({ type: 'omapClear' })
  }
  /** Calls an object-class method; what a write method answers is not returned (as in RADOS without RETURNVEC). */
  exec(cls: string, method: string, input: Buffer): this {
    return this.add({ type: 'exec', cls, method, input })
  }
  setAllocHint(objectSize: number, writeSize: number, flags = 0): this {
    return this.add({ type: 'setAllocHint', objectSize, writeSize, flags })
  }
}

/** A read operation under construction: each reading step gives the handle under which its result is found. */
export class ReadOperation {
  readonly steps: ReadStep[] = []

  private add<T>(step: ReadStep): ReadHandle<T> {
    this.steps.push(step)
    return new ReadHandle<T>(this.steps.length - 1)
  }

  assertExists(): this {
    this.add({ type: 'assertExists' })
    return this
  }
  assertVersion(version: bigint): this {
    this.add({ type: 'assertVersion', version })
    return this
  }
  cmpxattr(name: string, comparison: Comparison, value: Buffer): this {
    this.add({ type: 'cmpxattr', name, comparison, value })
    return this
  }
  cmpext(offset: number, data: Buffer): this {
    this.add({ type: 'cmpext', offset, data })
    return this
  }
  omapCmp(key: string, comparison: Comparison, value: Buffer): this {
    this.add({ type: 'omapCmp', key, comparison, value })
    return this
  }
  /** The result is as long as what was there: shorter than `length` at the object's end. With `into` it is a view of that buffer. */
  read(offset: number, length: number, into?: Buffer): ReadHandle<Buffer> {
    return this.add({ type: 'read', offset, length, into })
  }
  stat(): ReadHandle<ObjectStat> {
    return this.add({ type: 'stat' })
  }
  getXattr(name: string): ReadHandle<Buffer> {
    return this.add({ type: 'getXattr', name })
  }
  getXattrs(): ReadHandle<Map<string, Buffer>> {
    return this.add({ type: 'getXattrs' })
  }
  /** Keys greater than `after` that begin with `prefix`, at most `max`, in byte order. */
  omapGet(after: string, prefix: string, max: number): ReadHandle<OmapPage> {
    return this.add({ type: 'omapGet', after, prefix, max })
  }
  omapGetKeys(after: string, max: number): ReadHandle<OmapKeysPage> {
    return this.add({ type: 'omapGetKeys', after, max })
  }
  omapGetByKeys(keys: readonly string[]): ReadHandle<Map<string, Buffer>> {
    return this.add({ type: 'omapGetByKeys', keys })
  }
  exec(cls: string, method: string, input: Buffer): ReadHandle<Buffer> {
    return this.add({ type: 'exec', cls, method, input })
  }
  /** One sum per chunk, as bigints. */
  checksum(checksum: ChecksumType, seed: bigint, offset: number, length: number, chunkSize: number): ReadHandle<bigint[]> {
    return this.add({ type: 'checksum', checksum, seed, offset, length, chunkSize })
  }
}

/** What the steps of an executed read operation answered. */
export class ReadResults {
  constructor(
    private readonly values: readonly unknown[],
    /** the object's version when it was read */
    readonly version: bigint,
  ) {}

  get<T>(handle: ReadHandle<T>): T {
    return this.values[handle.index] as T
  }
}
