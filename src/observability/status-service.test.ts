import { once } from 'node:events'
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { matchesGlob } from '../base/glob.ts'
import { silentLog } from '../base/log.ts'
import { HttpServer } from './http-server.ts'
import { Metrics } from './metrics.ts'
import { readStatusPage } from './status-page.ts'
import { statusRoutes } from './status-service.ts'
import type { ImagePage, StatusView } from './status-view.ts'

let metrics: Metrics
let server: HttpServer
let healthy = true
let ready = true
let scraping: Promise<void> | undefined

beforeEach(async () => {
  healthy = ready = true
  scraping = undefined
  metrics = new Metrics()
  server = await listen()
})
afterEach(() => server.close())

function listen(port = 0): Promise<HttpServer> {
  async function* page() {
    yield 'one\n'
    await scraping
    yield 'two\n'
  }
  const routes = statusRoutes({
    metrics,
    identity: { version: '1', cluster: 'site-b', entity: 'client.b', hostname: 'h', startedAt: 5 },
    eventLoop: undefined,
    exposition: () => Promise.resolve({ contentType: 'text/plain; version=0.0.4; charset=utf-8', page } as never),
    health: () => ({ ok: healthy, detail: healthy ? 'ok' : 'stopping' }),
    ready: () => ({ ok: ready, detail: 'connecting' }),
    page: () => Promise.resolve(readStatusPage()),
  })
  return HttpServer.listen({ address: '127.0.0.1', port, routes, log: silentLog })
}

const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${server.port}${path}`, init)
const json = async <T>(path: string) => (await (await get(path)).json()) as T

function image(name: string, more: { pool?: string; namespace?: string } = {}) {
  const row = metrics.image({ pool: 'volumes', namespace: '', peer: 'site-a', ...more, globalImageId: `gid-${name}` })
  row.setName(name)
  row.setState('replaying')
  return row
}

describe('what is served', () => {
  it('has metrics, health and readiness', async () => {
    const page = await get('/metrics')
    expect(page.headers.get('content-type')).toContain('text/plain; version=0.0.4')
    expect(await page.text()).toBe('one\ntwo\n')
    expect([(await get('/healthz')).status, (await get('/readyz')).status]).toEqual([200, 200])
    healthy = ready = false
    const unready = await get('/readyz')
    expect([(await get('/healthz')).status, unready.status, await unready.text()]).toEqual([503, 503, 'connecting\n'])
  })

  it('has a page in one piece, that lets nothing else in', async () => {
    const page = await get('/')
    const html = await page.text()
    expect(html).toContain("new EventSource(")
    expect(html).not.toMatch(/\/\*(STYLE|SCRIPT)\*\//)
    expect(html).not.toMatch(/(src|href)="(?!data:)/)
    expect(html).not.toContain('innerHTML')
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'none'; style-src 'sha256-.{44}'; script-src 'sha256-.{44}'; connect-src 'self'/)
    expect(page.headers.get('x-content-type-options')).toBe('nosniff')
  })

  it('tells how the daemon and its pools are', async () => {
    const a = image('a')
    a.setState('error', 'split-brain')
    image('b').setTimestamps({ replicated: Date.now() / 1000 - 30 })
    const peer = metrics.peer({ pool: 'volumes', peer: 'site-a' })
    peer.setLeader(true)
    peer.setUp(true)
    const status = await json<StatusView>('/api/status')
    expect(status).toMatchObject({ health: 'error', images: 2, daemon: { cluster: 'site-b', entity: 'client.b', pid: process.pid } })
    expect(status.pools).toMatchObject([{ pool: 'volumes', images: 2, states: { error: 1, replaying: 1 } }])
    expect(status.pools[0]!.worstLagSeconds).toBeGreaterThanOrEqual(30)
    expect(status.peers).toMatchObject([{ pool: 'volumes', peer: 'site-a', up: true, leader: true }])
    expect(status.events.map(({ text }) => text)).toEqual(['peer site-a is reached', 'error: split-brain'])
  })

  it('has no secret', async () => {
    image('a').setState('error', 'cannot use key AQBvZ0dnAAAAABAAm5EWl8Bq0Zb2wqJxZ1q8Zw== of the peer')
    const text = (await (await get('/api/status')).text()) + (await (await get('/api/images')).text())
    expect(text).toContain('[redacted]')
    expect(text).not.toContain('AQBvZ0dn')
  })
})

describe('pages of images', () => {
  it('show trouble first, with its cure', async () => {
    image('fine').setTimestamps({ replicated: Date.now() / 1000 })
    const bad = image('bad', { namespace: 'ns' })
    bad.setState('error', 'split-brain')
    const { images } = await json<ImagePage>('/api/images')
    expect(images.map(({ spec }) => spec)).toEqual(['volumes/ns/bad', 'volumes/fine'])
    expect(images[0]).toMatchObject({ health: 'error', reason: 'split_brain', description: 'split-brain', errors: 1 })
    expect(images[0]!.healthText).toContain('rbd mirror image resync')
  })

  it('are cut out of thousands on the server', async () => {
    for (let index = 0; index < 10_000; index++) image(`i${String(index).padStart(5, '0')}`, { pool: index % 2 ? 'odd' : 'even' })
    const page = await json<ImagePage>('/api/images?sort=name&offset=4990&limit=20&pool=odd')
    expect([page.matching, page.total, page.images.length]).toEqual([5000, 10_000, 10])
    expect(page.images[0]!.spec).toBe('odd/i09981')
    expect((await json<ImagePage>('/api/images?q=I00042')).images.map(({ spec }) => spec)).toEqual(['even/i00042'])
    expect((await json<ImagePage>('/api/images?limit=100000')).images).toHaveLength(500)
    expect((await json<ImagePage>('/api/images?offset=100000')).images).toEqual([])
  })

  it.each(['sort=size', 'sort=constructor', 'limit=ten', 'offset=-1', 'health=bad', `q=${'x'.repeat(300)}`])('refuse %s', async (query) => {
    for (const path of ['/api/images', '/api/stream']) {
      const answer = await get(`${path}?${query}`)
      expect(answer.status).toBe(400)
      expect(await answer.text()).toMatch(/\S+ (is|"bad" is)/)
    }
  })

  it('find patterns in linear time', () => {
    expect(['a*c', '*', 'abc', 'a?c', '**c', 'a*b*c*'].map((glob) => matchesGlob(glob, 'abc'))).toEqual(new Array(6).fill(true))
    expect(['a', 'a?', 'b*', '*b', '', 'abcd', '?'].map((glob) => matchesGlob(glob, 'abc'))).toEqual(new Array(7).fill(false))
    const from = performance.now()
    expect(matchesGlob('*a'.repeat(100) + 'b', 'a'.repeat(4000))).toBe(false)
    expect(performance.now() - from).toBeLessThan(500)
  })
})

describe('the stream', () => {
  async function* events(path: string, gone: AbortController) {
    const answer = await get(path, { signal: gone.signal })
    expect(answer.headers.get('content-type')).toBe('text/event-stream')
    let text = ''
    for await (const chunk of answer.body!) {
      text += Buffer.from(chunk as Uint8Array).toString()
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(text.slice(0, end)) ?? []
        text = text.slice(end + 2)
        if (name) yield { name, data: JSON.parse(data!) as ImagePage & StatusView }
      }
    }
  }

  it('tells what changes', async () => {
    const row = image('a')
    const gone = new AbortController()
    const seen: string[] = []
    for await (const { name, data } of events('/api/stream?q=a', gone)) {
      if (name !== 'images') continue
      seen.push(data.images[0]!.state)
      if (seen.length === 1) row.setState('error', 'boom')
      if (seen.at(-1) === 'error') break
    }
    gone.abort()
    expect(seen[0]).toBe('replaying')
  })

  it('has places for so many, and takes new ones when some have left', async () => {
    const clients = await Promise.all(
      Array.from({ length: 16 }, async () => {
        const gone = new AbortController()
        return { gone, status: (await get('/api/stream', { signal: gone.signal })).status }
      }),
    )
    expect(clients.map(({ status }) => status)).toEqual(new Array(16).fill(200))
    const late = await get('/api/stream')
    expect([late.status, late.headers.get('retry-after')]).toEqual([503, '5'])
    expect((await get('/api/status')).status).toBe(200)
    for (const { gone } of clients) gone.abort()
    await expect
      .poll(async () => {
        const gone = new AbortController()
        const { status } = await get('/api/stream', { signal: gone.signal })
        gone.abort()
        return status
      })
      .toBe(200)
  })
})

describe('clients that behave badly', () => {
  const raw = async (text: string) => {
    const socket = connect(server.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(text)
    let answer = ''
    socket.on('data', (chunk) => (answer += chunk.toString()))
    await once(socket, 'close')
    return answer.split('\r\n')[0]
  }

  it('get a clear answer', async () => {
    expect((await get('/nothing')).status).toBe(404)
    expect((await get('/constructor')).status).toBe(404)
    expect((await get(`/api/images?q=${'x'.repeat(3000)}`)).status).toBe(414)
    const posted = await get('/metrics', { method: 'POST', body: 'x' })
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
    expect(await raw('GARBAGE\r\n\r\n')).toBe('HTTP/1.1 400 Bad Request')
    expect(await raw(`GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`)).toContain('431')
    expect((await get('/healthz')).status).toBe(200)
  })

  it('do not get at a loopback server by a name of their own', async () => {
    const status = (host: string) =>
      new Promise((resolve, reject) => {
        request({ port: server.port, host: '127.0.0.1', path: '/api/status', headers: { host } }, (answer) => {
          answer.resume()
          resolve(answer.statusCode)
        })
          .on('error', reject)
          .end()
      })
    expect(await status('evil.example')).toBe(421)
    expect(await status('localhost:1234')).toBe(200)
    expect(await status(`127.0.0.1:${server.port}`)).toBe(200)
  })

  it('wait for a place when too many scrape, and give it back when they leave', async () => {
    let finish = () => undefined as void
    scraping = new Promise((resolve) => (finish = resolve))
    const leaving = new AbortController()
    const scrapes = await Promise.all(Array.from({ length: 8 }, (_, index) => get('/metrics', index === 0 ? { signal: leaving.signal } : {})))
    expect((await get('/metrics')).status).toBe(503)
    leaving.abort()
    await expect.poll(async () => (await get('/metrics', { method: 'HEAD' })).status).toBe(200)
    finish()
    expect(await Promise.all(scrapes.slice(1).map((answer) => answer.text()))).toEqual(new Array(7).fill('one\ntwo\n'))
    await expect.poll(async () => (await get('/metrics')).status).toBe(200)
  })

  it('fifty at once all get their answer', async () => {
    for (let index = 0; index < 1000; index++) image(`i${index}`)
    const answers = await Promise.all(Array.from({ length: 50 }, () => get('/api/images')))
    expect(answers.map(({ status }) => status)).toEqual(new Array(50).fill(200))
    for (const answer of answers) expect(((await answer.json()) as ImagePage).matching).toBe(1000)
  })

  it('can not take the port of another', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    await expect(listen((other.address() as { port: number }).port)).rejects.toMatchObject({ code: 'EADDRINUSE' })
    other.close()
  })

  it('do not keep the server from closing', async () => {
    const stream = await get('/api/stream')
    const from = performance.now()
    await server.close()
    expect(performance.now() - from).toBeLessThan(1000)
    await expect(stream.text()).rejects.toThrow()
    server = await listen()
  })
})
