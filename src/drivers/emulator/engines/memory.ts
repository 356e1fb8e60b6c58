import {
  Fenced,
  type Answer,
  type Engine,
  type EngineClient,
  type ObjectChanges,
  type ObjectId,
  type ObjectView,
  type OmapId,
  type Query,
  type Shard,
  type TableCommit,
} from '../engine.ts'
import type { ObjectHead } from '../object-head.ts'
import { SortedMap } from './sorted-map.ts'

interface MemoryObject {
  revision: number
  version: number
  head: ObjectHead
  readonly chunks: Map<number, Buffer>
  readonly omaps: Map<OmapId, SortedMap<Buffer>>
}

interface MemoryShard {
  version: number
  readonly objects: Map<string, MemoryObject>
  readonly index: SortedMap<true>
}

const ABSENT: Omit<ObjectView, 'answers'> = { revision: 0, version: 0, head: undefined }
const NO_ANSWERS: readonly Answer[] = []

/** A cluster in this process' memory. Everything happens at once: nothing here waits, and messages are handed over by a microtask. */
export class MemoryEngine implements Engine {
  readonly place: string
  readonly leaseMs = undefined
  readonly endpoint = 'memory'
  private revisions = 0
  private readonly pools = new Map<number, MemoryShard[]>()
  private readonly table = new SortedMap<string>()
  /** address → until, in milliseconds since the epoch */
  private readonly fences = new Map<string, number>()
  private handler: ((message: Buffer) => void) | undefined

  constructor(
    name: string,
    private readonly now: () => number,
  ) {
    this.place = `memory:${name}`
  }

  open(client: EngineClient, id: ObjectId, queries: readonly Query[]): ObjectView {
    this.assertAllowed(client)
    const object = this.shard(id).objects.get(id.key)
    if (!object) return { ...ABSENT, answers: queries.map((query) => answerOf(undefined, query)) }
    const { revision, version, head } = object
    return { revision, version, head, answers: queries.length === 0 ? NO_ANSWERS : queries.map((query) => answerOf(object, query)) }
  }

  more(client: EngineClient, id: ObjectId, revision: number, queries: readonly Query[]): readonly Answer[] | undefined {
    this.assertAllowed(client)
    const object = this.shard(id).objects.get(id.key)
    return (object?.revision ?? 0) === revision ? queries.map((query) => answerOf(object, query)) : undefined
  }

  commit(client: EngineClient, id: ObjectId, revision: number, changes: ObjectChanges): number | undefined {
    this.assertAllowed(client)
    const shard = this.shard(id)
    let object = shard.objects.get(id.key)
    if ((object?.revision ?? 0) !== revision) return undefined
    for (const entry of changes.addIndex) shard.index.set(entry, true)
    for (const entry of changes.removeIndex) shard.index.delete(entry)
    if (changes.bumpVersion) shard.version++
    const version = changes.bumpVersion ? shard.version : (object?.version ?? 0)
    if (!changes.head) {
      shard.objects.delete(id.key)
      return version
    }
    if (!object) {
      object = { revision: 0, version, head: changes.head, chunks: new Map(), omaps: new Map() }
      shard.objects.set(id.key, object)
    }
    object.revision = ++this.revisions
    object.version = version
    object.head = changes.head
    for (const [chunk, data] of changes.putChunks) object.chunks.set(chunk, data)
    for (const chunk of changes.deleteChunks) object.chunks.delete(chunk)
    if (changes.omaps.length > 0) changeOmaps(object, changes)
    return version
  }

  scan(client: EngineClient, shard: Shard, prefix: string, after: string | undefined, max: number): readonly string[] {
    this.assertAllowed(client)
    return this.shard(shard)
      .index.page(prefix, after, max)
      .entries.map(([entry]) => entry)
  }

  shardVersion(shard: Shard): number {
    return this.shard(shard).version
  }

  dropShards(shards: readonly Shard[]): void {
    for (const { pool } of shards) this.pools.delete(pool)
  }

  tableGet(key: string): string | undefined {
    return this.table.get(key)
  }

  tableList(prefix: string): ReadonlyMap<string, string> {
    return new Map(this.table.page(prefix, undefined, Infinity).entries)
  }

  tableCommit({ expect, put }: TableCommit): boolean {
    if (expect.some(([key, value]) => this.table.get(key) !== value)) return false
    for (const [key, value] of put) {
      if (value === undefined) this.table.delete(key)
      else this.table.set(key, value)
    }
    return true
  }

  fence(address: string, until: number): void {
    this.fences.set(address, until)
  }

  unfence(address: string): void {
    this.fences.delete(address)
  }

  private assertAllowed(client: EngineClient): void {
    if (this.fences.size === 0) return
    const until = this.fences.get(client.address)
    if (until === undefined) return
    if (until > this.now()) throw new Fenced()
    this.fences.delete(client.address)
  }

  receive(handler: (message: Buffer) => void): void {
    this.handler = handler
  }

  send(_endpoint: string, message: Buffer): boolean {
    queueMicrotask(() => this.handler?.(message))
    return this.handler !== undefined
  }

  isGone(): boolean {
    return false
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  private shard({ pool, shard }: Shard): MemoryShard {
    let shards = this.pools.get(pool)
    if (!shards) this.pools.set(pool, (shards = []))
    return (shards[shard] ??= { version: 0, objects: new Map(), index: new SortedMap() })
  }
}

function answerOf(object: MemoryObject | undefined, query: Query): Answer {
  switch (query.type) {
    case 'chunks':
      return query.ids.map((id) => object!.chunks.get(id)!)
    case 'omapPage': {
      const omap = object?.omaps.get(query.omap)
      if (!omap) return { entries: new Map<string, Buffer>(), more: false }
      const { entries, more } = omap.page(query.prefix, query.after, query.max)
      return { entries: new Map(entries), more }
    }
    case 'omapValues': {
      const omap = object?.omaps.get(query.omap)
      const found = new Map<string, Buffer>()
      for (const key of query.keys) {
        const value = omap?.get(key)
        if (value) found.set(key, value)
      }
      return found
    }
  }
}

function changeOmaps(object: MemoryObject, changes: ObjectChanges): void {
  const before = new Map(changes.omaps.flatMap(({ copyOf }) => (copyOf === undefined ? [] : [[copyOf, [...(object.omaps.get(copyOf)?.entries() ?? [])]]])))
  for (const { omap: id, copyOf, clear, remove, set } of changes.omaps) {
    if (copyOf !== undefined) object.omaps.set(id, new SortedMap(before.get(copyOf)))
    if (clear) object.omaps.delete(id)
    if (remove) for (const key of remove) object.omaps.get(id)?.delete(key)
    if (!set || set.size === 0) continue
    let omap = object.omaps.get(id)
    if (!omap) object.omaps.set(id, (omap = new SortedMap()))
    for (const [key, value] of set) omap.set(key, value)
  }
}
