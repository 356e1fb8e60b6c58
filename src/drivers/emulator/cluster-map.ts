import { MalformedInput } from '../../encoding/malformed-input.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { Engine, Shard } from './engine.ts'

/** Tries of a change that others keep getting ahead of. */
const MAX_TRIES = 200
const MAP_KEY = 'map'
const FORMAT_KEY = 'format'
/** Newest form of all that is stored; a folder or database of a newer one is refused. */
export const FORMAT = 1

export interface PoolRecord {
  readonly id: number
  readonly name: string
  /** number of shards */
  readonly pgNum: number
  /** newest id of a self-managed snapshot */
  readonly snapSeq: number
  /** removed snapshots whose clones are still being removed */
  readonly removing: readonly number[]
  readonly applications: Readonly<Record<string, Readonly<Record<string, string>>>>
}

/** What the monitors of a Ceph cluster tell in the OSD map. */
export interface ClusterMap {
  readonly epoch: number
  readonly lastPool: number
  readonly pools: readonly PoolRecord[]
  /** address → until, milliseconds since the epoch */
  readonly blocklist: Readonly<Record<string, number>>
  /** the monitors' central configuration: section (`global`, `client`, `client.ID`) → option → value */
  readonly config: Readonly<Record<string, Readonly<Record<string, string>>>>
}

interface Format {
  version: number
  fsid: string
}

export const shardsOf = ({ id, pgNum }: PoolRecord): Shard[] => Array.from({ length: pgNum }, (_, shard) => ({ pool: id, shard }))

/** Where an object of a pool lies: FNV-1a over its key. */
export function shardOf(key: string, pgNum: number): number {
  if (pgNum === 1) return 0
  let hash = 0x811c9dc5
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193)
  return (hash >>> 0) % pgNum
}

/** Starts a cluster's table. False if there is one already. */
export async function initializeMap(engine: Engine, fsid: string, more: readonly (readonly [string, string])[]): Promise<boolean> {
  const format: Format = { version: FORMAT, fsid }
  const map: ClusterMap = { epoch: 1, lastPool: 0, pools: [], blocklist: {}, config: {} }
  return engine.tableCommit({
    expect: [[FORMAT_KEY, undefined]],
    put: [[FORMAT_KEY, JSON.stringify(format)], [MAP_KEY, JSON.stringify(map)], ...more],
  })
}

/** The cluster's fsid; undefined if there is no cluster. @throws RadosError EOPNOTSUPP if it is of a newer format */
export async function readFormat(engine: Engine): Promise<string | undefined> {
  const text = await engine.tableGet(FORMAT_KEY)
  if (text === undefined) return undefined
  const { version, fsid } = parse<Format>(text, `format of ${engine.place}`)
  if (version > FORMAT) {
    throw new RadosError(Errno.EOPNOTSUPP, {
      op: `open ${engine.place}`,
      cause: new Error(`its format is ${version}, this version knows formats up to ${FORMAT}: use the newer version that made it`),
    })
  }
  return fsid
}

/** The cluster's map as this process knows it. */
export class MapStore {
  private text = ''
  private parsed: ClusterMap = { epoch: 0, lastPool: 0, pools: [], blocklist: {}, config: {} }

  constructor(private readonly engine: Engine) {}

  get current(): ClusterMap {
    return this.parsed
  }

  async refresh(): Promise<ClusterMap> {
    const text = await this.engine.tableGet(MAP_KEY)
    if (text === undefined) throw new RadosError(Errno.ENOENT, { op: `open ${this.engine.place}`, cause: new Error('there is no cluster') })
    if (text !== this.text) {
      const parsed = parse<ClusterMap>(text, `map of ${this.engine.place}`)
      if (parsed.epoch > this.parsed.epoch) [this.text, this.parsed] = [text, parsed]
    }
    return this.parsed
  }

  /** `change` gives the new map but for its epoch, or undefined to leave it; it may run more than once. */
  async update<T>(change: (map: ClusterMap) => { map: Omit<ClusterMap, 'epoch'>; result: T } | { map: undefined; result: T }): Promise<T> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      await this.refresh()
      const { parsed: before, text } = this
      const { map, result } = change(before)
      if (!map) return result
      const next: ClusterMap = { ...map, epoch: before.epoch + 1 }
      const nextText = JSON.stringify(next)
      if (await this.engine.tableCommit({ expect: [[MAP_KEY, text]], put: [[MAP_KEY, nextText]] })) {
        if (next.epoch > this.parsed.epoch) [this.text, this.parsed] = [nextText, next]
        return result
      }
    }
    throw new RadosError(Errno.EAGAIN, { op: `change the map of ${this.engine.place}` })
  }

  /** Changes one pool. @throws RadosError ENOENT */
  updatePool<T>(id: number, change: (pool: PoolRecord) => { pool: PoolRecord; result: T }): Promise<T> {
    return this.update((map) => {
      const before = map.pools.find((pool) => pool.id === id)
      if (!before) throw new RadosError(Errno.ENOENT, { op: 'change a pool', pool: `id ${id}` })
      const { pool, result } = change(before)
      return { map: { ...map, pools: map.pools.map((one) => (one.id === id ? pool : one)) }, result }
    })
  }

  pool(id: number): PoolRecord | undefined {
    return this.parsed.pools.find((pool) => pool.id === id)
  }
}

function parse<T>(text: string, what: string): T {
  try {
    return JSON.parse(text) as T
  } catch (cause) {
    throw new MalformedInput(what, 'no JSON', { cause })
  }
}
