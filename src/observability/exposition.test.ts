import { createServer } from 'node:net'
import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../base/log.ts'
import { Exposition } from './exposition.ts'
import { HttpServer } from './http-server.ts'
import { Metrics } from './metrics.ts'

let metrics: Metrics
let exposition: Exposition
beforeEach(() => {
  metrics = new Metrics()
  exposition = new Exposition(metrics, { version: '1.2.3', cephVersion: '18.2.7' })
})

async function series(prefix = 'rbd_mirror_'): Promise<string[]> {
  return (await exposition.text()).split('\n').filter((line) => line.startsWith(prefix))
}

const labels = { pool: 'p', namespace: 'n', peer: 'site-a', globalImageId: 'g-1' }

describe('Exposition', () => {
  it('shows an image as it is at the time of the scrape', async () => {
    const image = metrics.image(labels)
    expect(await series('rbd_mirror_image')).toEqual([]) // nobody knows its name yet
    image.setName('i')
    image.setState('replaying')
    image.setTimestamps({ primary: 200 })
    image.setTimestamps({ replicated: 100 })
    image.addBytes(10)
    image.addBytes(5)
    image.setSyncProgress(0.5)
    const where = 'pool="p",namespace="n",image="i",peer="site-a"'
    const seen = await series('rbd_mirror_image')
    expect(seen).toEqual(
      expect.arrayContaining([
        `rbd_mirror_image_state{${where},state="replaying"} 1`,
        `rbd_mirror_image_primary_timestamp_seconds{${where}} 200`,
        `rbd_mirror_image_replicated_timestamp_seconds{${where}} 100`,
        `rbd_mirror_image_bytes_total{${where}} 15`,
        `rbd_mirror_image_sync_progress_ratio{${where}} 0.5`,
        `rbd_mirror_image_info{${where},global_image_id="g-1"} 1`,
      ]),
    )
    expect(seen.join('\n')).not.toContain('journal')

    image.observeSync(2, 30)
    image.setState('error')
    const later = await series('rbd_mirror_image')
    expect(later).toEqual(
      expect.arrayContaining([
        `rbd_mirror_image_state{${where},state="error"} 1`,
        `rbd_mirror_image_errors_total{${where}} 1`,
        `rbd_mirror_image_last_sync_seconds{${where}} 2`,
        `rbd_mirror_image_syncs_total{${where}} 1`,
      ]),
    )
    expect(later.filter((line) => line.startsWith('rbd_mirror_image_state'))).toHaveLength(1)
    expect(later.join('\n')).not.toContain('progress')
  })

  it('forgets an image that is gone, but not what it counted', async () => {
    const image = metrics.image(labels)
    image.setName('i')
    image.observeSync(2, 30)
    image.remove()
    image.remove()
    expect(await series('rbd_mirror_image')).toEqual([])
    expect(metrics.totals()).toMatchObject({ syncs: 1, syncSeconds: 2, syncBytes: 30 })
  })

  it('follows a new name', async () => {
    const image = metrics.image(labels)
    image.setName('old')
    await series()
    image.setName('new')
    const seen = (await series('rbd_mirror_image')).join('\n')
    expect(seen).toContain('image="new"')
    expect(seen).not.toContain('image="old"')
  })

  it('has journal series for images that replay one', async () => {
    const image = metrics.image(labels)
    image.setName('i')
    image.addEntries(7, 1.5)
    image.setEntriesBehind(3)
    const seen = (await series('rbd_mirror_image_journal')).map((line) => line.replace(/\{.*\}/, ''))
    expect(seen.sort()).toEqual([
      'rbd_mirror_image_journal_entries_behind 3',
      'rbd_mirror_image_journal_entries_total 7',
      'rbd_mirror_image_journal_replay_seconds_total 1.5',
    ])
  })

  it('shows peers, queues and the build', async () => {
    const peer = metrics.peer({ pool: 'p', peer: 'site-a' })
    peer.setUp(true)
    peer.setUp(false)
    peer.setLeader(true)
    metrics.setQueueLength('sync', 4)
    const seen = await series()
    expect(seen).toEqual(
      expect.arrayContaining([
        'rbd_mirror_build_info{version="1.2.3",ceph_version="18.2.7"} 1',
        'rbd_mirror_peer_up{pool="p",peer="site-a"} 0',
        'rbd_mirror_peer_connection_losses_total{pool="p",peer="site-a"} 1',
        'rbd_mirror_pool_leader{pool="p",peer="site-a"} 1',
        'rbd_mirror_queue_length{queue="sync"} 4',
        'rbd_mirror_queue_length{queue="deletion"} 0',
      ]),
    )
    peer.remove()
    expect((await series()).join('\n')).not.toContain('site-a')
  })
})

describe('HttpServer', () => {
  let server: HttpServer | undefined
  let healthy = true
  const listen = (port = 0) =>
    HttpServer.listen({
      address: '127.0.0.1',
      port,
      scrape: async () => ({ type: exposition.contentType, text: await exposition.text() }),
      health: () => ({ ok: healthy, detail: healthy ? 'ok' : 'stopping' }),
      log: silentLog,
    })
  afterEach(async () => {
    await server?.close()
    server = undefined
    healthy = true
  })

  it('serves metrics and health', async () => {
    server = await listen()
    const get = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${server!.port}${path}`, { method })
    const page = await get('/metrics')
    expect(page.headers.get('content-type')).toContain('text/plain; version=0.0.4')
    expect(await page.text()).toContain('rbd_mirror_build_info')
    expect([(await get('/healthz')).status, (await get('/x')).status, (await get('/metrics', 'POST')).status]).toEqual([200, 404, 405])
    healthy = false
    expect((await get('/healthz')).status).toBe(503)
  })

  it('rejects when the port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    await expect(listen((other.address() as { port: number }).port)).rejects.toMatchObject({ code: 'EADDRINUSE' })
    other.close()
  })
})
