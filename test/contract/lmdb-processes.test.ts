import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LmdbEngine } from '../../src/drivers/emulator/engines/lmdb.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import { Errno } from '../../src/rados/errors.ts'
import { WriteOperation } from '../../src/rados/operation.ts'
import { emulatorFor } from '../support/emulated.ts'

const WORKER = fileURLToPath(new URL('lmdb-worker.ts', import.meta.url))
const RECORD = 64

describe('a cluster in a folder', () => {
  let folder: string
  let monHost: string
  let key: string | undefined
  let cluster: Cluster
  const children = new Set<ChildProcess>()

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'emulated-'))
    monHost = pathToFileURL(folder).href
    const driver = emulatorFor(monHost, { key: () => key })
    key = (await driver.create({ monHost })).adminKey
    cluster = await driver.connect({ name: 'test', entity: 'client.admin', options: {} })
    await cluster.monCommand({ prefix: 'osd pool create', pool: 'shared', pg_num: 2 })
  })
  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL')
    await cluster.close()
    await rm(folder, { recursive: true, force: true })
  })

  /** Starts a worker; `rounds` is how far it says that it has come. */
  function work(name: string, rounds: number): { child: ChildProcess; rounds(): number; reached(round: number): Promise<void>; ended: Promise<unknown> } {
    const child = spawn(process.execPath, ['--import', 'tsx', WORKER, monHost, key!, name, String(rounds)], { stdio: ['ignore', 'pipe', 'inherit'] })
    children.add(child)
    let done = 0
    const waiters = new Map<number, () => void>()
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'ready') return
      done = Number(line) + 1
      waiters.get(done)?.()
    })
    const ended = once(child, 'exit').finally(() => children.delete(child))
    return { child, rounds: () => done, reached: (round) => new Promise<void>((resolve) => (done >= round ? resolve() : waiters.set(round, resolve))), ended }
  }

  it('lets the process do something else between many operations', async () => {
    const io = await cluster.openPool('shared')
    const timer = new AbortController()
    setTimeout(() => timer.abort(), 20)
    let written = 0
    for (; written < 20_000 && !timer.signal.aborted; written++) await io.write('busy', new WriteOperation().append(Buffer.of(1)))
    expect(timer.signal.aborted).toBe(true)
    expect((await io.stat('busy')).size).toBe(written)
  })

  it('is written to by several processes at once, one of which is killed again and again, and nothing is half done', { timeout: 120_000 }, async () => {
    const io = await cluster.openPool('shared')
    await io.write('counter', new WriteOperation().writeFull(Buffer.from('0'.repeat(10))))
    const steady = work('a', 150)
    let killed = 0
    for (let kill = 0; kill < 3; kill++) {
      const victim = work('b', 1_000_000)
      await victim.reached(10 + kill * 7)
      victim.child.kill('SIGKILL')
      await victim.ended
      killed += victim.rounds()
    }
    expect(await steady.ended).toEqual([0, null])

    const { size } = await io.stat('log')
    const data = await io.readData('log', 0, size)
    const records = Array.from({ length: size / RECORD }, (_, index) => data.subarray(index * RECORD, (index + 1) * RECORD).toString())
    for (const record of records) expect(record).toMatch(/^(a{64}|b{64})$/)
    const keys: string[] = []
    for (let after = '', more = true; more; ) {
      const page = await io.omapGet('log', after, '', 1000)
      keys.push(...page.entries.keys())
      after = keys.at(-1) ?? ''
      more = page.more
    }
    expect(keys).toHaveLength(records.length)
    expect(records.filter((record) => record.startsWith('a'))).toHaveLength(150)
    // What was told is there; of each killed process one round more may be.
    const ofVictims = records.length - 150
    expect(ofVictims).toBeGreaterThanOrEqual(killed)
    expect(ofVictims).toBeLessThanOrEqual(killed + 3 * 4)
    const count = Number((await io.readData('counter', 0, 20)).toString())
    expect(count).toBeGreaterThanOrEqual(150 + killed)
    expect(count).toBeLessThanOrEqual(records.length)
  })

  it('tells notifications from process to process, and forgets the watch of a killed one', { timeout: 60_000 }, async () => {
    const script = `
      import { emulatorFor } from ${JSON.stringify(new URL('../support/emulated.ts', import.meta.url).href)}
      const cluster = await emulatorFor(${JSON.stringify(monHost)}, { key: () => ${JSON.stringify(key)} }).connect({ name: 'watcher', entity: 'client.admin', options: {} })
      const io = await cluster.openPool('shared')
      await io.watch('watched', { onNotify: (one) => one.ack(Buffer.from('heard ' + one.payload)), onError: () => undefined })
      console.log('watching')`
    const io = await cluster.openPool('shared')
    await io.write('watched', new WriteOperation().create(true))
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    children.add(child)
    await once(child.stdout, 'data')
    const { acks } = await io.notify('watched', Buffer.from('hello'), 10_000)
    expect(acks.map(({ payload }) => payload.toString())).toEqual(['heard hello'])
    expect(await io.listWatchers('watched')).toHaveLength(1)
    child.kill('SIGKILL')
    await once(child, 'exit')
    children.delete(child)
    expect(await io.listWatchers('watched')).toEqual([])
    expect(await io.notify('watched', Buffer.from('anybody?'), 10_000)).toEqual({ acks: [], timeouts: [] })
  })

  it('is refused where there is none, with a wrong key, and when it is of a newer format', async () => {
    const connect = (host: string, secret = key) => emulatorFor(host, { key: () => secret }).connect({ name: 'test', entity: 'client.admin', options: {} })
    await expect(connect(`${monHost}/nothing`)).rejects.toMatchObject({ errno: Errno.ENOENT })
    await expect(connect(monHost, 'wrong')).rejects.toMatchObject({ errno: Errno.EACCES })
    await expect(emulatorFor(monHost).create({ monHost })).rejects.toMatchObject({ errno: Errno.EEXIST })
    const engine = await LmdbEngine.open(folder, { create: false, now: () => Date.now() })
    engine.tableCommit({ expect: [], put: [['format', JSON.stringify({ version: 99, fsid: cluster.fsid })]] })
    await engine.close()
    await expect(connect(monHost)).rejects.toMatchObject({ errno: Errno.EOPNOTSUPP, cause: { message: expect.stringContaining('newer') as string } })
  })

  it('is full when it has what it may have: nothing is added, and what is removed makes room', async () => {
    const full = join(folder, 'full')
    const engine = await LmdbEngine.open(full, { create: true, now: () => Date.now(), maxBytes: 2 << 20 })
    const client = { address: '127.0.0.1:0/1' }
    const id = (name: string) => ({ pool: 1, shard: 0, key: `\0${name}` })
    const head = { exists: true, size: 1, mtime: 0, chunks: [1], xattrs: new Map(), omap: false, nextChunk: 2, snapSeq: 0n, clones: [], watchers: [] }
    const nothing = { putChunks: [], deleteChunks: [], omaps: [], addIndex: [], removeIndex: [], bumpVersion: true }
    const put = (name: string) => engine.commit(client, id(name), 0, { ...nothing, head, putChunks: [[1, Buffer.alloc(16_384)]] })
    let written = 0
    expect(() => {
      for (; written < 1000; written++) put(`object-${written}`)
    }).toThrow(expect.objectContaining({ errno: Errno.ENOSPC }) as Error)
    expect((await engine.open(client, id(`object-${written}`), [])).head).toBeUndefined()
    for (let index = 0; index < written; index++) {
      const { revision } = await engine.open(client, id(`object-${index}`), [])
      engine.commit(client, id(`object-${index}`), revision, { ...nothing, head: undefined })
    }
    put('again')
    expect((await engine.open(client, id('again'), [{ type: 'chunks', ids: [1] }])).answers[0]).toEqual([Buffer.alloc(16_384)])
    await engine.close()
  })
})
