import { mkdirSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import type { RootDatabase } from 'lmdb'
import { Errno, RadosError } from '../../../rados/errors.ts'
import {
  Fenced,
  type Answer,
  type Engine,
  type EngineClient,
  type MaybePromise,
  type ObjectChanges,
  type ObjectId,
  type ObjectView,
  type OmapChange,
  type Query,
  type Shard,
  type TableCommit,
} from '../engine.ts'
import { decodeHead, encodeHead } from '../object-head.ts'
import * as keys from './lmdb-keys.ts'
import { Mailbox } from './mailbox.ts'

/** `sync` is there, and missing in the package's types. */
type Database = RootDatabase<Buffer, Buffer> & { sync(done: (error?: Error) => void): void }

const FILE = 'cluster.mdb'
const LEASE_MS = 30_000
/** How long what is committed may lie in the operating system's memory alone (milliseconds): a killed process loses nothing, a power cut this much. */
const SYNC_MS = 1000
/** Operations end without a pause as long as nobody waits for the disk; after so long whatever else this process has to do gets its turn (milliseconds). */
const TURN_MS = 10
/** ENAMETOOLONG */
const E_NAME_TOO_LONG = 36
const EMPTY = Buffer.alloc(0)
const ABSENT: Omit<ObjectView, 'answers'> = { revision: 0, version: 0, head: undefined }

export interface LmdbOptions {
  /** Makes the folder and its database if they are not there. */
  readonly create: boolean
  /** milliseconds since the epoch */
  readonly now: () => number
  /** Bytes beyond which nothing is added (ENOSPC); undefined: what the disk has. */
  readonly maxBytes?: number | undefined
}

/** Records that a commit read or wrote of an object, besides its head. */
interface StoredObject {
  readonly revision: number
  readonly version: number
  /** what its chunks and omaps lie under */
  readonly number: number
  readonly head: Buffer
}

/**
 * A cluster in a folder, for any number of processes of one machine at once: an LMDB database, and a socket for each process. A commit is
 * one write transaction; a process that is killed in the middle leaves nothing of it. Reads never wait, commits wait for each other.
 */
export class LmdbEngine implements Engine {
  readonly leaseMs = LEASE_MS
  private unsynced = false
  private turnEndsAt = 0
  private readonly syncTimer: NodeJS.Timeout

  private constructor(
    readonly place: string,
    private readonly db: Database,
    private readonly mailbox: Mailbox,
    private readonly options: LmdbOptions,
  ) {
    this.syncTimer = setInterval(() => this.sync(), SYNC_MS).unref()
  }

  /** @throws RadosError ENOENT when there is no cluster, EACCES or EROFS when the folder can't be written, EIO when the file is no database */
  static async open(folder: string, options: LmdbOptions): Promise<LmdbEngine> {
    const path = join(folder, FILE)
    try {
      if (options.create) mkdirSync(folder, { recursive: true })
      else if (!existsSync(path)) throw problem(Errno.ENOENT, folder, 'there is no cluster in this folder')
      const { open } = await import('lmdb')
      const db = open<Buffer, Buffer>({ path, noSubdir: true, encoding: 'binary', keyEncoding: 'binary', noSync: true }) as Database
      try {
        db.readerCheck() // of processes that were killed
        return new LmdbEngine(folder, db, await Mailbox.open(folder), options)
      } catch (error) {
        await db.close()
        throw error
      }
    } catch (error) {
      throw explained(error, folder)
    }
  }

  get endpoint(): string {
    return this.mailbox.endpoint
  }

  // --- objects ---

  open(client: EngineClient, id: ObjectId, queries: readonly Query[]): MaybePromise<ObjectView> {
    const now = performance.now()
    if (now < this.turnEndsAt) return this.view(client, id, queries)
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      this.turnEndsAt = performance.now() + TURN_MS
      return this.view(client, id, queries)
    })
  }

  private view(client: EngineClient, id: ObjectId, queries: readonly Query[]): ObjectView {
    this.assertAllowed(client)
    const object = this.find(id)
    const answers = queries.map((query) => this.answer(object, query))
    return object ? { revision: object.revision, version: object.version, head: decodeHead(object.head), answers } : { ...ABSENT, answers }
  }

  more(client: EngineClient, id: ObjectId, revision: number, queries: readonly Query[]): readonly Answer[] | undefined {
    this.assertAllowed(client)
    const object = this.find(id)
    if ((object?.revision ?? 0) === revision) return queries.map((query) => this.answer(object, query))
    this.db.resetReadTxn()
    return undefined
  }

  private find(id: ObjectId): StoredObject | undefined {
    const record = this.db.get(keys.objectKey(id))
    if (!record) return undefined
    return { revision: record.readDoubleLE(0), version: record.readDoubleLE(8), number: record.readDoubleLE(16), head: record.subarray(24) }
  }

  private answer(object: StoredObject | undefined, query: Query): Answer {
    switch (query.type) {
      case 'chunks':
        return query.ids.map((id) => this.db.get(keys.chunkKey(object!.number, id))!)
      case 'omapPage':
        return this.omapPage(object, query)
      case 'omapValues': {
        const found = new Map<string, Buffer>()
        for (const key of query.keys) {
          const value = object && this.db.get(keys.omapKey(object.number, query.omap, key))
          if (value) found.set(key, value)
        }
        return found
      }
    }
  }

  private omapPage(object: StoredObject | undefined, { omap, after, prefix, max }: Query & { type: 'omapPage' }): Answer {
    const entries = new Map<string, Buffer>()
    if (!object) return { entries, more: false }
    const base = keys.omapKey(object.number, omap, '')
    for (const [key, value] of this.range(base, prefix, after, max + 1)) {
      if (entries.size === max) return { entries, more: true }
      entries.set(key, value)
    }
    return { entries, more: false }
  }

  /** What lies under keys that begin with `base` and then `prefix`, greater than `base` and `after`; the keys without `base`. */
  private range(base: Buffer, prefix: string, after: string | undefined, limit: number): [string, Buffer][] {
    const { start, end } = keys.rangeOf(base, prefix, after)
    return Array.from(this.db.getRange({ start, end, limit }), ({ key, value }) => [key.toString('utf8', base.length), value])
  }

  commit(client: EngineClient, id: ObjectId, revision: number, changes: ObjectChanges): number | undefined {
    checkKeys(id, changes)
    this.assertRoom(changes)
    return this.transaction(() => {
      this.assertAllowed(client)
      const object = this.find(id)
      return (object?.revision ?? 0) === revision ? this.apply(id, object, changes) : undefined
    })
  }

  private apply(id: ObjectId, object: StoredObject | undefined, changes: ObjectChanges): number {
    const { db } = this
    for (const entry of changes.addIndex) db.putSync(keys.indexKey(id, entry), EMPTY)
    for (const entry of changes.removeIndex) db.removeSync(keys.indexKey(id, entry))
    const version = changes.bumpVersion ? this.count(keys.versionKey(id)) : (object?.version ?? 0)
    if (!changes.head) {
      if (object) this.removeAll(id, object)
      return version
    }
    const number = object?.number ?? this.count(keys.OBJECT_COUNTER)
    // All copies are of what was there before the commit.
    const copies = changes.omaps.map(({ copyOf }) => (copyOf === undefined ? undefined : this.range(keys.omapKey(number, copyOf, ''), '', undefined, Infinity)))
    changes.omaps.forEach((change, index) => this.changeOmap(number, change, copies[index]))
    for (const [chunk, data] of changes.putChunks) db.putSync(keys.chunkKey(number, chunk), data)
    for (const chunk of changes.deleteChunks) db.removeSync(keys.chunkKey(number, chunk))
    const head = encodeHead(changes.head)
    const record = Buffer.allocUnsafe(24 + head.length)
    record.writeDoubleLE(this.count(keys.REVISION_COUNTER), 0)
    record.writeDoubleLE(version, 8)
    record.writeDoubleLE(number, 16)
    head.copy(record, 24)
    db.putSync(keys.objectKey(id), record)
    return version
  }

  private removeAll(id: ObjectId, { number }: StoredObject): void {
    for (const base of [keys.chunksOf(number), keys.omapsOf(number)]) this.removeRange(base)
    this.db.removeSync(keys.objectKey(id))
  }

  private removeRange(base: Buffer): void {
    for (const key of [...this.db.getKeys(keys.rangeOf(base, '', undefined))]) this.db.removeSync(key)
  }

  private changeOmap(number: number, { omap, clear, remove, set }: OmapChange, copy: readonly [string, Buffer][] | undefined): void {
    const key = (name: string) => keys.omapKey(number, omap, name)
    if (clear || copy) this.removeRange(key(''))
    if (copy && !clear) for (const [name, value] of copy) this.db.putSync(key(name), value)
    if (remove) for (const name of remove) this.db.removeSync(key(name))
    if (set) for (const [name, value] of set) this.db.putSync(key(name), value)
  }

  /** The next number of a counter. */
  private count(key: Buffer): number {
    const next = (this.db.get(key)?.readDoubleLE(0) ?? 0) + 1
    const value = Buffer.allocUnsafe(8)
    value.writeDoubleLE(next)
    this.db.putSync(key, value)
    return next
  }

  scan(client: EngineClient, shard: Shard, prefix: string, after: string | undefined, max: number): readonly string[] {
    this.assertAllowed(client)
    return this.range(keys.indexKey(shard, ''), prefix, after, max).map(([entry]) => entry)
  }

  shardVersion(shard: Shard): number {
    return this.db.get(keys.versionKey(shard))?.readDoubleLE(0) ?? 0
  }

  dropShards(shards: readonly Shard[]): void {
    for (const shard of shards) {
      for (const objectKey of [...this.db.getKeys(keys.rangeOf(keys.objectsOf(shard), '', undefined))]) {
        this.transaction(() => {
          const number = this.db.get(objectKey)?.readDoubleLE(16)
          if (number === undefined) return
          for (const base of [keys.chunksOf(number), keys.omapsOf(number)]) this.removeRange(base)
          this.db.removeSync(objectKey)
        })
      }
      this.transaction(() => {
        this.removeRange(keys.indexKey(shard, ''))
        this.db.removeSync(keys.versionKey(shard))
      })
    }
  }

  // --- the cluster's table ---

  tableGet(key: string): string | undefined {
    return this.db.get(keys.tableKey(key))?.toString()
  }

  tableList(prefix: string): ReadonlyMap<string, string> {
    return new Map(this.range(keys.tableKey(''), prefix, undefined, Infinity).map(([key, value]) => [key, value.toString()]))
  }

  tableCommit({ expect, put }: TableCommit): boolean {
    return this.transaction(() => {
      if (expect.some(([key, value]) => this.tableGet(key) !== value)) return false
      for (const [key, value] of put) {
        if (value === undefined) this.db.removeSync(keys.tableKey(key))
        else this.db.putSync(keys.tableKey(key), Buffer.from(value))
      }
      return true
    })
  }

  fence(address: string, until: number): void {
    const value = Buffer.allocUnsafe(8)
    value.writeDoubleLE(until)
    this.transaction(() => this.db.putSync(keys.fenceKey(address), value))
  }

  unfence(address: string): void {
    this.transaction(() => this.db.removeSync(keys.fenceKey(address)))
  }

  private assertAllowed(client: EngineClient): void {
    const until = this.db.get(keys.fenceKey(client.address))
    if (until && until.readDoubleLE(0) > this.options.now()) throw new Fenced()
  }

  // --- messages ---

  receive(handler: (message: Buffer) => void): void {
    this.mailbox.receive(handler)
  }

  send(endpoint: string, message: Buffer): MaybePromise<boolean> {
    return this.mailbox.send(endpoint, message)
  }

  isGone(endpoint: string): MaybePromise<boolean> {
    return this.mailbox.isGone(endpoint)
  }

  // --- the store ---

  /** All of it or, when it throws, nothing. */
  private transaction<T>(work: () => T): T {
    try {
      const result = this.db.transactionSync(work)
      this.unsynced = true
      this.db.resetReadTxn()
      return result
    } catch (error) {
      this.db.resetReadTxn()
      throw error instanceof Fenced ? error : explained(error, this.place)
    }
  }

  private assertRoom(changes: ObjectChanges): void {
    const { maxBytes } = this.options
    if (maxBytes === undefined || (changes.putChunks.length === 0 && changes.omaps.length === 0)) return
    const { pageSize, lastPageNumber, free } = this.db.getStats() as { pageSize: number; lastPageNumber: number; free?: { entryCount: number } }
    if ((lastPageNumber - (free?.entryCount ?? 0)) * pageSize > maxBytes) throw problem(Errno.ENOSPC, this.place, `more than ${maxBytes} bytes`)
  }

  private sync(): void {
    if (!this.unsynced) return
    this.unsynced = false
    this.db.sync(() => undefined)
  }

  async close(): Promise<void> {
    clearInterval(this.syncTimer)
    await this.mailbox.close()
    await new Promise<void>((resolve) => this.db.sync(() => resolve()))
    await this.db.close()
  }
}

function problem(errno: number, place: string, text: string): RadosError {
  return new RadosError(errno, { op: `open ${place}`, cause: new Error(text) })
}

const CODES: Readonly<Record<string, number>> = { ENOSPC: Errno.ENOSPC, EACCES: Errno.EACCES, EPERM: Errno.EACCES, EROFS: Errno.EROFS, ENOENT: Errno.ENOENT }

/** LMDB's and the file system's words as an errno. */
function explained(error: unknown, place: string): RadosError {
  if (error instanceof RadosError) return error
  const { code, message = String(error) } = error as { code?: string | number; message?: string }
  const byCode = typeof code === 'string' ? CODES[code] : typeof code === 'number' ? Object.values(Errno).find((errno) => errno === code) : undefined
  const errno = byCode ?? (/MDB_MAP_FULL|No space left/.test(message) ? Errno.ENOSPC : /Permission denied/.test(message) ? Errno.EACCES : /Read-only/.test(message) ? Errno.EROFS : Errno.EIO)
  return new RadosError(errno, { op: `use the folder ${place}`, cause: error })
}

/** LMDB takes keys of two kilobytes at most. */
function checkKeys(id: ObjectId, changes: ObjectChanges): void {
  const tooLong = () => new RadosError(E_NAME_TOO_LONG, { op: 'write a name longer than a folder can keep' })
  if (!keys.fits(id.key)) throw tooLong()
  for (const { set } of changes.omaps) if (set) for (const key of set.keys()) if (!keys.fits(key)) throw tooLong()
}

