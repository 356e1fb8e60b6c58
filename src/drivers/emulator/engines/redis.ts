import { randomBytes } from 'node:crypto'
import type {
  Answer,
  Engine,
  EngineClient,
  MaybePromise,
  ObjectChanges,
  ObjectId,
  ObjectView,
  Query,
  Shard,
  TableCommit,
} from '../engine.ts'
import { decodeHead, encodeHead } from '../object-head.ts'
import { chunkField, lexRange, objectKeys, omapBase, shardKeys, shardTag, TABLE } from './redis-keys.ts'
import { parseAddress, RedisLink, type Argument } from './redis-link.ts'
import { RedisMail } from './redis-mail.ts'
import { COMMIT, FENCE, READ, SCAN, TABLE_COMMIT, TABLE_LIST } from './redis-scripts.ts'

const LEASE_MS = 30_000
/** How long closing waits for a server that does not answer. */
const CLOSE_MS = 1000
/** Objects of a removed pool that are deleted at once. */
const DROP_PAGE = 200
/** Stands for `all`. */
const NO_LIMIT = 2 ** 31

export interface RedisOptions {
  /** milliseconds since the epoch */
  readonly now: () => number
  /** how long requests are tried while the server is out of reach, before they fail with ETIMEDOUT */
  readonly patienceMs?: number | undefined
}

type PageReply = [more: number, members: Buffer[], values: Buffer[]]
type ReadReply = [revision: Buffer, version: Buffer | null, head: Buffer | null, ...answers: unknown[]]

/**
 * A cluster in a Redis database, for any number of processes and hosts at once. What is atomic is one script on the server; a commit carries
 * a token under which its outcome is remembered until its sender is known to have heard of it, so that it can be asked for again.
 */
export class RedisEngine implements Engine {
  readonly leaseMs = LEASE_MS
  private commits = 0
  /** shard or table → tokens whose outcome has arrived here: the next commit there tells the server to forget them */
  private readonly settled = new Map<string, string[]>()

  private constructor(
    private readonly id: string,
    private readonly link: RedisLink,
    private readonly listener: RedisLink,
    private readonly mail: RedisMail,
    private readonly now: () => number,
  ) {}

  /** @throws RadosError EINVAL for what is no address, ETIMEDOUT when nobody answers there, EACCES when it does not let us in */
  static async open(url: string, { now, patienceMs }: RedisOptions): Promise<RedisEngine> {
    const address = parseAddress(url)
    const links: RedisLink[] = []
    try {
      links.push(await RedisLink.open(address, patienceMs))
      links.push(await RedisLink.open(address, patienceMs))
      const [link, listener] = links as [RedisLink, RedisLink]
      const id = randomBytes(8)
      const mail = new RedisMail(`redis-${id.toString('hex')}`, id, link, listener)
      await mail.open()
      return new RedisEngine(id.toString('hex'), link, listener, mail, now)
    } catch (error) {
      for (const link of links) link.close()
      throw error
    }
  }

  get place(): string {
    return this.link.place
  }

  get endpoint(): string {
    return this.mail.endpoint
  }

  // --- objects ---

  async open(client: EngineClient, id: ObjectId, queries: readonly Query[]): Promise<ObjectView> {
    const [revision, version, head, ...answers] = (await this.read(client, id, '', queries)) as ReadReply
    return {
      revision: Number(revision),
      version: Number(version),
      head: head === null ? undefined : decodeHead(head),
      answers: answers.map((answer, index) => decodeAnswer(queries[index]!, answer)),
    }
  }

  async more(client: EngineClient, id: ObjectId, revision: number, queries: readonly Query[]): Promise<readonly Answer[] | undefined> {
    const reply = await this.read(client, id, revision, queries)
    return reply?.slice(3).map((answer, index) => decodeAnswer(queries[index]!, answer))
  }

  private async read(client: EngineClient, id: ObjectId, revision: number | '', queries: readonly Query[]): Promise<ReadReply | null> {
    const tag = shardTag(id)
    return (await this.link.run(READ, [`${tag}fences`, ...objectKeys(tag, id.key)], [client.address, revision, ...queries.flatMap(encodeQuery)])) as ReadReply | null
  }

  async commit(client: EngineClient, id: ObjectId, revision: number, changes: ObjectChanges): Promise<number | undefined> {
    const { head, addIndex, removeIndex, putChunks, deleteChunks, omaps } = changes
    const tag = shardTag(id)
    const copied = omaps.filter(({ copyOf }) => copyOf !== undefined)
    const sets = copied.length > 0 || omaps.some(({ set }) => set && set.size > 0)
    const grows = head !== undefined && (putChunks.length > 0 || addIndex.length > 0 || sets)
    const version = await this.settling(tag, (token, heard) =>
      this.link.run(
        COMMIT,
        [...shardKeys(tag), ...objectKeys(tag, id.key)],
        [
          ...[client.address, token, revision, changes.bumpVersion ? 1 : 0, head ? encodeHead(head) : '', id.key, grows ? 1 : 0],
          ...list(heard),
          ...list(addIndex),
          ...list(removeIndex),
          ...list(deleteChunks.map(chunkField)),
          ...list(putChunks.flatMap(([chunk, data]) => [chunkField(chunk), data])),
          ...list(copied.map(({ copyOf }) => omapBase(copyOf!))),
          omaps.length,
          ...omaps.flatMap((change) => [
            ...[omapBase(change.omap), change.clear ? 1 : 0, copied.indexOf(change) + 1],
            ...list([...(change.remove ?? [])]),
            ...list([...(change.set ?? [])].flat()),
          ]),
        ],
      ),
    )
    return version === null ? undefined : (version as number)
  }

  /** Runs a commit under a new token; once its outcome is here, the server may forget it. */
  private async settling(where: string, commit: (token: string, heard: readonly string[]) => Promise<unknown>): Promise<unknown> {
    const token = `${this.id}-${++this.commits}`
    const heard = this.settled.get(where) ?? []
    this.settled.set(where, [])
    try {
      const outcome = await commit(token, heard)
      this.settled.get(where)?.push(token)
      return outcome
    } catch (error) {
      this.settled.get(where)?.push(...heard)
      throw error
    }
  }

  async scan(client: EngineClient, shard: Shard, prefix: string, after: string | undefined, max: number): Promise<readonly string[]> {
    const tag = shardTag(shard)
    const entries = await this.link.run(SCAN, [`${tag}fences`, `${tag}index`], [client.address, ...lexRange('', prefix, after), Math.min(max, NO_LIMIT)])
    return (entries as Buffer[]).map(String)
  }

  async shardVersion(shard: Shard): Promise<number> {
    return Number(await this.link.command('HGET', `${shardTag(shard)}meta`, 'version'))
  }

  async dropShards(shards: readonly Shard[]): Promise<void> {
    for (const tag of shards.map(shardTag)) {
      for (;;) {
        const names = ((await this.link.command('SRANDMEMBER', `${tag}objects`, DROP_PAGE)) as Buffer[]).map(String)
        if (names.length === 0) break
        await this.link.command('UNLINK', ...names.flatMap((name) => objectKeys(tag, name)))
        await this.link.command('SREM', `${tag}objects`, ...names)
      }
      await this.link.command('UNLINK', ...shardKeys(tag))
      this.settled.delete(tag)
    }
  }

  // --- the cluster's table ---

  async tableGet(key: string): Promise<string | undefined> {
    const value = (await this.link.command('HGET', TABLE.values, key)) as Buffer | null
    return value?.toString()
  }

  async tableList(prefix: string): Promise<ReadonlyMap<string, string>> {
    const entries = ((await this.link.run(TABLE_LIST, [TABLE.values, TABLE.names], lexRange('', prefix, undefined))) as Buffer[]).map(String)
    return new Map(Array.from({ length: entries.length / 2 }, (_, index) => [entries[2 * index]!, entries[2 * index + 1]!]))
  }

  async tableCommit({ expect, put }: TableCommit): Promise<boolean> {
    const triples = (entries: TableCommit['put']) => list(entries.flatMap(([key, value]) => [key, value === undefined ? 0 : 1, value ?? '']))
    const applied = await this.settling(TABLE.commits, (token, heard) =>
      this.link.run(TABLE_COMMIT, [TABLE.values, TABLE.names, TABLE.commits], [token, ...list(heard), ...triples(expect), ...triples(put)]),
    )
    return applied === 1
  }

  /** Until when is told by the server's clock, the only one that all hosts share. */
  async fence(address: string, until: number, shards: readonly Shard[]): Promise<void> {
    await this.fenceFor(address, Math.max(0, Math.ceil(until - this.now())), shards)
  }

  async unfence(address: string, shards: readonly Shard[]): Promise<void> {
    await this.fenceFor(address, 0, shards)
  }

  private async fenceFor(address: string, ms: number, shards: readonly Shard[]): Promise<void> {
    await Promise.all(shards.map((shard) => this.link.run(FENCE, [`${shardTag(shard)}fences`], [address, ms])))
  }

  // --- messages ---

  receive(handler: (message: Buffer) => void): void {
    this.mail.receive(handler)
  }

  send(endpoint: string, message: Buffer): MaybePromise<boolean> {
    return this.mail.send(endpoint, message)
  }

  isGone(endpoint: string): MaybePromise<boolean> {
    return this.mail.isGone(endpoint)
  }

  async close(): Promise<void> {
    await this.mail.close(CLOSE_MS)
    this.listener.close()
    this.link.close()
  }
}

const list = (values: readonly Argument[]): Argument[] => [values.length, ...values]

function encodeQuery(query: Query): Argument[] {
  switch (query.type) {
    case 'chunks':
      return ['F', ...list(query.ids.map(chunkField))]
    case 'omapValues':
      return ['F', ...list(query.keys.map((key) => `m${omapBase(query.omap)}${key}`))]
    case 'omapPage':
      return ['P', ...lexRange(omapBase(query.omap), query.prefix, query.after), Math.min(query.max, NO_LIMIT)]
  }
}

function decodeAnswer(query: Query, reply: unknown): Answer {
  switch (query.type) {
    case 'chunks':
      return reply as Buffer[]
    case 'omapValues':
      return found(query.keys, reply as (Buffer | null)[])
    case 'omapPage': {
      const [more, members, values] = reply as PageReply
      const base = omapBase(query.omap).length
      const keys = members.map((member) => member.toString('utf8', base))
      return { entries: found(keys, values), more: more === 1 }
    }
  }
}

function found(keys: readonly string[], values: readonly (Buffer | null)[]): Map<string, Buffer> {
  const entries = new Map<string, Buffer>()
  keys.forEach((key, index) => {
    const value = values[index]
    if (value) entries.set(key, value)
  })
  return entries
}
