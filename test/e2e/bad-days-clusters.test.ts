import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { haveCeph } from '../support/ceph.ts'
import type { CephCluster } from '../support/ceph-cluster.ts'
import { expectSameContent } from '../support/compare.ts'
import { MIB, mirrorAndCompare, scribble, startDaemon, TESTED_DAEMON } from '../support/e2e.ts'
import { expectReplayed } from '../support/journal.ts'
import { imageStatus, waitForState, waitForSync } from '../support/mirroring.ts'
import { ClusterPair } from '../support/pair.ts'
import {
  blocklistWatchers,
  expectOthersGoOn,
  imageIdOf,
  instanceOf,
  journalImage,
  mirroring,
  snapshotImage,
  waitForCallout,
  waitForStoredStatus,
  watchersOf,
} from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

/** Quotas and full pools are noticed by these. */
const QUICK_STATISTICS = { mgr_stats_period: '1', mon_tick_interval: '1', osd_heartbeat_interval: '1', osd_client_watch_timeout: '8' }
const WITNESS = 'steady/witness'
const NO_REMOTE = /unable to connect to remote cluster/

// A pair of its own, because its daemons are frozen and killed, and its pools made full.
describe.skipIf(!haveCeph || TESTED_DAEMON === 'stock')('bad days of whole clusters', () => {
  let pair: ClusterPair
  beforeAll(async () => {
    pair = await ClusterPair.start({ options: QUICK_STATISTICS })
  })
  const scenario = mirroring(() => pair, ['steady', 'full', 'blocked'])
  beforeAll(async () => {
    await snapshotImage(pair, WITNESS)
    await mirrorAndCompare(pair, WITNESS)
  })
  afterAll(() => pair?.close())

  const othersGoOn = (timeout?: number) => expectOthersGoOn(pair, scenario, WITNESS, timeout)

  /** Writes half of the image anew; the id of the mirror-snapshot made then. */
  async function rewrite(spec: string): Promise<bigint> {
    const { a } = await pair.connect()
    return a.with(spec, 'write', async (image) => {
      const size = await image.size()
      for (let offset = 0; offset < size; offset += 4 * MIB) await image.write(offset, randomBytes(2 * MIB))
      return image.mirrorSnapshot()
    })
  }

  it('a full pool is told in the status, others go on, and it recovers by itself', async () => {
    const { a, b } = await pair.connect()
    await snapshotImage(pair, 'full/image', { size: '32M' })
    await mirrorAndCompare(pair, 'full/image')
    await journalImage(pair, 'full/journaled')
    await pair.b.ceph('osd', 'pool', 'set-quota', 'full', 'max_bytes', String(4 * MIB))
    await waitFor('the pool to be full', async () => (await pair.b.ceph('osd', 'dump')).includes('full_quota'))
    const id = await rewrite('full/image')
    await a.with('full/journaled', 'write', (image) => scribble(image))
    await waitForStoredStatus(pair, 'full/image', 'error', /no space left on cluster/)
    await waitForStoredStatus(pair, 'full/journaled', 'error', /no space left on cluster/)
    await othersGoOn()
    await pair.b.ceph('osd', 'pool', 'set-quota', 'full', 'max_bytes', '0')
    await waitForSync(a, b, 'full/image', { primarySnapId: id })
    await expectSameContent(a, b, 'full/image', { snapshot: id })
    await waitForState(pair.b, 'full/image', 'up+replaying')
    await expectReplayed(pair, 'full/journaled')
  })

  async function setFullRatio(cluster: CephCluster, ratio: string, full: boolean): Promise<void> {
    const names = ['nearfull', 'backfillfull', 'full']
    for (const name of full ? names : names.toReversed()) await cluster.ceph('osd', `set-${name}-ratio`, ratio)
    await waitFor(`${cluster.name} to be ${full ? '' : 'not '}full`, async () => /flags\S* \S*\bfull\b/.test(await cluster.ceph('osd', 'dump')) === full)
  }

  it('a full cluster, either of them, loses nothing, also when the daemon is started anew meanwhile', async () => {
    const { a, b } = await pair.connect()
    let id: bigint
    try {
      await setFullRatio(pair.b, '0.000001', true)
      id = await rewrite('full/image')
      await waitForStoredStatus(pair, 'full/image', 'error', /no space left on cluster/)
      expect(await scenario.daemon.stop()).toBeLessThan(5_000)
      scenario.daemon = startDaemon(pair)
      await scenario.daemon.waitForLog(/no space left on cluster/) // it leads, and has looked
      await waitForStoredStatus(pair, 'full/image', 'error', /no space left on cluster/)
      await setFullRatio(pair.a, '0.000001', true)
    } finally {
      await setFullRatio(pair.b, '0.95', false)
    }
    try {
      await waitForSync(a, b, 'full/image', { primarySnapId: id })
      await waitForState(pair.b, 'full/image', 'up+replaying')
    } finally {
      await setFullRatio(pair.a, '0.95', false)
    }
    await expectSameContent(a, b, 'full/image', { snapshot: id })
    await othersGoOn()
  })

  it('connections that break again and again on either side in mid-sync lose nothing', async () => {
    const { a, b } = await pair.connect()
    for (const cluster of [pair.a, pair.b]) {
      await scenario.daemon.admin('rbd mirror stop full/image')
      const id = await rewrite('full/image')
      // one in so many messages of the OSD breaks its connection
      await cluster.ceph('tell', 'osd.0', 'config', 'set', 'ms_inject_socket_failures', '60')
      try {
        await scenario.daemon.admin('rbd mirror start full/image')
        await waitForSync(a, b, 'full/image', { primarySnapId: id, interval: 200 })
      } finally {
        await cluster.ceph('tell', 'osd.0', 'config', 'set', 'ms_inject_socket_failures', '0')
      }
      await expectSameContent(a, b, 'full/image', { snapshot: id })
    }
    await othersGoOn()
  })

  it.each(['local', 'remote'] as const)('blocklisted in mid-sync on the %s cluster, it goes on with a new instance and leaves nothing behind', async (side) => {
    const { a, b } = await pair.connect()
    const [cluster, spec, journaled] = [side === 'local' ? pair.b : pair.a, `blocked/${side}`, `blocked/journal-${side}`]
    await snapshotImage(pair, spec, { size: '64M' })
    await mirrorAndCompare(pair, spec)
    await journalImage(pair, journaled)
    const before = await instanceOf(scenario, 'blocked')
    const id = await rewrite(spec)
    await a.with(journaled, 'write', (image) => scribble(image))
    // the daemon's own clients: each of its connections watches one of these and nobody else does
    await blocklistWatchers(cluster, 'blocked', side === 'local' ? 'rbd_mirror_leader' : 'rbd_mirroring')
    await a.with(journaled, 'write', (image) => scribble(image))
    try {
      await waitForSync(a, b, spec, { primarySnapId: id })
      await expectSameContent(a, b, spec, { snapshot: id })
      await expectReplayed(pair, journaled)
      if (side === 'local') await waitFor('a new instance', async () => ((await instanceOf(scenario, 'blocked')) ?? 0n) > before!)
      await mirrorAndCompare(pair, spec)
      await othersGoOn()
      expect(await watchersOf(pair.b, 'blocked', 'rbd_mirror_leader')).toHaveLength(1)
      const header = `rbd_header.${await imageIdOf(pair.b, spec)}`
      await waitFor('only one watcher of the image', async () => (await watchersOf(pair.b, 'blocked', header)).length === 1, { timeout: 10_000 })
    } finally {
      await cluster.ceph('osd', 'blocklist', 'clear')
    }
  })

  it('a revoked key is told in a callout, and a new one is taken up', async () => {
    const pool = 'revoked'
    const user = 'client.bad-day'
    await Promise.all([pair.a.createPool(pool), pair.b.createPool(pool)])
    for (const cluster of [pair.a, pair.b]) await cluster.rbd('mirror', 'pool', 'enable', pool, 'image')
    const keyFile = join(pair.folder, 'bad-day.key')
    const newKey = async () => {
      await pair.a.ceph('auth', 'get-or-create', user, 'mon', 'profile rbd-mirror-peer', 'osd', 'profile rbd')
      writeFileSync(keyFile, await pair.a.ceph('auth', 'get-key', user), { mode: 0o600 })
    }
    await newKey()
    const access = ['--remote-mon-host', pair.a.monHost, '--remote-key-file', keyFile]
    const uuid = (await pair.b.rbd('mirror', 'pool', 'peer', 'add', pool, `${user}@${pair.a.name}`, ...access)).trim()
    await waitFor('the remote to know of us', async () => (await pair.a.rbd('mirror', 'pool', 'info', pool)).includes('tx-only'))
    await snapshotImage(pair, `${pool}/image`)
    await mirrorAndCompare(pair, `${pool}/image`)

    await pair.a.ceph('auth', 'rm', user)
    // what is connected stays so until its tickets run out: have it connect anew
    await blocklistWatchers(pair.a, pool, 'rbd_mirroring')
    await waitForCallout(pair, pool, NO_REMOTE)
    await waitForState(pair.b, `${pool}/image`, 'up+unknown', /^remote cluster is unreachable$/)
    await newKey()
    await pair.b.rbd('mirror', 'pool', 'peer', 'set', pool, uuid, 'key-file', keyFile)
    await waitForState(pair.b, `${pool}/image`, 'up+replaying')
    await waitForCallout(pair, pool, NO_REMOTE, false)
    await mirrorAndCompare(pair, `${pool}/image`)
    await othersGoOn()
    expect(scenario.daemon.log()).not.toContain(readFileSync(keyFile, 'utf8').trim())
  })

  it('a frozen remote OSD is told while the local side goes on, and monitors may be killed', async () => {
    await pair.a.pauseDaemon('osd.0')
    const before = (await imageStatus(pair.b, WITNESS))?.last_update
    try {
      const status = await waitForState(pair.b, WITNESS, 'up+unknown', /^remote cluster is unreachable$/)
      expect(status.last_update).not.toBe(before)
      await waitForCallout(pair, 'steady', NO_REMOTE)
    } finally {
      pair.a.resumeDaemon('osd.0')
    }
    await waitForState(pair.b, WITNESS, 'up+replaying')
    await othersGoOn()
    for (const cluster of [pair.a, pair.b]) {
      await cluster.killDaemon('mon.x')
      await cluster.startDaemon('mon.x')
    }
    await othersGoOn(30_000)
    await waitForCallout(pair, 'steady', NO_REMOTE, false)
  })

  it('a remote cluster that does not answer does not hold up a stop', async () => {
    await pair.a.pause()
    try {
      expect(await scenario.daemon.stop()).toBeLessThan(5_000)
      await waitForState(pair.b, WITNESS, 'down+stopped')
    } finally {
      pair.a.resume()
    }
    expect(await watchersOf(pair.b, 'steady', 'rbd_mirror_leader')).toEqual([])
  })
})
