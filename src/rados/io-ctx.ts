import type { ObjectStat, OmapPage, ReadOperation, ReadResults, WriteOperation } from './operation.ts'

/** A snapshot id; `NO_SNAP` is the head, `SNAP_DIR` addresses an object's snapshot set. */
export type SnapId = bigint
export const NO_SNAP: SnapId = 0xfffffffffffffffen
export const SNAP_DIR: SnapId = 0xffffffffffffffffn

/** The snapshots that exist for the objects written under it: `seq` is the newest, `snaps` in descending order. */
export interface SnapContext {
  seq: SnapId
  snaps: readonly SnapId[]
}

/** [offset, length] in bytes. */
export type ByteExtent = readonly [offset: number, length: number]

/** One clone of an object, or its head (`id` = NO_SNAP). */
export interface CloneInfo {
  id: SnapId
  /** snapshots that read from this clone, ascending; empty for the head */
  snaps: SnapId[]
  /** what this clone shares with the next newer one */
  overlap: ByteExtent[]
  /** bytes */
  size: number
}

/** An object's clones in ascending order, the head last if it exists. */
export interface SnapSet {
  seq: SnapId
  clones: CloneInfo[]
}

export interface Notification {
  payload: Buffer
  notifyId: bigint
  /** global id of the client that sent it */
  notifierId: bigint
  /** Answers the notifier. Every notification is to be acknowledged once, also with an empty payload. */
  ack(payload?: Buffer): void
}

export interface WatchHandlers {
  onNotify(notification: Notification): void
  /** The watch is lost (ENOTCONN after a time-out or blocklisting, ETIMEDOUT): it must be closed and made anew. */
  onError(error: Error): void
}

export interface Watch {
  /** cookie, unique for this client */
  readonly cookie: bigint
  /** Milliseconds since the watch was last confirmed by the OSD; throws RadosError when it is lost. */
  check(): number
  close(): Promise<void>
}

export interface Watcher {
  /** messenger address and nonce as `addr:port/nonce` */
  address: string
  clientId: bigint
  cookie: bigint
  timeoutSeconds: number
}

export interface NotifyAck {
  notifierId: bigint
  cookie: bigint
  payload: Buffer
}

export interface NotifyTimeout {
  notifierId: bigint
  cookie: bigint
}

export interface NotifyResult {
  acks: NotifyAck[]
  /** watchers that did not answer in time */
  timeouts: NotifyTimeout[]
}

export interface OperationOptions {
  /** Does not cancel what has been sent; rejects the wait for it with the signal's reason (outcome unknown). */
  signal?: AbortSignal | undefined
}

/**
 * One pool and namespace of a cluster, with the snapshot it reads and the snapshot context it writes under.
 * Failures reject with RadosError. A write that fails with ETIMEDOUT or is aborted has an unknown outcome.
 */
export interface IoCtx {
  readonly clusterName: string
  readonly poolId: bigint
  readonly poolName: string
  /** '' is the default namespace */
  readonly namespace: string
  readonly readSnap: SnapId
  readonly snapContext: SnapContext | undefined

  /** Another view of the same pool; it must be closed too. What is not named stays as it is here. */
  duplicate(changes: { namespace?: string; readSnap?: SnapId; snapContext?: SnapContext }): IoCtx
  close(): void

  /** Executes all steps atomically; resolves with the object's new version. */
  write(oid: string, operation: WriteOperation, options?: OperationOptions): Promise<bigint>
  /** Fails with the errno of the first failing step. */
  read(oid: string, operation: ReadOperation, options?: OperationOptions): Promise<ReadResults>

  /** An object-class method as one operation that may read and write and does return its answer. */
  exec(oid: string, cls: string, method: string, input: Buffer, options?: OperationOptions): Promise<Buffer>
  stat(oid: string): Promise<ObjectStat>
  readData(oid: string, offset: number, length: number, into?: Buffer): Promise<Buffer>
  omapGet(oid: string, after: string, prefix: string, max: number): Promise<OmapPage>
  remove(oid: string): Promise<void>
  /** The clones of an object; ENOENT if there is neither head nor clone. Rejects with EOPNOTSUPP where the driver can't tell. */
  listSnaps(oid: string): Promise<SnapSet>
  /** Object names of this pool and namespace, in no order. */
  listObjects(): AsyncIterable<string>

  watch(oid: string, handlers: WatchHandlers): Promise<Watch>
  /** Resolves when all watchers have answered or `timeoutMs` is over (then with `timeouts` filled). */
  notify(oid: string, payload: Buffer, timeoutMs: number): Promise<NotifyResult>
  listWatchers(oid: string): Promise<Watcher[]>

  createSelfManagedSnap(): Promise<SnapId>
  removeSelfManagedSnap(snap: SnapId): Promise<void>
  /** Puts the object's head back to `snap`, under this context's snapContext. */
  rollbackSelfManagedSnap(oid: string, snap: SnapId): Promise<void>

  /** Required alignment of writes (bytes) in an erasure-coded pool without overwrites, else undefined. */
  requiredAlignment(): Promise<number | undefined>
}
