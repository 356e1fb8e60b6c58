import { Errno, RadosError } from '../../rados/errors.ts'
import type { OmapPage } from '../../rados/operation.ts'
import type { Answer, Engine, EngineClient, MaybePromise, ObjectId, OmapPageAnswer, Query } from './engine.ts'
import { chunksOf, readChunks } from './object-data.ts'
import type { StateAt } from './snapshots.ts'

/** Entries that an OSD puts into one answer at most (osd_max_omap_entries_per_request). */
const MAX_OMAP_ENTRIES = 1024
const EMPTY = Buffer.alloc(0)

/** The object has changed since the operation began: it is to be done again from the start. */
export class Stale extends Error {
  constructor() {
    super('the object has changed meanwhile')
    this.name = 'Stale'
  }
}

/** What is stored of an object, at one revision: as it was before the operation. */
export class ObjectReader {
  /** Set once a read came too late, whatever became of the exception. */
  stale = false

  constructor(
    private readonly engine: Engine,
    private readonly client: EngineClient,
    private readonly id: ObjectId,
    readonly revision: number,
    /** undefined: there is nothing */
    readonly at: StateAt | undefined,
  ) {}

  get size(): number {
    return this.at?.state.size ?? 0
  }

  async query(query: Query): Promise<Answer> {
    const asked: MaybePromise<readonly Answer[] | undefined> = this.engine.more(this.client, this.id, this.revision, [query])
    const answers = asked instanceof Promise ? await asked : asked
    if (answers) return answers[0]!
    this.stale = true
    throw new Stale()
  }

  async chunks(ids: readonly number[]): Promise<ReadonlyMap<number, Buffer>> {
    if (ids.length === 0) return new Map()
    const found = (await this.query({ type: 'chunks', ids })) as readonly Buffer[]
    return new Map(ids.map((id, index) => [id, found[index]!]))
  }

  /** Shorter at the end of what is stored; into the start of `into` if that is given. */
  async data(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    const end = Math.min(offset + length, this.size)
    if (end <= offset) return into ? into.subarray(0, 0) : EMPTY
    const target = into ? into.subarray(0, end - offset) : Buffer.allocUnsafe(end - offset)
    const table = this.at!.state.chunks
    readChunks(table, await this.chunks(chunksOf(table, offset, end - offset)), offset, target)
    return target
  }

  /** @throws RadosError ENOENT */
  xattrs(): ReadonlyMap<string, Buffer> {
    if (!this.at) throw new RadosError(Errno.ENOENT, { op: 'xattrs' })
    return this.at.state.xattrs
  }

  async omapPage(after: string, prefix: string, max: number): Promise<OmapPage> {
    if (!this.at?.state.omap) return { entries: new Map(), more: false }
    const query: Query = { type: 'omapPage', omap: this.at.omap, after, prefix, max: Math.min(max, MAX_OMAP_ENTRIES) }
    const { entries, more } = (await this.query(query)) as OmapPageAnswer
    return { entries: new Map(entries), more }
  }

  async omapValues(keys: readonly string[]): Promise<Map<string, Buffer>> {
    if (!this.at?.state.omap || keys.length === 0) return new Map()
    return new Map((await this.query({ type: 'omapValues', omap: this.at.omap, keys })) as ReadonlyMap<string, Buffer>)
  }
}
