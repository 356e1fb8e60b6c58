import type { ObjectHead } from './object-head.ts'

/*
 * What the emulator asks of a store. RADOS is written once, above this interface (object-operations.ts and its neighbours); an engine
 * only keeps records and swaps them atomically.
 *
 * A pool is split into shards (placement groups). All records of an object, the shard's index and the shard's counters lie in one shard,
 * and no commit touches two shards: a Redis engine gives every shard a hash tag of its own (`{fsid:pool.shard}`), and a commit is one
 * script. The cluster's own state (pools, users, config keys, sessions) is one more small table with commits of its own.
 *
 * Concurrency is optimistic: `open` tells an object's revision, `commit` succeeds only while that is still the current one.
 * Chunks are immutable: a change of data makes chunks with new ids and deletes the old ones, so a reader needs no lock; a chunk that has
 * gone missing means that the object was changed meanwhile.
 *
 * All methods may answer at once or by a promise; the memory engine never makes a promise. Buffers handed in may be kept, and are not
 * changed afterwards; buffers handed out are not changed by who gets them.
 */

export type MaybePromise<T> = T | Promise<T>

/** A placement group. */
export interface Shard {
  readonly pool: number
  readonly shard: number
}

export interface ObjectId extends Shard {
  /** namespace, NUL, object name: unique in its shard */
  readonly key: string
}

/** Of an object's omap: 0 is the head's, any other that of the clone with this id. */
export type OmapId = bigint
export const HEAD_OMAP: OmapId = 0n

/** What is read along with an object's head, at the same revision. */
export type Query =
  /** the chunks with these ids; all of them exist at the revision whose head names them */
  | { readonly type: 'chunks'; readonly ids: readonly number[] }
  /** keys greater than `after` (all keys for undefined) that begin with `prefix`, at most `max`, in the order of their UTF-8 bytes */
  | { readonly type: 'omapPage'; readonly omap: OmapId; readonly after: string | undefined; readonly prefix: string; readonly max: number }
  | { readonly type: 'omapValues'; readonly omap: OmapId; readonly keys: readonly string[] }

export interface OmapPageAnswer {
  readonly entries: ReadonlyMap<string, Buffer>
  /** there are more such keys */
  readonly more: boolean
}

/** By the type of the query: chunks in the order asked, a page, or the values found. */
export type Answer = readonly Buffer[] | OmapPageAnswer | ReadonlyMap<string, Buffer>

export interface ObjectView {
  /** Changes with every commit to the object and is never used twice for it, also not after it was removed; 0 where there is no head record. */
  readonly revision: number
  /** RADOS' user version of the head: as of the last commit with `bumpVersion`; 0 where there is no head record. */
  readonly version: number
  readonly head: ObjectHead | undefined
  /** one for each query, in their order */
  readonly answers: readonly Answer[]
}

/** Steps on one omap, in this order: copy, clear, remove, set. */
export interface OmapChange {
  readonly omap: OmapId
  /** Replaces the omap by a copy of another one of the same object, as that was before the commit. */
  readonly copyOf?: OmapId | undefined
  readonly clear?: boolean | undefined
  readonly remove?: Iterable<string> | undefined
  readonly set?: ReadonlyMap<string, Buffer> | undefined
}

/** One atomic change of an object. */
export interface ObjectChanges {
  /** undefined removes the head record; what it named (chunks, omaps) is deleted by the lists below */
  readonly head: ObjectHead | undefined
  readonly putChunks: readonly (readonly [id: number, data: Buffer])[]
  readonly deleteChunks: readonly number[]
  /** Applied in this order, so that a clone's copy can precede changes of the head's. Removed omaps are cleared ones. */
  readonly omaps: readonly OmapChange[]
  /** entries of the shard's index */
  readonly addIndex: readonly string[]
  readonly removeIndex: readonly string[]
  /** Gives the object the shard's next version; without it the version stays, for a change that clients do not see. */
  readonly bumpVersion: boolean
}

/** Who asks: an address that `fence` may name. */
export interface EngineClient {
  readonly address: string
}

/** A condition and a change of the cluster's own table. */
export interface TableCommit {
  /** values that must be the current ones; undefined: the key must not exist */
  readonly expect: readonly (readonly [key: string, value: string | undefined])[]
  /** undefined deletes */
  readonly put: readonly (readonly [key: string, value: string | undefined])[]
}

export interface Engine {
  /** for messages: the folder or the address */
  readonly place: string
  /**
   * Milliseconds for which a session lives without being renewed; undefined where all sessions live in this process and none can vanish
   * unnoticed.
   */
  readonly leaseMs: number | undefined

  /** One atomic read. @throws Fenced */
  open(client: EngineClient, object: ObjectId, queries: readonly Query[]): MaybePromise<ObjectView>
  /** More of the same object: undefined when `revision` is no longer the current one. @throws Fenced */
  more(client: EngineClient, object: ObjectId, revision: number, queries: readonly Query[]): MaybePromise<readonly Answer[] | undefined>
  /**
   * Applies all of `changes` and answers the object's version, or undefined (and nothing is changed) when `revision` is no longer the
   * current one. @throws Fenced; RadosError ENOSPC when the store is full, other RadosErrors (ETIMEDOUT: outcome unknown) for its troubles
   */
  commit(client: EngineClient, object: ObjectId, revision: number, changes: ObjectChanges): MaybePromise<number | undefined>
  /** Entries of a shard's index that begin with `prefix`, greater than `after`, at most `max`, in the order of their UTF-8 bytes. */
  scan(client: EngineClient, shard: Shard, prefix: string, after: string | undefined, max: number): MaybePromise<readonly string[]>
  /** The shard's newest version. */
  shardVersion(shard: Shard): MaybePromise<number>
  /** Deletes all that a removed pool's shards hold. */
  dropShards(shards: readonly Shard[]): MaybePromise<void>

  tableGet(key: string): MaybePromise<string | undefined>
  /** Keys that begin with `prefix`, with their values, in the order of their UTF-8 bytes. */
  tableList(prefix: string): MaybePromise<ReadonlyMap<string, string>>
  /** False, and nothing is changed, when an expectation does not hold. */
  tableCommit(commit: TableCommit): MaybePromise<boolean>

  /**
   * Once it has resolved, nothing that this address asks of these shards is answered or applied before `until` (milliseconds since the
   * epoch) any more: open, more, commit and scan throw Fenced.
   */
  fence(address: string, until: number, shards: readonly Shard[]): MaybePromise<void>
  unfence(address: string, shards: readonly Shard[]): MaybePromise<void>

  /** Where messages to this process go: a socket, a channel; kept in session records for others to use. */
  readonly endpoint: string
  /** Who gets the messages that are sent to `endpoint`; they arrive in the order in which one sender sent them. Set once, before any is sent. */
  receive(handler: (message: Buffer) => void): void
  /** False when nobody is listening there; true does not promise that it arrives. */
  send(endpoint: string, message: Buffer): MaybePromise<boolean>
  /** True only if it is certain that the process behind `endpoint` has ended. */
  isGone(endpoint: string): MaybePromise<boolean>

  /** Ends what the engine holds in this process, when the last cluster that uses it closes. */
  close(): Promise<void>
}

/** The client is blocklisted. */
export class Fenced extends Error {
  constructor() {
    super('the client is blocklisted')
    this.name = 'Fenced'
  }
}
