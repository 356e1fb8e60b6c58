import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { askAdminSocket } from '../../src/daemon/ask-admin-socket.ts'
import { describeCeph } from '../support/ceph.ts'
import { MirrorDaemon } from '../support/daemon.ts'
import { tryRun } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

const PROGRAM = [
  process.execPath,
  '--import',
  createRequire(import.meta.url).resolve('tsx'),
  fileURLToPath(new URL('../../src/cli/rbd-mirror.ts', import.meta.url)),
]
const WRONG_KEY = 'AQB8Y2FnAAAAABAAq1YTeVhhk3LxLsZ4mUx7RQ=='
const ID = 'rbd-mirror.c'

describeCeph('the process of the daemon', (pair) => {
  let folder: string
  const background: number[] = []

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'rbd-mirror-process-'))
  })
  afterEach(() => {
    for (const pid of background.splice(0)) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        continue // it has ended, as it should
      }
    }
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const file = (name: string) => join(folder, name)
  const usual = () => ['--cluster', pair.b.name, '--id', ID, `--log-file=${file('log')}`, `--admin-socket=${file('asok')}`, '--rbd-mirror-metrics-port=0']
  const run = (...args: string[]) => tryRun([...PROGRAM, ...args], { cwd: pair.folder, timeout: 60_000 })

  it.each<[string, number, RegExp, () => string[]]>([
    ['an unknown option', 2, /unknown option --frobnicate/, () => [...usual(), '--frobnicate=1']],
    ['a bad value', 1, /--rbd-mirror-concurrent-image-syncs: bad value "many"/, () => [...usual(), '--rbd-mirror-concurrent-image-syncs=many']],
    ['a cluster without configuration', 1, /no configuration file for cluster nowhere: looked for \/etc\/ceph\/nowhere\.conf/, () => ['--cluster', 'nowhere']],
    ['a missing configuration file', 1, /no such configuration file: \/none\.conf/, () => ['-c', '/none.conf']],
    ['a broken configuration file', 1, /broken\.conf:2: /, () => ['-c', file('broken.conf')]],
    ['an entity without keyring', 1, /no keyring for client\.nobody: looked for /, () => [...usual(), '--id', 'nobody']],
    ['a wrong key', 1, /refuses client\.rbd-mirror\.c/, () => [...usual(), `--key=${WRONG_KEY}`]],
    ['monitors that are not there', 1, /do not answer at 127\.0\.0\.1:1/, () => [...usual(), '-m', '127.0.0.1:1', '--client-mount-timeout=2']],
    ['a log file that cannot be written', 1, /log file \/none\/log: its directory does not exist/, () => [...usual(), '--log-file=/none/log']],
    ['a socket that cannot be made', 1, /admin socket \/none\/asok: .*directory does not exist/, () => [...usual(), '--admin-socket=/none/asok']],
    ['a pid file that cannot be written', 1, /pid file \/none\/pid: /, () => [...usual(), '--pid-file=/none/pid']],
  ])('says in one line what is wrong with %s', async (_, status, message, args) => {
    writeFileSync(file('broken.conf'), '[global]\nmon host\n')
    for (const where of ['-f', '--daemonize=true']) {
      const { code, stderr, stdout } = await run(...args(), where)
      expect({ code, stdout, lines: stderr.trimEnd().split('\n').length }, stderr).toEqual({ code: status, stdout: '', lines: 1 })
      expect(stderr).toMatch(/^rbd-mirror: /)
      expect(stderr).toMatch(message)
      expect(stderr).not.toContain(WRONG_KEY)
    }
  })

  it('says that its port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const { code, stderr } = await run(...usual(), '-f', `--rbd-mirror-metrics-port=${port}`)
    other.close()
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^rbd-mirror: metrics at 127\.0\.0\.1 port \d+: it is taken; .*\n$/) as string })
  })

  it('goes to the background, answers ceph --admin-daemon, reopens its log, and ends cleanly', async () => {
    const { code, stderr } = await run(...usual(), `--pid-file=${file('pid')}`, '--rbd-mirror-concurrent-image-syncs=4')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const pid = Number(readFileSync(file('pid'), 'utf8'))
    background.push(pid)

    const admin = (...words: string[]) => tryRun(['ceph', '--admin-daemon', file('asok'), ...words])
    expect((await admin('config', 'get', 'rbd_mirror_concurrent_image_syncs')).stdout).toBe('{\n    "rbd_mirror_concurrent_image_syncs": "4"\n}\n')
    expect(JSON.parse((await admin('help')).stdout)).toMatchObject({ 'rbd mirror status': 'get status for rbd mirror', version: 'get ceph version' })
    expect((await admin('rbd', 'mirror', 'flush', 'nosuch/image')).code).toBe(22)
    expect(JSON.parse((await admin('rbd', 'mirror', 'status')).stdout)).toHaveProperty('pool_replayers')
    expect(await admin('injectargs', '--rbd_mirror_concurrent_image_syncs=6')).toMatchObject({ code: 0 })
    expect((await admin('config', 'get', 'rbd_mirror_concurrent_image_syncs')).stdout).toContain('"6"')
    // what librados knows of itself
    expect(JSON.parse((await admin('objecter_requests')).stdout)).toMatchObject({ ops: expect.any(Array) as unknown, linger_ops: expect.any(Array) as unknown })
    expect(JSON.parse((await admin('dump_mempools')).stdout)).toHaveProperty('mempool.total.bytes')
    expect(JSON.parse((await admin('perf', 'dump', 'objecter', 'map_epoch')).stdout)).toEqual({ objecter: { map_epoch: expect.any(Number) as number } })
    expect(JSON.parse((await admin('perf', 'reset', 'all')).stdout)).toEqual({ success: 'perf reset all' })

    renameSync(file('log'), file('log.1'))
    process.kill(pid, 'SIGHUP')
    await waitFor('the new log', () => existsSync(file('log')) && readFileSync(file('log'), 'utf8').includes('log reopened'))

    const second = await run(...usual(), '-f')
    expect({ code: second.code, stderr: second.stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('another process listens there') as string })

    const told = Date.now()
    process.kill(pid, 'SIGTERM')
    await waitFor('the end of the daemon', () => !existsSync(`/proc/${pid}`))
    expect(Date.now() - told).toBeLessThan(5_000)
    expect([existsSync(file('pid')), existsSync(file('asok')), existsSync(`${file('asok')}.librados1`)]).toEqual([false, false, false])
    for (const line of readFileSync(file('log'), 'utf8').trim().split('\n')) expect(JSON.parse(line)).toHaveProperty('msg')
  })

  it('takes over the socket of one that was killed', async () => {
    const args = [`--admin-socket=${file('stale')}`, '--rbd-mirror-metrics-port=0']
    const up = () => waitFor('the socket to answer', () => askAdminSocket(file('stale'), 'version'))
    const killed = MirrorDaemon.start({ folder: pair.folder, cluster: pair.b.name, id: ID, args })
    await up()
    await killed.kill()
    expect(existsSync(file('stale'))).toBe(true)
    await using next = MirrorDaemon.start({ folder: pair.folder, cluster: pair.b.name, id: ID, args })
    await up()
    await next.stop(5_000)
  })

  it("follows the monitors' central config", async () => {
    await using daemon = MirrorDaemon.start({ folder: pair.folder, cluster: pair.b.name, id: ID, args: ['--rbd-mirror-metrics-port=0'] })
    await daemon.waitUntilUp()
    const option = async () => JSON.parse(await askAdminSocket(daemon.adminSocket, 'config diff')) as { diff: Record<string, unknown> }
    const name = 'rbd_mirror_delete_retry_interval'
    await pair.b.ceph('config', 'set', `client.${ID}`, name, '7')
    await waitFor('the value', async () => JSON.stringify((await option()).diff[name]) === '{"default":30,"mon":7,"final":7}', { detail: option })
    await pair.b.ceph('config', 'rm', `client.${ID}`, name)
    await waitFor('the default', async () => (await option()).diff[name] === undefined, { detail: option })
    await daemon.stop()
  })

  it('serves metrics and health', async () => {
    const probe = createServer().listen(0, '127.0.0.1')
    await once(probe, 'listening')
    const { port } = probe.address() as AddressInfo
    await new Promise((resolve) => probe.close(resolve))
    await using daemon = MirrorDaemon.start({ folder: pair.folder, cluster: pair.b.name, id: ID, args: [`--rbd-mirror-metrics-port=${port}`] })
    await daemon.waitUntilUp()
    const page = await fetch(`http://127.0.0.1:${port}/metrics`)
    expect(await page.text()).toMatch(/^rbd_mirror_build_info\{version="[^"]+",ceph_version="18\.2\.7"\} 1$/m)
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
    await daemon.stop()
  })
})
