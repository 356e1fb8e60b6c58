import type { Clock } from '../../base/clock.ts'
import type { Engine } from './engine.ts'
import type { WatchRecord } from './object-head.ts'

/** A client's connection, as all processes see it. */
export interface SessionRecord {
  readonly entity: string
  readonly address: string
  readonly endpoint: string
  /** milliseconds since the epoch; undefined where sessions need no renewal */
  readonly expires: number | undefined
}

const PREFIX = 'session/'
const LAST_ID = 'last-instance'
const FIRST_ID = 4100n
const MAX_TRIES = 200

export const sessionKey = (instanceId: bigint) => `${PREFIX}${instanceId}`

/** The connections of a cluster, kept in its table; those that have not been renewed in time are taken for dead. */
export class Sessions {
  constructor(
    private readonly engine: Engine,
    private readonly clock: Clock,
  ) {}

  /** A new id for a connection, unique in the cluster. */
  async nextInstanceId(): Promise<bigint> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const last = await this.engine.tableGet(LAST_ID)
      const next = last === undefined ? FIRST_ID : BigInt(last) + 1n
      if (await this.engine.tableCommit({ expect: [[LAST_ID, last]], put: [[LAST_ID, String(next)]] })) return next
    }
    throw new Error(`${this.engine.place}: no connection id after ${MAX_TRIES} tries`)
  }

  async open(instanceId: bigint, entity: string, address: string): Promise<void> {
    await this.put(instanceId, entity, address, undefined)
  }

  /** False when the session was taken for dead meanwhile: all its watches are lost. */
  async renew(instanceId: bigint, entity: string, address: string): Promise<boolean> {
    const before = await this.engine.tableGet(sessionKey(instanceId))
    await this.put(instanceId, entity, address, before)
    return before !== undefined && this.alive(JSON.parse(before) as SessionRecord)
  }

  private async put(instanceId: bigint, entity: string, address: string, expect: string | undefined): Promise<void> {
    const { leaseMs, endpoint } = this.engine
    const expires = leaseMs === undefined ? undefined : this.clock.now() + leaseMs
    const record: SessionRecord = { entity, address, endpoint, expires }
    await this.engine.tableCommit({ expect: [[sessionKey(instanceId), expect]], put: [[sessionKey(instanceId), JSON.stringify(record)]] })
  }

  async close(instanceId: bigint): Promise<void> {
    await this.engine.tableCommit({ expect: [], put: [[sessionKey(instanceId), undefined]] })
  }

  private alive({ expires }: SessionRecord): boolean {
    return expires === undefined || expires > this.clock.now()
  }

  /** undefined for one that is closed or dead. */
  async find(instanceId: bigint): Promise<SessionRecord | undefined> {
    const text = await this.engine.tableGet(sessionKey(instanceId))
    if (text === undefined) return undefined
    const record = JSON.parse(text) as SessionRecord
    return this.alive(record) && !(await this.engine.isGone(record.endpoint)) ? record : undefined
  }

  /** All living ones; the records of dead ones are removed. */
  async list(): Promise<Map<bigint, SessionRecord>> {
    const living = new Map<bigint, SessionRecord>()
    for (const [key, text] of await this.engine.tableList(PREFIX)) {
      const record = JSON.parse(text) as SessionRecord
      if (this.alive(record) && !(await this.engine.isGone(record.endpoint))) living.set(BigInt(key.slice(PREFIX.length)), record)
      else await this.engine.tableCommit({ expect: [[key, text]], put: [[key, undefined]] })
    }
    return living
  }

  /** Of an object's watchers, those whose clients are alive and not shut out. */
  async living(watchers: readonly WatchRecord[], shutOut: (address: string) => boolean): Promise<readonly WatchRecord[]> {
    const found = await Promise.all(watchers.map(({ clientId }) => this.find(clientId)))
    return watchers.filter(({ address }, index) => found[index] !== undefined && !shutOut(address))
  }
}
