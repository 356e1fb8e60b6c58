import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { libradosDriver } from '../../src/drivers/librados/driver.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import { Errno, RadosError } from '../../src/rados/errors.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { ReadOperation, WriteOperation } from '../../src/rados/operation.ts'
import { CephCluster } from '../support/ceph-cluster.ts'
import { haveCeph } from '../support/ceph.ts'
import { errnoOf } from './rados.suite.ts'

const quiet = { onNotify: () => undefined, onError: () => undefined }

// A cluster of its own, because it is made to stop answering.
describe.skipIf(!haveCeph)('librados when the cluster does not answer', () => {
  let folder: string
  let ceph: CephCluster
  const connect = async (options: Record<string, string> = {}): Promise<[Cluster, IoCtx]> => {
    const cluster = await libradosDriver.connect({ name: 'outage', entity: 'client.admin', confFile: ceph.conf, options })
    return [cluster, await cluster.openPool('pool')]
  }
  const elapsed = async (work: Promise<unknown>) => {
    const start = performance.now()
    await work
    return performance.now() - start
  }
  /** Runs `body` while no daemon of the cluster does anything. */
  const duringOutage = async (body: () => Promise<void>) => {
    await ceph.pause()
    try {
      await body()
    } finally {
      ceph.resume()
    }
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rbd-mirror-outage-'))
    ceph = await CephCluster.start({ name: 'outage', folder, manager: false })
    await ceph.ceph('osd', 'pool', 'create', 'pool', '8')
    const [cluster, io] = await connect()
    await io.write('object', new WriteOperation().writeFull(Buffer.from('contents')))
    await cluster.close()
  })
  afterAll(async () => {
    await ceph.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test('an aborted operation ends at once, and nothing is written into its buffer afterwards', async () => {
    const [cluster, io] = await connect()
    const into = Buffer.alloc(8, '.')
    await duringOutage(async () => {
      const read = new ReadOperation()
      read.read(0, 8, into)
      const reason = new Error('enough')
      const controller = new AbortController()
      const waiting = io.read('object', read, { signal: controller.signal })
      controller.abort(reason)
      expect(await elapsed(expect(waiting).rejects.toBe(reason))).toBeLessThan(500)
    })
    expect((await io.readData('object', 0, 8)).toString()).toBe('contents') // on the same connection, so behind the late answer
    expect(into.toString()).toBe('........')
    await cluster.close()
  })

  test('time-outs of the connection end operations, commands and listings', async () => {
    const [cluster, io] = await connect({ rados_osd_op_timeout: '1', rados_mon_op_timeout: '1' })
    await duringOutage(async () => {
      const errnos = await Promise.all([
        errnoOf(io.stat('object')),
        errnoOf(io.write('object', new WriteOperation().setXattr('x', Buffer.alloc(1)))),
        errnoOf(io.watch('object', quiet)),
        errnoOf(io.notify('object', Buffer.alloc(0), 500)),
        errnoOf(cluster.monCommand({ prefix: 'osd lspools' })),
        errnoOf(cluster.waitForLatestOsdMap()),
        errnoOf(io.listObjects()[Symbol.asyncIterator]().next()),
        errnoOf(cluster.lookupPool('no-such-pool')),
      ])
      expect(errnos).toEqual(errnos.map(() => Errno.ETIMEDOUT))
      expect(await elapsed(cluster.close())).toBeLessThan(5000)
    })
  })

  test('the main thread is never blocked', async () => {
    const [cluster, io] = await connect()
    await duringOutage(async () => {
      const works = [
        io.stat('object'),
        cluster.lookupPool('no-such-pool'),
        cluster.openPoolById(99_999n),
        cluster.monCommand({ prefix: 'osd lspools' }),
        cluster.waitForLatestOsdMap(),
        cluster.blocklistAdd('127.0.0.1:0/1', 1),
      ]
      let last = performance.now()
      let longest = 0
      const ticker = setInterval(() => {
        longest = Math.max(longest, performance.now() - last)
        last = performance.now()
      }, 10)
      const settled = Promise.allSettled(works)
      await cluster.close()
      clearInterval(ticker)
      expect(longest).toBeLessThan(500)
      for (const result of await settled) expect(result).toMatchObject({ status: 'rejected', reason: { errno: Errno.ESHUTDOWN } })
    })
  })

  test('any number of operations can be started, and they go on afterwards', async () => {
    const [cluster, io] = await connect()
    const data = Buffer.alloc(1 << 20)
    let works: Promise<unknown>[] = []
    await duringOutage(async () => {
      const start = performance.now()
      works = Array.from({ length: 3000 }, () => io.stat('object'))
      for (let index = 0; index < 150; index++) works.push(io.write(`big-${index}`, new WriteOperation().writeFull(data)))
      expect(performance.now() - start).toBeLessThan(5000)
    })
    await Promise.all(works)
    await cluster.close()
  })

  test('close comes back within seconds with watches and operations open', async () => {
    const [cluster, io] = await connect()
    await io.watch('object', quiet)
    await duringOutage(async () => {
      const stat = io.stat('object').catch((error: unknown) => error)
      const command = cluster.monCommand({ prefix: 'osd lspools' }).catch((error: unknown) => error)
      expect(await elapsed(cluster.close())).toBeLessThan(5000)
      expect(await stat).toMatchObject({ errno: Errno.ESHUTDOWN })
      expect(await command).toMatchObject({ errno: Errno.ESHUTDOWN })
    })
  })

  test('a connection attempt can be aborted, and gives up by itself', async () => {
    await duringOutage(async () => {
      const reason = new Error('enough')
      const signal = AbortSignal.timeout(200)
      expect(await elapsed(expect(libradosDriver.connect({ name: 'o', entity: 'client.admin', confFile: ceph.conf, options: {} }, signal)).rejects.toThrow())).toBeLessThan(1500)
      const aborted = AbortSignal.abort(reason)
      await expect(libradosDriver.connect({ name: 'o', entity: 'client.admin', confFile: ceph.conf, options: {} }, aborted)).rejects.toBe(reason)
      expect(await errnoOf(connect({ client_mount_timeout: '1' }))).toBe(Errno.ETIMEDOUT)
    })
  })

  test.each([
    ['everything that can be in flight, frozen', './close-in-outage.ts', () => [String(ceph.pid('osd.0')), '6']],
    ['hundreds of notifications that are being answered', './close-after-notify.ts', () => ['8']],
  ])('closing connections under %s frees nothing that is in use', async (_, name, more) => {
    const script = fileURLToPath(new URL(name, import.meta.url))
    // what is freed is overwritten, so that a use of it shows
    const env = { ...process.env, MALLOC_PERTURB_: '165', MALLOC_ARENA_MAX: '1' }
    const child = spawn(process.execPath, ['--import', 'tsx', script, ceph.conf, 'pool', ...more()], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data.toString()))
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
    ceph.resumeDaemon('osd.0')
    expect({ code, signal, output }).toEqual({ code: 0, signal: null, output: 'survived\n' })
  })

  test('errors of connect name no secret', async () => {
    const key = 'AQBpZWFlAAAAABAAkqgG4wVZ0vV4ZT0Zl2Y5Wg=='
    const failures = await Promise.all([
      libradosDriver.connect({ name: 'wrong', entity: 'client.admin', confFile: ceph.conf, options: { key, keyring: '/nonexistent' } }).catch((error: unknown) => error),
      libradosDriver.connect({ name: 'wrong', entity: 'client.nobody', confFile: ceph.conf, options: { keyring: '/nonexistent' } }).catch((error: unknown) => error),
      libradosDriver.connect({ name: 'wrong', entity: 'client.admin', confFile: '/nonexistent.conf', options: {} }).catch((error: unknown) => error),
      libradosDriver.connect({ name: 'wrong', entity: 'client.admin', confFile: ceph.conf, options: { client_mount_timeout: key } }).catch((error: unknown) => error),
    ])
    for (const failure of failures) {
      expect(failure).toBeInstanceOf(RadosError)
      expect(`${(failure as Error).stack}`).not.toContain(key)
    }
    expect(failures.map((failure) => (failure as RadosError).op)).toEqual([
      'connect as client.admin',
      'connect as client.nobody',
      'read /nonexistent.conf',
      'set option client_mount_timeout',
    ])
  })

  test.each([
    ['after close', 'await cluster.close()', 0],
    ['by process.exit with everything open', 'process.exit(5)', 5],
    [
      'while a connection attempt goes on',
      'await cluster.close(); await libradosDriver.connect(options, AbortSignal.timeout(100)).catch(() => undefined)',
      0,
    ],
  ])('the process ends %s', async (_, ending, status) => {
    const script = join(folder, 'script.mts')
    writeFileSync(
      script,
      `import { libradosDriver } from ${JSON.stringify(fileURLToPath(new URL('../../src/drivers/librados/driver.ts', import.meta.url)))}
      const options = { name: 'outage', entity: 'client.admin', confFile: ${JSON.stringify(ceph.conf)}, options: {} }
      const cluster = await libradosDriver.connect(options)
      const io = await cluster.openPool('pool')
      await io.watch('object', { onNotify() {}, onError() {} })
      console.log('ready')
      await new Promise((resolve) => process.stdin.once('data', resolve))
      process.stdin.destroy()
      void io.stat('object').catch(() => undefined)
      void cluster.monCommand({ prefix: 'osd lspools' }).catch(() => undefined)
      process.on('exit', () => console.log('exit handlers run'))
      ${ending}`,
    )
    const child = spawn(process.execPath, ['--import', 'tsx', script], { stdio: ['pipe', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', (data: Buffer) => (output += data.toString()))
    await once(child.stdout, 'data')
    await duringOutage(async () => {
      const start = performance.now()
      child.stdin.write('go')
      const [code] = (await once(child, 'close')) as [number]
      expect(code).toBe(status)
      expect(performance.now() - start).toBeLessThan(8000)
      expect(output).toContain('exit handlers run')
    })
  })
})
