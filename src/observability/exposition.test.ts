import { beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../base/clock.ts'
import { EventLoopDelay } from './event-loop-delay.ts'
import { Exposition } from './exposition.ts'
import { Metrics } from './metrics.ts'

let metrics: Metrics
let exposition: Exposition
let cephNames = false
beforeEach(() => {
  cephNames = false
  metrics = new Metrics()
  const eventLoop = new EventLoopDelay(systemClock)
  exposition = new Exposition({
    metrics,
    build: { version: '1.2.3', cephVersion: '18.2.7' },
    eventLoop,
    imageLimit: () => 1000,
    cephNames: () => cephNames,
  })
  return () => eventLoop.stop()
})

async function series(prefix = 'rbd_mirror_', query = ''): Promise<string[]> {
  return (await exposition.text(new URLSearchParams(query))).split('\n').filter((line) => line.startsWith(prefix))
}

const ofImages = async (query = '') => (await series('rbd_mirror_image_', query)).sort()
const labels = { pool: 'p', namespace: 'n', peer: 'site-a', globalImageId: 'g-1' }
const where = 'pool="p",namespace="n",image="i",peer="site-a"'

function named(name: string, more: Partial<typeof labels> = {}) {
  const image = metrics.image({ ...labels, globalImageId: `g-${name}`, ...more })
  image.setName(name)
  return image
}

describe('the series of images', () => {
  it('show an image as it is at the time of the scrape', async () => {
    const image = metrics.image(labels)
    expect(await ofImages()).toEqual([]) // nobody knows its name yet
    image.setName('i')
    image.setState('replaying')
    image.setTimestamps({ primary: 200 })
    image.setTimestamps({ replicated: 100 })
    image.addBytes(10)
    image.addBytes(5)
    image.setSyncProgress(0.5)
    image.setPending({ snapshots: 2, bytes: 4096 })
    image.setRpo(600)
    const seen = await ofImages()
    expect(seen).toEqual(
      expect.arrayContaining([
        `rbd_mirror_image_state{${where},state="replaying"} 1`,
        `rbd_mirror_image_health{${where},health="warning",reason="rpo_missed"} 1`,
        `rbd_mirror_image_primary_timestamp_seconds{${where}} 200`,
        `rbd_mirror_image_replicated_timestamp_seconds{${where}} 100`,
        `rbd_mirror_image_rpo_target_seconds{${where}} 600`,
        `rbd_mirror_image_bytes_total{${where}} 15`,
        `rbd_mirror_image_pending_snapshots{${where}} 2`,
        `rbd_mirror_image_pending_bytes{${where}} 4096`,
        `rbd_mirror_image_sync_progress_ratio{${where}} 0.5`,
        `rbd_mirror_image_info{${where},global_image_id="g-1"} 1`,
      ]),
    )
    expect(seen.join('\n')).not.toContain('journal')

    image.observeSync(2, 30)
    image.setState('error', 'split-brain')
    const later = await ofImages()
    expect(later).toEqual(
      expect.arrayContaining([
        `rbd_mirror_image_state{${where},state="error"} 1`,
        `rbd_mirror_image_split_brain{${where}} 1`,
        `rbd_mirror_image_errors_total{${where}} 1`,
        `rbd_mirror_image_last_sync_seconds{${where}} 2`,
        `rbd_mirror_image_syncs_total{${where}} 1`,
      ]),
    )
    expect(later.filter((line) => line.startsWith('rbd_mirror_image_state'))).toHaveLength(1)
    expect(later.join('\n')).not.toContain('progress')
    expect(await series('rbd_mirror_errors_total')).toEqual(['rbd_mirror_errors_total{reason="split_brain"} 1'])
  })

  it('go with an image, but what it counted stays in the sums', async () => {
    const image = named('i')
    image.observeSync(2, 30)
    image.remove()
    image.remove()
    expect(await ofImages()).toEqual([])
    expect(metrics.totals()).toMatchObject({ syncs: 1, syncSeconds: 2, syncBytes: 30 })
    expect(await series('rbd_mirror_syncs_total')).toEqual(['rbd_mirror_syncs_total 1'])
  })

  it('follow a new name, and quote it', async () => {
    const image = named('old')
    await series()
    image.setName('a"b\\c')
    const seen = (await ofImages()).join('\n')
    expect(seen).toContain('image="a\\"b\\\\c"')
    expect(seen).not.toContain('image="old"')
  })

  it('tell of the journal where there is one', async () => {
    const image = named('i')
    image.addEntries(7, 1.5)
    image.setEntriesBehind(3)
    const seen = (await series('rbd_mirror_image_journal')).map((line) => line.replace(/\{.*\}/, ''))
    expect(seen.sort()).toEqual([
      'rbd_mirror_image_journal_entries_behind 3',
      'rbd_mirror_image_journal_entries_total 7',
      'rbd_mirror_image_journal_replay_seconds_total 1.5',
    ])
  })

  it('are limited and filtered by the query, those in error first', async () => {
    for (let index = 0; index < 20; index++) named(`i${index}`, { pool: index < 10 ? 'p' : 'q' })
    ;[...metrics.images][15]!.setState('error', 'boom')
    const names = async (query: string) => (await series('rbd_mirror_image_state', query)).map((line) => /image="([^"]*)"/.exec(line)![1])
    expect(await names('limit=2')).toEqual(['i15', 'i0'])
    expect(await series('rbd_mirror_images_omitted', 'limit=2')).toEqual(['rbd_mirror_images_omitted 18'])
    expect(await names('limit=0')).toEqual([])
    expect(await names('pool=q&image=i1?&health=error')).toEqual(['i15'])
    expect(await names('state=unknown&pool=p')).toHaveLength(10)
    expect(await series('process_', 'aggregates=false')).toEqual([])
    for (const bad of ['limit=-1', 'limit=x', 'state=fine', 'ceph_names=maybe', `image=${'*'.repeat(300)}`]) {
      await expect(series('', bad), bad).rejects.toThrow('is')
    }
  })

  it("have the stock daemon's names when that is wanted", async () => {
    named('i').observeSync(2, 30)
    expect(await series('ceph_')).toEqual([])
    cephNames = true
    expect(await series('ceph_')).toEqual(
      expect.arrayContaining([
        `ceph_rbd_mirror_snapshot_image_snapshots{${where}} 1`,
        `ceph_rbd_mirror_snapshot_image_sync_time_sum{${where}} 2`,
        `ceph_rbd_mirror_snapshot_image_sync_bytes{${where}} 30`,
      ]),
    )
    expect(await series('ceph_', 'ceph_names=false')).toEqual([])
  })

  it('of 10,000 images leave the event loop to others', async () => {
    for (let index = 0; index < 10_000; index++) {
      const image = named(`image-${index}`)
      image.setState('replaying')
      image.setTimestamps({ primary: 2, replicated: 1 })
      image.observeSync(1, 1)
    }
    let longest = 0
    let last = performance.now()
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
    }, 1)
    let pieces = 0
    let lines = 0
    for await (const piece of exposition.page(new URLSearchParams('limit=100000'))) {
      pieces++
      lines += piece.split('\n').length - 1
    }
    clearInterval(timer)
    expect(lines).toBeGreaterThan(120_000)
    expect(pieces).toBeGreaterThan(100)
    // the whole page takes several times as long; generous, for tests run beside each other
    expect(longest).toBeLessThan(200)
  })
})

describe('the sums', () => {
  it('are by pool, state and health', async () => {
    named('a').setState('replaying')
    named('b', { pool: 'q' }).setState('error', 'disconnected')
    const c = named('c', { pool: 'q' })
    c.setState('replaying')
    c.setTimestamps({ replicated: 1000 })
    c.setPending({ snapshots: 3, bytes: 10 })
    named('d', { pool: 'q' }).setPending({ snapshots: 1, bytes: 5 })
    const seen = await series()
    const q = 'pool="q",namespace="n",peer="site-a"'
    expect(seen).toEqual(
      expect.arrayContaining([
        'rbd_mirror_images{pool="p",namespace="n",peer="site-a",state="replaying"} 1',
        `rbd_mirror_images{${q},state="error"} 1`,
        `rbd_mirror_images_health{${q},health="error",reason="disconnected"} 1`,
        `rbd_mirror_pending_snapshots{${q}} 4`,
        `rbd_mirror_pending_bytes{${q}} 15`,
      ]),
    )
    const oldest = Number(seen.find((line) => line.startsWith('rbd_mirror_oldest_replicated_timestamp_seconds'))!.split(' ').at(-1))
    expect(oldest).toBeGreaterThan(999)
    expect(oldest).toBeLessThan(1001)
  })

  it('have a histogram of the syncs', async () => {
    const image = named('i')
    image.observeSync(0.05, 1)
    image.observeSync(3, 1)
    image.observeSync(1e6, 1)
    const pool = 'pool="p",namespace="n",peer="site-a"'
    expect(await series('rbd_mirror_sync_duration')).toEqual(
      expect.arrayContaining([
        `rbd_mirror_sync_duration_seconds_bucket{${pool},le="0.1"} 1`,
        `rbd_mirror_sync_duration_seconds_bucket{${pool},le="5"} 2`,
        `rbd_mirror_sync_duration_seconds_bucket{${pool},le="86400"} 2`,
        `rbd_mirror_sync_duration_seconds_bucket{${pool},le="+Inf"} 3`,
        `rbd_mirror_sync_duration_seconds_count{${pool}} 3`,
      ]),
    )
  })

  it('show peers, queues, bandwidth, the event loop and the build', async () => {
    const peer = metrics.peer({ pool: 'p', peer: 'site-a' })
    expect(await series('rbd_mirror_peer_up')).toEqual([]) // another daemon's business so far
    peer.setLeader(true)
    peer.setUp(true)
    peer.setUp(false)
    peer.queues = () => ({ sync: { waiting: 4, running: 1 }, deletion: { waiting: 0, running: 0 } })
    metrics.bandwidth = () => [{ scope: 'daemon', limit: 1000, bytes: 5, waitSeconds: 0.5 }, { scope: 'pool=p', limit: undefined, bytes: 1, waitSeconds: 0 }]
    const seen = await series()
    expect(seen).toEqual(
      expect.arrayContaining([
        'rbd_mirror_build_info{version="1.2.3",ceph_version="18.2.7"} 1',
        'rbd_mirror_peer_up{pool="p",peer="site-a"} 0',
        'rbd_mirror_peer_connection_losses_total{pool="p",peer="site-a"} 1',
        'rbd_mirror_pool_leader{pool="p",peer="site-a"} 1',
        'rbd_mirror_queue_waiting{pool="p",peer="site-a",queue="sync"} 4',
        'rbd_mirror_queue_running{pool="p",peer="site-a",queue="sync"} 1',
        'rbd_mirror_bandwidth_limit_bytes_per_second{scope="daemon"} 1000',
        'rbd_mirror_bandwidth_bytes_total{scope="pool=p"} 1',
        'rbd_mirror_bandwidth_wait_seconds_total{scope="daemon"} 0.5',
      ]),
    )
    expect(seen.filter((line) => line.startsWith('rbd_mirror_event_loop_delay_seconds'))).toHaveLength(3)
    peer.remove()
    expect((await series()).join('\n')).not.toContain('peer_up{')
  })

  it('are made once for all who ask at the same time', async () => {
    named('i')
    const pages = await Promise.all(Array.from({ length: 20 }, () => exposition.text()))
    expect(new Set(pages).size).toBe(1)
  })
})
