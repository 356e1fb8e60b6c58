import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer, connect as connectTo, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Fenced, HEAD_OMAP, type ObjectChanges, type ObjectId } from '../../src/drivers/emulator/engine.ts'
import { RedisEngine } from '../../src/drivers/emulator/engines/redis.ts'
import type { ObjectHead } from '../../src/drivers/emulator/object-head.ts'
import { Errno } from '../../src/rados/errors.ts'
import { emulatorFor } from '../support/emulated.ts'
import { OBJECTS, storedRecords, writeUntil, type Acknowledged } from '../support/emulator-writer.ts'
import { freePorts } from '../support/ports.ts'
import { redisMissing, RedisServer } from '../support/redis-server.ts'
import { waitFor } from '../support/wait.ts'
import { errnoOf } from './rados.suite.ts'

const SHARD = { pool: 1, shard: 0 }
const CLIENT = { address: '127.0.0.1:0/1' }
const NOTHING: ObjectChanges = {
  head: undefined,
  putChunks: [],
  deleteChunks: [],
  omaps: [],
  addIndex: [],
  removeIndex: [],
  bumpVersion: true,
}

function headWith(size: number): ObjectHead {
  return { exists: true, size, mtime: 1, chunks: [1], xattrs: new Map(), omap: false, nextChunk: 2, snapSeq: 0n, clones: [], watchers: [] }
}

const writing = (size: number, data = Buffer.alloc(size, 7)): ObjectChanges => ({ ...NOTHING, head: headWith(size), putChunks: [[1, data]] })
const object = (key: string): ObjectId => ({ ...SHARD, key })

/** Between engine and server: lets through, refuses, or takes one more request to the server and never brings its answer. */
class Proxy {
  private mode: 'open' | 'refuse' | 'swallow' = 'open'
  private readonly sockets = new Set<Socket>()
  swallowed = 0
  private readonly server = createServer((near) => this.accept(near))

  private constructor(
    private readonly target: number,
    readonly port: number,
  ) {}

  static async start(target: number): Promise<Proxy> {
    const proxy = new Proxy(target, await freePorts(1))
    await new Promise<void>((resolve) => proxy.server.listen(proxy.port, '127.0.0.1', resolve))
    return proxy
  }

  set(mode: 'open' | 'refuse' | 'swallow'): void {
    this.mode = mode
    if (mode === 'refuse') this.cut()
  }

  cut(): void {
    for (const socket of this.sockets) socket.destroy()
  }

  private accept(near: Socket): void {
    if (this.mode !== 'open') return void near.destroy()
    const far = connectTo(this.target, '127.0.0.1')
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.sockets.delete(socket)
        other.destroy()
      })
    }
    near.on('data', (data) => far.write(data))
    far.on('data', (data) => {
      if (this.mode !== 'swallow') return void near.write(data)
      this.swallowed++
      this.set('refuse')
    })
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }
}

describe.skipIf(redisMissing())('a Redis database in trouble', () => {
  let server: RedisServer
  let dbs = 0
  const engines: RedisEngine[] = []
  const closing: (() => Promise<void>)[] = []

  beforeAll(async () => {
    // a killed server loses nothing that it has written, flushed or not; one that flushes may put writing off
    server = await RedisServer.start({ fsync: 'no' })
  })
  afterAll(() => server.close())
  afterEach(async () => {
    await Promise.all(engines.splice(0).map((engine) => engine.close()))
    await Promise.all(closing.splice(0).map((close) => close()))
  })

  async function open(url: string, patienceMs?: number): Promise<RedisEngine> {
    const engine = await RedisEngine.open(url, { now: Date.now, patienceMs })
    engines.push(engine)
    return engine
  }

  async function proxied(patienceMs?: number): Promise<{ proxy: Proxy; engine: RedisEngine; other: RedisEngine }> {
    const proxy = await Proxy.start(server.port)
    closing.push(() => proxy.close())
    const db = ++dbs
    return { proxy, engine: await open(`redis://127.0.0.1:${proxy.port}/${db}`, patienceMs), other: await open(server.url(db)) }
  }

  test('killed and started again, cut off, its scripts flushed, under the load of two processes: acknowledged once is there once', async () => {
    const monHost = server.url(++dbs)
    const { adminKey: key } = await emulatorFor(monHost).create({ monHost })
    const driver = emulatorFor(monHost, { key: () => key })
    const cluster = await driver.connect({ name: 'here', entity: 'client.admin', options: {} })
    await cluster.monCommand({ prefix: 'osd pool create', pool: 'load', pg_num: 2 })
    const io = await cluster.openPool('load')
    const child = startWriter(monHost, key, 'load', 'there')
    const lines = createInterface(child.stdout!)[Symbol.asyncIterator]()
    expect((await lines.next()).value).toBe('ready')

    let over = false
    const here = writeUntil(io, 'here', () => over)
    const nap = () => sleep(250)
    for (let round = 0; round < 3; round++) {
      await nap()
      await server.kill()
      await server.run()
      await nap()
      await server.with((client) => client.script('FLUSH'))
      await nap()
      await server.with((client) => client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'))
    }
    await nap()
    over = true
    child.stdin!.end()
    const writers = [await here, JSON.parse((await lines.next()).value as string) as Acknowledged]
    await once(child, 'exit')

    expect(writers.flatMap(({ failures }) => failures)).toEqual([])
    for (const { records } of writers) expect(records.length).toBeGreaterThan(30)
    for (const name of OBJECTS) {
      const acknowledged = writers.flatMap(({ records }) => records).filter(([of]) => of === name)
      const { data, omap } = await storedRecords(io, name)
      expect(data).toEqual(acknowledged.map(([, record]) => record).sort())
      expect(omap).toEqual(data)
      expect(new Set(acknowledged.map(([, , version]) => version)).size).toBe(acknowledged.length)
    }
    await cluster.close()
  })

  test('a commit whose answer is lost answers what became of it, also when another came after it', async () => {
    const { proxy, engine, other } = await proxied()
    const id = object('lost')
    const first = (await engine.commit(CLIENT, id, 0, writing(1)))!
    const { revision } = await engine.open(CLIENT, id, [])
    proxy.set('swallow')
    const commit = engine.commit(CLIENT, id, revision, writing(2))
    await waitFor('the answer to be lost', () => proxy.swallowed === 1, { interval: 5 })
    const after = await other.open(CLIENT, id, [])
    expect(after.head!.size).toBe(2)
    expect(await other.commit(CLIENT, id, after.revision, writing(3))).toBe(first + 2)
    proxy.set('open')
    expect(await commit).toBe(first + 1)
    expect(await engine.open(CLIENT, id, [])).toMatchObject({ version: first + 2, head: { size: 3 } })
    expect(await engine.commit(CLIENT, id, revision, writing(4))).toBeUndefined()
  })

  test('a change of the table whose answer is lost is known as applied', async () => {
    const { proxy, engine, other } = await proxied()
    proxy.set('swallow')
    const commit = engine.tableCommit({ expect: [['key', undefined]], put: [['key', 'value']] })
    await waitFor('the answer to be lost', () => proxy.swallowed === 1, { interval: 5 })
    expect(await other.tableCommit({ expect: [['key', 'value']], put: [['key', 'next']] })).toBe(true)
    proxy.set('open')
    expect(await commit).toBe(true)
    expect(await engine.tableGet('key')).toBe('next')
  })

  test('out of reach for too long: ETIMEDOUT, and nothing is sent later', async () => {
    const { proxy, engine, other } = await proxied(150)
    proxy.set('refuse')
    expect(await errnoOf(engine.commit(CLIENT, object('late'), 0, writing(1)))).toBe(Errno.ETIMEDOUT)
    expect(await errnoOf(engine.open(CLIENT, object('late'), []))).toBe(Errno.ETIMEDOUT)
    proxy.set('open')
    await waitFor('the connection', () => engine.tableGet('x').then(() => true))
    expect(await other.open(CLIENT, object('late'), [])).toMatchObject({ revision: 0 })
  })

  test('an object removed and made again never gets a revision that it had', async () => {
    const engine = await open(server.url(++dbs))
    const seen = new Set<number>()
    for (let round = 0; round < 10; round++) {
      await engine.commit(CLIENT, object('again'), 0, writing(1))
      const { revision } = await engine.open(CLIENT, object('again'), [])
      expect(seen.has(revision)).toBe(false)
      seen.add(revision)
      await engine.commit(CLIENT, object('again'), revision, NOTHING)
    }
  })

  test('messages arrive once and in order, also while connections are cut', async () => {
    const { proxy, engine, other } = await proxied()
    const received: string[] = []
    engine.receive((message) => received.push(message.toString()))
    const sent = Array.from({ length: 200 }, (_, index) => `message ${index}`)
    for (const [index, message] of sent.entries()) {
      if (index % 50 === 25) proxy.cut()
      if (index % 50 === 40) await server.with((client) => client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'))
      expect(await other.send(engine.endpoint, Buffer.from(message))).toBe(true)
    }
    await waitFor('all messages', () => received.length >= sent.length, { interval: 5, timeout: 10_000, detail: () => received.length })
    expect(received).toEqual(sent)
    const { endpoint } = engine
    expect(await other.isGone(endpoint)).toBe(false)
    await engine.close()
    expect(await other.isGone(endpoint)).toBe(true)
    expect(await other.send(endpoint, Buffer.from('nobody'))).toBe(false)
  })

  test('memory full: ENOSPC with nothing changed, while removing and sessions go on', async () => {
    const engine = await open(server.url(++dbs))
    const id = object('full')
    const version = (await engine.commit(CLIENT, id, 0, { ...writing(3), addIndex: ['full'] }))!
    const before = await engine.open(CLIENT, id, [])
    await server.with((client) => client.config('SET', 'maxmemory', '1'))
    try {
      const more: ObjectChanges = { ...writing(4), deleteChunks: [1], omaps: [{ omap: HEAD_OMAP, set: new Map([['key', Buffer.from('value')]]) }] }
      expect(await errnoOf(engine.commit(CLIENT, id, before.revision, more))).toBe(Errno.ENOSPC)
      expect(await engine.open(CLIENT, id, [{ type: 'chunks', ids: [1] }])).toMatchObject({ revision: before.revision, answers: [[Buffer.alloc(3, 7)]] })
      expect(await engine.tableCommit({ expect: [], put: [['session', 'one']] })).toBe(true)
      await engine.fence('127.0.0.1:0/99', Date.now() + 60_000, [SHARD])
      await expect(engine.open({ address: '127.0.0.1:0/99' }, id, [])).rejects.toThrow(Fenced)
      expect(await engine.commit(CLIENT, id, before.revision, { ...NOTHING, removeIndex: ['full'] })).toBe(version + 1)
      expect(await engine.scan(CLIENT, SHARD, '', undefined, 10)).toEqual([])
    } finally {
      await server.with((client) => client.config('SET', 'maxmemory', '0'))
    }
  })

  test('a replica answers EROFS to changes, and EAGAIN when it has lost its data', async () => {
    const engine = await open(server.url(++dbs), 150)
    await server.with(async (client) => {
      await client.replicaof('127.0.0.1', 1)
      expect(await errnoOf(engine.commit(CLIENT, object('replica'), 0, writing(1)))).toBe(Errno.EROFS)
      expect(await engine.open(CLIENT, object('replica'), [])).toMatchObject({ revision: 0 })
      await client.config('SET', 'replica-serve-stale-data', 'no')
      expect(await errnoOf(engine.open(CLIENT, object('replica'), []))).toBe(Errno.EAGAIN)
      await client.config('SET', 'replica-serve-stale-data', 'yes')
      await client.replicaof('NO', 'ONE')
    })
  })

  test('a server that is frozen for a moment is waited for', async () => {
    const engine = await open(server.url(++dbs))
    server.signal('SIGSTOP')
    const commit = engine.commit(CLIENT, object('frozen'), 0, writing(1))
    await sleep(200)
    server.signal('SIGCONT')
    expect(await commit).toBe(1)
  })

  test('a fence ends by the clock of the server', async () => {
    const engine = await open(server.url(++dbs))
    await engine.fence(CLIENT.address, Date.now() + 60_000, [SHARD])
    for (const refused of [
      () => engine.open(CLIENT, object('fenced'), []),
      () => engine.more(CLIENT, object('fenced'), 0, []),
      () => engine.commit(CLIENT, object('fenced'), 0, writing(1)),
      () => engine.scan(CLIENT, SHARD, '', undefined, 1),
    ]) {
      await expect(refused()).rejects.toThrow(Fenced)
    }
    await engine.unfence(CLIENT.address, [SHARD])
    expect(await engine.commit(CLIENT, object('fenced'), 0, writing(1))).toBe(1)
    await engine.fence(CLIENT.address, Date.now() + 30, [SHARD])
    await sleep(60)
    expect(await engine.open(CLIENT, object('fenced'), [])).toMatchObject({ version: 1 })
  })

  test('of a removed pool nothing is left', async () => {
    const db = ++dbs
    const engine = await open(server.url(db))
    const own = async () => {
      const keys = await server.with((client) => client.select(db).then(() => client.keys('*')))
      return keys.filter((key) => !key.includes('{redis-')).sort()
    }
    await engine.tableCommit({ expect: [], put: [['format', '1']] })
    const kept = await own()
    const omaps = [{ omap: HEAD_OMAP, set: new Map([['key', Buffer.from('value')]]) }]
    const names = Array.from({ length: 450 }, (_, index) => `many ${index}`)
    await Promise.all(names.map((name) => engine.commit(CLIENT, object(name), 0, { ...writing(1), addIndex: [name], omaps })))
    expect((await own()).length).toBe(kept.length + 2 * 450 + 4)
    await engine.dropShards([SHARD])
    expect(await own()).toEqual(kept)
  })

  describe('not opened', () => {
    test('a wrong password: EACCES; a wrong address: EINVAL; nobody there: ETIMEDOUT; the password told nowhere', async () => {
      const guarded = await RedisServer.start({ password: 'right' })
      closing.push(() => guarded.close())
      const port = await freePorts(1)
      for (const [url, errno] of [
        [`redis://:secret@127.0.0.1:${guarded.port}/0`, Errno.EACCES],
        [`redis://127.0.0.1:${guarded.port}/0`, Errno.EACCES],
        [`redis://:secret@127.0.0.1:${port}/0`, Errno.ETIMEDOUT],
        [`redis://127.0.0.1:${server.port}/99`, Errno.EIO],
        [`redis://:secret@127.0.0.1:99999/0`, Errno.EINVAL],
        [`redis://:secret%zz@127.0.0.1/0`, Errno.EINVAL],
        [`redis://:secret@127.0.0.1/some/where`, Errno.EINVAL],
      ] as const) {
        const error = await RedisEngine.open(url, { now: Date.now, patienceMs: 500 }).then(
          () => undefined,
          (failure: unknown) => failure,
        )
        expect(error, url).toMatchObject({ errno })
        expect(inspect(error, { depth: Infinity, showHidden: true })).not.toContain('secret')
      }
    })

    test('no cluster in the database: ENOENT; a second one: EEXIST', async () => {
      const monHost = server.url(++dbs)
      const driver = emulatorFor(monHost)
      expect(await errnoOf(driver.connect({ name: 'none', entity: 'client.admin', options: {} }))).toBe(Errno.ENOENT)
      await driver.create({ monHost })
      expect(await errnoOf(driver.create({ monHost }))).toBe(Errno.EEXIST)
      expect(await errnoOf(driver.connect({ name: 'keyless', entity: 'client.admin', options: {} }))).toBe(Errno.ENOENT)
    })
  })
})

function startWriter(monHost: string, key: string, pool: string, name: string): ChildProcess {
  const script = fileURLToPath(new URL('../support/emulator-writer.ts', import.meta.url))
  return spawn(process.execPath, ['--import', 'tsx', script, monHost, key, pool, name], { stdio: ['pipe', 'pipe', 'inherit'] })
}
