import type { Random } from '../base/random.ts'
import type { ObjectStat, OmapPage } from '../rados/operation.ts'

/** Whoever sent the operation. */
export interface Caller {
  /** global id of the client's connection */
  readonly instanceId: bigint
  /** messenger address and nonce, `addr:port/nonce` */
  readonly address: string
}

/** A client that watches the object. */
export interface ObjectWatcher {
  readonly clientId: bigint
  readonly cookie: bigint
}

/**
 * The one object that an object-class method works on, in the middle of an operation (objclass.h's `cls_cxx_*`).
 * Reads of data, xattrs and omap see the object as it was before the operation; only whether it exists, and its size, follow the
 * operation's earlier steps, as on an OSD. What is written is committed together with the whole operation, or not at all.
 * Methods fail with RadosError; a reading method that writes fails with EIO, as on an OSD.
 */
export interface ObjectContext {
  readonly oid: string
  readonly poolId: bigint
  readonly namespace: string
  readonly caller: Caller
  /** Milliseconds since the epoch by the cluster's clock. */
  readonly now: number
  /** For the uuids that a class makes up. */
  readonly random: Random
  /** The newest snapshot the object knows of, 0 if it never was written under one (cls_get_snapset_seq). @throws ENOENT */
  snapSetSeq(): Promise<bigint>

  /** @throws ENOENT */
  stat(): Promise<ObjectStat>
  /** Shorter than `length` at the object's end; nothing, and no failure, where there is no object, as an OSD has it. */
  read(offset: number, length: number): Promise<Buffer>
  /** @throws ENOENT for the object, ENODATA for the attribute */
  getXattr(name: string): Promise<Buffer>
  /** @throws ENOENT */
  getXattrs(): Promise<Map<string, Buffer>>
  /** @throws ENOENT for the object or the key */
  omapGetValue(key: string): Promise<Buffer>
  /** Keys greater than `after` that begin with `prefix`, at most `max` (and 1024), in byte order; none where there is no object, as an OSD has it. */
  omapGet(after: string, prefix: string, max: number): Promise<OmapPage>
  /** None where there is no object. */
  watchers(): Promise<ObjectWatcher[]>

  /** @throws EEXIST with `exclusive` */
  create(exclusive: boolean): void
  remove(): void
  write(offset: number, data: Buffer): void
  writeFull(data: Buffer): void
  truncate(size: number): void
  zero(offset: number, length: number): void
  setXattr(name: string, value: Buffer): void
  removeXattr(name: string): void
  omapSet(entries: ReadonlyMap<string, Buffer>): void
  omapRemoveKeys(keys: readonly string[]): void
  omapClear(): void
}
