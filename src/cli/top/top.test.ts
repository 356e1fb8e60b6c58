import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { silentLog } from '../../base/log.ts'
import { AdminRegistry } from '../../daemon/admin-registry.ts'
import { AdminSocket } from '../../daemon/admin-socket.ts'
import { registerStatusCommand } from '../../daemon/status-command.ts'
import { HttpServer } from '../../observability/http-server.ts'
import { Metrics } from '../../observability/metrics.ts'
import { statusRoutes } from '../../observability/status-service.ts'
import { formatBytes, formatDuration, renderOverview, sparkline, type Colours } from './render.ts'
import type { Overview } from './source.ts'
import { top } from './top.ts'

const plain: Colours = { red: String, yellow: String, green: String, dim: String, bold: String }
const identity = { version: '1.0.0', cluster: 'site-b', entity: 'client.b', hostname: 'host-1', startedAt: Date.now() }

let folder: string
let metrics: Metrics
let server: HttpServer
let socket: AdminSocket
let socketPath: string
let written = ''

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'top-'))
  metrics = new Metrics()
  const source = { metrics, identity, eventLoop: undefined }
  const unused = () => Promise.reject(new Error('not asked for'))
  const ok = () => ({ ok: true, detail: 'ok' })
  server = await HttpServer.listen({
    address: '127.0.0.1',
    port: 0,
    routes: statusRoutes({ ...source, exposition: unused, page: unused, health: ok, ready: ok }),
    log: silentLog,
  })
  const registry = new AdminRegistry()
  registerStatusCommand(registry, source)
  socketPath = join(folder, 'site-b-client.b.1.2.asok')
  socket = await AdminSocket.listen(socketPath, undefined, (request) => registry.execute(request), silentLog)
  written = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    written += String(text)
    return true
  })
})
afterEach(async () => {
  vi.restoreAllMocks()
  await server.close()
  await socket.close()
  rmSync(folder, { recursive: true })
})

function image(name: string) {
  const row = metrics.image({ pool: 'volumes', namespace: '', peer: 'site-a', globalImageId: `gid-${name}` })
  row.setName(name)
  row.setState('replaying')
  row.setTimestamps({ replicated: Date.now() / 1000 - 300 })
  return row
}
const url = () => `http://127.0.0.1:${server.port}`

describe('rbd-mirror top', () => {
  it('gives the same as JSON, by HTTP and by the admin socket', async () => {
    image('one').setState('error', 'split-brain')
    image('two')
    expect(await top(['--json', '--url', url(), '--health=error'])).toBe(0)
    const byHttp = JSON.parse(written) as Overview
    written = ''
    expect(await top(['--json', '--admin-socket', socketPath, '--health', 'error'])).toBe(0)
    const bySocket = JSON.parse(written) as Overview
    for (const { images, status } of [byHttp, bySocket]) {
      expect(images).toMatchObject({ matching: 1, total: 2, images: [{ spec: 'volumes/one', reason: 'split_brain' }] })
      expect(status).toMatchObject({ health: 'error', daemon: { cluster: 'site-b' } })
    }
  })

  it('finds the daemon by its configuration, at its port or its admin socket', async () => {
    image('one')
    expect(await top(['--once', '--no-config-file', '--cluster', 'site-b', '--rbd-mirror-metrics-port', String(server.port)])).toBe(0)
    expect(written).toContain('volumes/one')
    written = ''
    expect(await top(['--once', '--no-config-file', '--cluster', 'site-b', '--rbd-mirror-metrics-port=0', `--run-dir=${folder}`])).toBe(0)
    expect(written).toContain('volumes/one')
    const other = ['--once', '--no-config-file', '--cluster', 'site-x', `--rbd-mirror-metrics-port=${server.port}`, `--run-dir=${folder}`]
    await expect(top(other)).rejects.toThrow(/found no daemon of cluster site-x: at .* is the daemon of cluster site-b; name it with/)
  })

  it.each([
    [['--interval=0'], 'number of seconds'],
    [['--interval'], 'needs a value'],
    [['--json=1'], 'takes no value'],
    [['--url=nonsense'], 'is no address'],
    [['--url=ftp://x'], 'begin with http'],
    [['--json', '--url=http://127.0.0.1:2'], 'no daemon answers at http://127.0.0.1:2: ECONNREFUSED'],
    [['--json', '--admin-socket=/nonexistent'], 'no daemon answers at /nonexistent: ENOENT'],
    [['--url=http://a', '--admin-socket=b'], 'either'],
    [['--frobnicate'], 'frobnicate'],
  ])('says what is wrong with %j', async (args, problem) => {
    await expect(top(args)).rejects.toThrow(problem)
  })

  it('hands on what the daemon says of a bad query', async () => {
    for (const at of [`--url=${url()}`, `--admin-socket=${socketPath}`]) await expect(top(['--json', at, '--sort=size'])).rejects.toThrow('sort is one of')
  })

  it('draws a screen that fits', async () => {
    const bad = image('bad')
    bad.setState('error', 'split-brain')
    for (let index = 0; index < 100; index++) image(`i${index}\u001b[31m`).lagHistory.add(index)
    const peer = metrics.peer({ pool: 'volumes', peer: 'site-a' })
    peer.setLeader(true)
    peer.setUp(false)
    await top(['--json', '--url', url()])
    const overview = JSON.parse(written) as Overview
    for (const [columns, rows] of [[80, 24], [200, 60], [40, 10]] as const) {
      const screen = renderOverview(overview, { columns, rows }, plain)
      const lines = screen.split('\n')
      expect(lines.length).toBeLessThanOrEqual(rows)
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns)
      expect(screen).not.toContain('\u001b')
    }
    const screen = renderOverview(overview, { columns: 160, rows: 24 }, plain)
    expect(screen).toMatch(/● rbd-mirror 1\.0\.0, cluster site-b/)
    expect(screen).toMatch(/volumes from site-a \(NOT REACHED\) · 101 images/)
    expect(screen).toMatch(/volumes\/bad +error .*\n {2}split-brain – both sides were written to/)
    expect(screen).toContain('101 images match, of 101')
  })

  it('speaks of sizes and times as people do', () => {
    expect([0, 1023, 1024, 5 * 2 ** 30, 150 * 2 ** 20].map(formatBytes)).toEqual(['0 B', '1023 B', '1.0 KiB', '5.0 GiB', '150 MiB'])
    expect([5, 119, 120, 7200, 200_000].map(formatDuration)).toEqual(['5s', '119s', '2m', '2h', '2d'])
    expect(sparkline([null, 0, 5, 10], 3)).toBe('▁▅█')
  })
})
