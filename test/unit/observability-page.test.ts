import { existsSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { chromium, type Browser, type Page } from 'playwright-core'
import { silentLog } from '../../src/base/log.ts'
import { HttpServer } from '../../src/observability/http-server.ts'
import { Metrics } from '../../src/observability/metrics.ts'
import { readStatusPage } from '../../src/observability/status-page.ts'
import { statusRoutes } from '../../src/observability/status-service.ts'

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const executablePath = BROWSERS.find((path) => existsSync(path))
const required = process.env['RBD_MIRROR_REQUIRE_CEPH'] === '1'
if (!executablePath && !required) console.warn('the status page is not tried in a browser: apt-get install --no-install-recommends chromium')

const eventually = <T>(look: () => Promise<T>) => expect.poll(look, { timeout: 10_000 })

describe.skipIf(!executablePath && !required)('the status page in a browser', () => {
  let browser: Browser
  let metrics: Metrics
  let server: HttpServer
  let page: Page
  const problems: string[] = []

  beforeAll(async () => {
    if (!executablePath) throw new Error('no browser: apt-get install --no-install-recommends chromium')
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] })
  }, 60_000)
  afterAll(() => browser?.close())

  beforeEach(async () => {
    metrics = new Metrics()
    const stop = metrics.startSampling()
    server = await listen()
    page = await browser.newPage()
    problems.length = 0
    page.on('pageerror', (error) => problems.push(error.message))
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
    page.on('request', (request) => {
      if (new URL(request.url()).host !== `127.0.0.1:${server.port}`) problems.push(`asked for ${request.url()}`)
    })
    return stop
  })
  afterEach(async () => {
    await page.close()
    await server.close()
  })

  const listen = (port = 0) =>
    HttpServer.listen({
      address: '127.0.0.1',
      port,
      routes: statusRoutes({
        metrics,
        identity: { version: '1.0.0', cluster: 'site-b', entity: 'client.b', hostname: 'host-1', startedAt: Date.now() - 5000 },
        eventLoop: undefined,
        exposition: () => Promise.reject(new Error('not here')),
        health: () => ({ ok: true, detail: 'ok' }),
        ready: () => ({ ok: true, detail: 'ok' }),
        page: () => Promise.resolve(readStatusPage()),
      }),
      log: silentLog,
    })
  const url = () => `http://127.0.0.1:${server.port}/`

  function image(name: string, pool = 'volumes') {
    const row = metrics.image({ pool, namespace: '', peer: 'site-a', globalImageId: `gid-${name}` })
    row.setName(name)
    row.setState('replaying')
    row.setTimestamps({ primary: Date.now() / 1000, replicated: Date.now() / 1000 - 10 })
    return row
  }

  it('shows images with state, lag, progress and cause, and follows them live', async () => {
    const peer = metrics.peer({ pool: 'volumes', peer: 'site-a' })
    peer.setLeader(true)
    peer.setUp(true)
    const one = image('one')
    for (let minute = 0; minute < 30; minute++) one.lagHistory.add(minute % 7)
    const two = image('two')
    two.setRpo(5)
    two.setSyncProgress(0)
    two.setSyncProgress(0.42)
    const hostile = image('<img src=x onerror=alert(1)>')
    await page.goto(url())
    const row = (spec: string) => page.locator(`tr[data-image="volumes/${spec}"]`)
    await row('two').waitFor()
    expect(await row('two').innerText()).toMatch(/replaying[\s\S]*\d+ s of 5 s[\s\S]*42 %/)
    expect(await row('two').getAttribute('class')).toBe('warning')
    expect(await row('one').locator('svg.spark path').getAttribute('d')).toMatch(/^M/)
    expect(await page.locator('#pools').innerText()).toMatch(/volumes[\s\S]*peer site-a: reached, leader[\s\S]*3 images/)
    expect(await page.locator('tbody img').count()).toBe(0)
    expect(hostile.name).toContain('onerror')

    one.setState('error', 'split-brain')
    await page.locator('tr.error[data-image="volumes/one"]').waitFor()
    expect(await page.locator('tbody tr').first().getAttribute('data-image')).toBe('volumes/one')
    expect(await row('one').innerText()).toContain('both sides were written to')
    await eventually(() => page.locator('#events li').first().innerText()).toContain('volumes/one: error: split-brain')
    expect(await page.title()).toBe('error: rbd-mirror site-b')
    expect(problems).toEqual([])
  })

  it('pages and filters 10,000 images on the server', async () => {
    for (let index = 0; index < 10_000; index++) image(`i${String(index).padStart(5, '0')}`, index % 2 ? 'odd' : 'even')
    await page.goto(url())
    await page.locator('tbody tr').first().waitFor()
    expect(await page.locator('tbody tr').count()).toBe(50)
    expect(await page.locator('#position').innerText()).toBe('1–50 of 10000')
    await page.locator('#on').click()
    await eventually(() => page.locator('#position').innerText()).toBe('51–100 of 10000')
    await page.selectOption('select[name=pool]', 'odd')
    await eventually(() => page.locator('#position').innerText()).toBe('1–50 of 5000')
    await page.fill('input[name=q]', '0999')
    await eventually(() => page.locator('#position').innerText()).toBe('1–6 of 6')
    await page.selectOption('select[name=health]', 'error')
    await eventually(() => page.locator('#none').isVisible()).toBe(true)
    expect(problems).toEqual([])
  })

  it('fits a phone, and comes back when the daemon does', async () => {
    image('a-volume-with-quite-a-long-name-that-nobody-would-want-to-type-again-and-again')
    await page.setViewportSize({ width: 360, height: 740 })
    await page.goto(url())
    await page.locator('tbody tr').waitFor()
    const widths = await page.evaluate('[document.documentElement.scrollWidth, window.innerWidth]')
    expect((widths as number[])[0]).toBeLessThanOrEqual((widths as number[])[1]!)
    const { port } = server
    await server.close()
    await eventually(() => page.locator('#offline').isVisible()).toBe(true)
    server = await listen(port)
    await eventually(() => page.locator('#offline').isVisible()).toBe(false)
  })
})
