import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { EventLoopDelay } from '../../src/observability/event-loop-delay.ts'
import { Exposition } from '../../src/observability/exposition.ts'
import { HttpServer } from '../../src/observability/http-server.ts'
import { Metrics } from '../../src/observability/metrics.ts'
import { statusRoutes } from '../../src/observability/status-service.ts'

const config = fileURLToPath(new URL('../../config', import.meta.url))
const RULES = join(config, 'prometheus/rbd-mirror.rules.yml')
const RULE_TESTS = join(config, 'prometheus/rbd-mirror.test.yml')
const dashboard = JSON.parse(readFileSync(join(config, 'grafana/rbd-mirror.json'), 'utf8')) as Dashboard

interface Dashboard {
  title: string
  templating: { list: { name: string; query: string | { query: string } }[] }
  panels: { id: number; title: string; gridPos: { x: number; y: number; w: number; h: number }; targets: { expr: string }[] }[]
}

const installed = existsSync('/usr/bin/promtool') && existsSync('/usr/bin/prometheus')
const required = process.env['RBD_MIRROR_REQUIRE_CEPH'] === '1'
if (!installed && !required) console.warn('rules and metrics are not tried with Prometheus: apt-get install --no-install-recommends prometheus')
const itWithPrometheus = it.skipIf(!installed && !required)

let metrics: Metrics
let eventLoop: EventLoopDelay
let exposition: Exposition
beforeEach(() => {
  metrics = new Metrics()
  eventLoop = new EventLoopDelay(systemClock)
  const build = { version: '1.2.3', cephVersion: '18.2.7' }
  exposition = new Exposition({ metrics, build, eventLoop, imageLimit: () => 1000, cephNames: () => false })
  fill(metrics)
})
afterEach(() => eventLoop.stop())

/** A table in which everything has a value. */
function fill(table: Metrics): void {
  const now = Date.now() / 1000
  const peer = table.peer({ pool: 'volumes', peer: 'site-a' })
  peer.setLeader(true)
  peer.setUp(true)
  table.bandwidth = () => [{ scope: 'daemon', limit: 1e6, bytes: 1, waitSeconds: 1 }]
  for (const name of ['snapshots', 'journal', 'bad "one"']) {
    const image = table.image({ pool: 'volumes', namespace: '', peer: 'site-a', globalImageId: `gid-${name}` })
    image.setName(name)
    image.setState('replaying')
    image.setTimestamps({ primary: now, replicated: now - 60 })
    image.setPending({ snapshots: 1, bytes: 1000 })
    image.setRpo(600)
    image.observeSync(2, 1000)
    image.setSyncProgress(0.5)
    if (name === 'journal') {
      image.addEntries(5, 1)
      image.setEntriesBehind(2)
    }
    if (name.startsWith('bad')) image.setState('error', 'split-brain')
  }
}

/** What Grafana puts in for its variables. */
const filledIn = (expr: string) => expr.replaceAll('$__rate_interval', '5m').replaceAll(/"\$(instance|pool)"/g, '".*"')
const dashboardExpressions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => filledIn(expr)))

function promtool(args: string[], input?: string): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8', ...(input !== undefined && { input }) })
  return { status, output: stdout + stderr }
}

describe('rules and dashboard', () => {
  it('speak of metrics that the daemon has', async () => {
    const text = await exposition.text()
    const known = new Set(text.split('\n').flatMap((line) => /^([a-z_]+)[{ ]/.exec(line)?.[1] ?? []))
    const rules = readFileSync(RULES, 'utf8')
    const recorded = new Set([...rules.matchAll(/record: (\S+)/g)].map(([, name]) => name!))
    const expressions = [...[...rules.matchAll(/expr: (.*)/g)].map(([, expr]) => expr!), ...dashboardExpressions]
    const used = new Set(expressions.flatMap((expr) => expr.match(/\b(?:rbd_mirror|process|nodejs)[a-z0-9_:]*/g) ?? []))
    expect([...used].filter((name) => !known.has(name) && !recorded.has(name) && !name.startsWith('rbd_mirror_image_replicated'))).toEqual([])
    expect(used.size).toBeGreaterThan(15)
    for (const { query } of dashboard.templating.list.slice(1)) {
      const name = /label_values\((\w+),/.exec((query as { query: string }).query)![1]!
      expect(known).toContain(name)
    }
  })

  it('have panels that do not lie on each other', () => {
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length)
    const taken = new Set<string>()
    for (const { title, gridPos } of dashboard.panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x},${y}`), title).toBe(false)
          taken.add(`${x},${y}`)
        }
      }
    }
  })

  itWithPrometheus('are understood by promtool, and alert when they should', () => {
    expect(promtool(['check', 'rules', RULES])).toMatchObject({ status: 0 })
    expect(promtool(['test', 'rules', RULE_TESTS])).toMatchObject({ status: 0 })
    const folder = mkdtempSync(join(tmpdir(), 'dashboard-'))
    try {
      const file = join(folder, 'dashboard.yml')
      const rules = dashboardExpressions.map((expr, index) => ({ record: `dashboard:${index}`, expr }))
      writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }))
      expect(promtool(['check', 'rules', file])).toMatchObject({ status: 0 })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  itWithPrometheus('metrics are as Prometheus wants them', async () => {
    const own = (await exposition.text()).split('\n').filter((line) => /^(# (HELP|TYPE) )?rbd_mirror_/.test(line))
    expect(promtool(['check', 'metrics'], `${own.join('\n')}\n`)).toEqual({ status: 0, output: '' })
  })

  itWithPrometheus('are loaded by a Prometheus that scrapes the daemon', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'prometheus-'))
    const routes = statusRoutes({
      metrics,
      identity: { version: '1', cluster: 'b', entity: 'client.b', hostname: 'h', startedAt: 0 },
      eventLoop,
      exposition: () => Promise.resolve(exposition),
      health: () => ({ ok: true, detail: 'ok' }),
      ready: () => ({ ok: true, detail: 'ok' }),
      page: () => Promise.reject(new Error('not asked for')),
    })
    const server = await HttpServer.listen({ address: '127.0.0.1', port: 0, routes, log: silentLog })
    const file = join(folder, 'prometheus.yml')
    const global = { scrape_interval: '200ms', scrape_timeout: '200ms', evaluation_interval: '200ms' }
    const scrape = { job_name: 'rbd-mirror', static_configs: [{ targets: [`127.0.0.1:${server.port}`] }] }
    writeFileSync(file, JSON.stringify({ global, rule_files: [RULES], scrape_configs: [scrape] }))
    execFileSync('promtool', ['check', 'config', file])
    const port = await freePort()
    const args = [`--config.file=${file}`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`]
    const prometheus = spawn('prometheus', args, { stdio: 'ignore' })
    const ended = once(prometheus, 'exit')
    try {
      const api = async (path: string) => ((await (await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)).json()) as { data: { [key: string]: unknown[] } }).data
      const eventually = <T>(look: () => Promise<T>) => expect.poll(() => look().catch(() => undefined), { timeout: 20_000, interval: 100 })
      const firing = async () => ((await api('alerts'))['alerts'] as { labels: { alertname: string }; state: string }[]).map(({ labels, state }) => `${labels.alertname} ${state}`)
      await eventually(firing).toContain('RbdMirrorSplitBrain firing')
      const lag = async () => (await api('query?query=rbd_mirror:image_lag_seconds'))['result']!.length
      await eventually(lag).toBe(3)
    } finally {
      prometheus.kill()
      await ended
      await server.close()
      rmSync(folder, { recursive: true })
    }
  }, 60_000)
})

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}
