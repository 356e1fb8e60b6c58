import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getId } from '../../src/cls/rbd/client.ts'
import { mirrorImageGet, mirrorImageStatusGet } from '../../src/cls/rbd/mirror-client.ts'
import { ReadOperation, WriteOperation } from '../../src/rados/operation.ts'
import { idObjectName, RBD_MIRRORING } from '../../src/rbd/names.ts'
import { haveCeph } from '../support/ceph.ts'
import type { CephCluster } from '../support/ceph-cluster.ts'
import { expectSameContent } from '../support/compare.ts'
import type { MirrorDaemon } from '../support/daemon.ts'
import { MIB, mirrorAndCompare, scribble, startDaemon, TESTED_DAEMON } from '../support/e2e.ts'
import { expectReplayed } from '../support/journal.ts'
import { createMirroredPool, imageStatus, mirrorPool, waitForState, waitForSync } from '../support/mirroring.ts'
import { ClusterPair } from '../support/pair.ts'
import { freePorts } from '../support/ports.ts'
import { RbdClient } from '../support/rbd.ts'
import { waitFor } from '../support/wait.ts'

/** Quotas and full pools are noticed by these. */
const QUICK_STATISTICS = { mgr_stats_period: '1', mon_tick_interval: '1', osd_heartbeat_interval: '1', osd_client_watch_timeout: '8' }

describe.skipIf(!haveCeph || TESTED_DAEMON === 'stock')('on a bad day', () => {
  let pair: ClusterPair
  let daemon: MirrorDaemon
  let metricsPort: number

  beforeAll(async () => {
    const running = process.env['RBD_MIRROR_CLUSTERS']
    pair = running ? ClusterPair.attach(running) : await ClusterPair.start({ options: QUICK_STATISTICS })
    await createMirroredPool(pair.a, pair.b, 'steady')
    metricsPort = await freePorts(1)
    daemon = startDaemon(pair, { args: [`--rbd-mirror-metrics-port=${metricsPort}`] })
    await daemon.waitUntilUp()
    await mirroredImage('steady/witness')
    await mirrorAndCompare(pair, 'steady/witness')
  })

  afterAll(async () => {
    if (daemon?.running) await daemon.stop()
    await pair?.close()
  })

  async function mirroredImage(spec: string, size = '16M', ...createOptions: string[]): Promise<void> {
    const { a } = await pair.connect()
    await pair.a.rbd('create', spec, '--size', size, ...createOptions)
    await a.with(spec, 'write', async (image) => {
      await scribble(image)
      await image.enableMirroring('snapshot')
    })
  }

  async function journalImage(spec: string): Promise<void> {
    await pair.a.rbd('create', spec, '--size', '32M', '--image-feature', 'layering,exclusive-lock,object-map,fast-diff,journaling', '--journal-object-size', '1M')
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    await waitForState(pair.b, spec, 'up+replaying')
  }

  /** Another image of another pool is synced now, whatever goes on. */
  async function othersGoOn(timeout = 15_000): Promise<void> {
    const { a } = await pair.connect()
    await a.with('steady/witness', 'write', (image) => scribble(image, { count: 3 }))
    await mirrorAndCompare(pair, 'steady/witness', { timeout })
    expect(daemon.running).toBe(true)
  }

  /** The status as it is stored: the `rbd` command opens the image first, which a full pool or a broken image may not let it. */
  async function waitForStored(spec: string, state: string, description: RegExp, timeout = 20_000): Promise<void> {
    const [pool, name] = spec.split('/')
    await using client = await RbdClient.connect(pair.b)
    const io = await client.pool(pool!)
    const id = await getId.call(io, idObjectName(name!))
    const { globalImageId } = await mirrorImageGet.call(io, RBD_MIRRORING, { imageId: id })
    let seen: unknown
    await waitFor(
      `${spec} to be ${state} with ${String(description)}`,
      async () => {
        const { local } = await mirrorImageStatusGet.call(io, RBD_MIRRORING, { globalImageId })
        seen = local
        return local?.up && local.state === state && description.test(local.description)
      },
      { timeout, interval: 200, detail: () => seen },
    )
  }

  it('a full pool is told in the status, others go on, and it recovers by itself', async () => {
    const { a, b } = await pair.connect()
    await createMirroredPool(pair.a, pair.b, 'full')
    await mirroredImage('full/image', '64M')
    await mirrorAndCompare(pair, 'full/image')
    await journalImage('full/journaled')
    await pair.b.ceph('osd', 'pool', 'set-quota', 'full', 'max_bytes', String(4 * MIB))
    await waitFor('the pool to be full', async () => (await pair.b.ceph('osd', 'dump')).includes('full_quota'))
    const id = await a.with('full/image', 'write', async (image) => {
      for (let offset = 0; offset < 64; offset += 4) await image.write(offset * MIB, randomBytes(2 * MIB))
      return image.mirrorSnapshot()
    })
    await a.with('full/journaled', 'write', (image) => scribble(image))
    await waitForStored('full/image', 'error', /no space left on cluster/)
    await waitForStored('full/journaled', 'error', /no space left on cluster/)
    await othersGoOn()
    await pair.b.ceph('osd', 'pool', 'set-quota', 'full', 'max_bytes', '0')
    await waitForSync(a, b, 'full/image', { primarySnapId: id })
    await expectSameContent(a, b, 'full/image', { snapshot: id })
    await waitForState(pair.b, 'full/image', 'up+replaying')
    await expectReplayed(pair, 'full/journaled')
  })

  async function callouts(pool: string): Promise<string[]> {
    interface Listed {
      daemons: { callouts?: string[] }[]
    }
    const { daemons } = await pair.b.rbdJson<Listed>('mirror', 'pool', 'status', pool, '--verbose')
    return daemons.flatMap(({ callouts: texts = [] }) => texts)
  }

  const waitForCallout = (pool: string, text: string, there = true) =>
    waitFor(`${pool} to be ${there ? 'with' : 'without'} '${text}'`, async () => (await callouts(pool)).includes(text) === there, { timeout: 40_000, interval: 300 })

  async function instanceOf(pool: string): Promise<bigint | undefined> {
    const { pool_replayers: pools } = JSON.parse(await daemon.admin('rbd mirror status')) as { pool_replayers: { pool: string; instance_id?: string }[] }
    const found = pools.find((status) => status.pool === pool)?.instance_id
    return found === undefined ? undefined : BigInt(found)
  }

  const idOf = async (cluster: CephCluster, spec: string) => (await cluster.rbdJson<{ id: string }>('info', spec)).id

  it('a full cluster, either of them, is survived, also by a daemon that starts and stops meanwhile', async () => {
    const { a, b } = await pair.connect()
    await createMirroredPool(pair.a, pair.b, 'brim')
    await mirroredImage('brim/image', '64M')
    await mirrorAndCompare(pair, 'brim/image')
    const fill = async (cluster: CephCluster, ratio: string) => {
      for (const name of ratio === '0.95' ? ['full', 'backfillfull', 'nearfull'] : ['nearfull', 'backfillfull', 'full'])
        await cluster.ceph('osd', `set-${name}-ratio`, ratio)
      await waitFor(`${cluster.name} to be ${ratio} full`, async () => /flags\S* \S*\bfull\b/.test(await cluster.ceph('osd', 'dump')) !== (ratio === '0.95'), { timeout: 20_000 })
    }
    await fill(pair.b, '0.000001')
    const id = await a.with('brim/image', 'write', async (image) => {
      for (let offset = 0; offset < 64; offset += 4) await image.write(offset * MIB, randomBytes(2 * MIB))
      return image.mirrorSnapshot()
    })
    await waitForStored('brim/image', 'error', /no space left on cluster/)
    {
      await using second = startDaemon(pair)
      await second.waitUntilUp()
      expect(await second.stop()).toBeLessThan(5_000)
    }
    await fill(pair.a, '0.000001')
    await fill(pair.b, '0.95')
    await waitForSync(a, b, 'brim/image', { primarySnapId: id })
    await waitForState(pair.b, 'brim/image', 'up+replaying')
    await fill(pair.a, '0.95')
    await expectSameContent(a, b, 'brim/image', { snapshot: id })
    await othersGoOn()
  })

  it('connections that break again and again on either side in mid-sync lose nothing', async () => {
    const { a, b } = await pair.connect()
    await createMirroredPool(pair.a, pair.b, 'torn')
    await mirroredImage('torn/image', '96M')
    await mirrorAndCompare(pair, 'torn/image')
    for (const cluster of [pair.a, pair.b]) {
      await daemon.admin('rbd mirror stop torn/image')
      const id = await a.with('torn/image', 'write', async (image) => {
        for (let offset = 0; offset < 96; offset += 4) await image.write(offset * MIB, randomBytes(2 * MIB))
        return image.mirrorSnapshot()
      })
      // one in so many messages of the OSD breaks its connection
      await cluster.ceph('tell', 'osd.0', 'config', 'set', 'ms_inject_socket_failures', '100')
      try {
        await daemon.admin('rbd mirror start torn/image')
        await waitForSync(a, b, 'torn/image', { primarySnapId: id, interval: 200 })
      } finally {
        await cluster.ceph('tell', 'osd.0', 'config', 'set', 'ms_inject_socket_failures', '0')
      }
      await expectSameContent(a, b, 'torn/image', { snapshot: id })
    }
    await othersGoOn()
  })

  it('a frozen remote OSD is told while the local side goes on, and a remote monitor may be killed', async () => {
    pair.a.pauseDaemon('osd.0')
    const before = (await imageStatus(pair.b, 'steady/witness'))?.last_update
    try {
      const status = await waitForState(pair.b, 'steady/witness', 'up+unknown', /^remote cluster is unreachable$/)
      expect(status.last_update).not.toBe(before)
      await waitForCallout('steady', 'unable to connect to remote cluster')
    } finally {
      pair.a.resumeDaemon('osd.0')
    }
    await waitForState(pair.b, 'steady/witness', 'up+replaying')
    await othersGoOn()
    await pair.a.killDaemon('mon.x')
    await pair.a.startDaemon('mon.x')
    await othersGoOn()
    await waitForCallout('steady', 'unable to connect to remote cluster', false)
  })

  it('a revoked key is told in a callout, and a new one is taken up', async () => {
    const pool = 'revoked'
    const user = 'client.bad-day'
    const caps = ['mon', 'profile rbd-mirror-peer', 'osd', 'profile rbd']
    await Promise.all([pair.a.createPool(pool), pair.b.createPool(pool)])
    for (const cluster of [pair.a, pair.b]) await cluster.rbd('mirror', 'pool', 'enable', pool, 'image')
    const keyFile = join(pair.folder, 'bad-day.key')
    const newKey = async () => {
      await pair.a.ceph('auth', 'get-or-create', user, ...caps)
      writeFileSync(keyFile, await pair.a.ceph('auth', 'get-key', user), { mode: 0o600 })
    }
    await newKey()
    const uuid = (
      await pair.b.rbd('mirror', 'pool', 'peer', 'add', pool, `${user}@${pair.a.name}`, '--remote-mon-host', pair.a.monHost, '--remote-key-file', keyFile)
    ).trim()
    await waitFor('the remote to know of us', async () => (await pair.a.rbd('mirror', 'pool', 'info', pool)).includes('tx-only'))
    await mirroredImage(`${pool}/image`)
    await mirrorAndCompare(pair, `${pool}/image`)

    await pair.a.ceph('auth', 'rm', user)
    // what is connected stays so until its tickets run out: have it connect anew
    await blocklistWatchers(pair.a, pool, 'rbd_mirroring')
    await waitForCallout(pool, 'unable to connect to remote cluster')
    await waitForState(pair.b, `${pool}/image`, 'up+unknown', /^remote cluster is unreachable$/)
    await newKey()
    await pair.b.rbd('mirror', 'pool', 'peer', 'set', pool, uuid, 'key-file', keyFile)
    await waitForState(pair.b, `${pool}/image`, 'up+replaying')
    await waitForCallout(pool, 'unable to connect to remote cluster', false)
    await mirrorAndCompare(pair, `${pool}/image`)
    await othersGoOn()
    expect(daemon.log()).not.toContain(readFileSync(keyFile, 'utf8').trim())
  })

  async function blocklistWatchers(cluster: CephCluster, pool: string, oid: string): Promise<void> {
    const listed = await cluster.rados('-p', pool, 'listwatchers', oid)
    const addresses = [...listed.matchAll(/watcher=(\S+)/g)].map(([, address]) => address!)
    expect(addresses.length).toBeGreaterThan(0)
    for (const address of addresses) await cluster.ceph('osd', 'blocklist', 'add', address, '60')
  }

  it('blocklisted in mid-sync on the local cluster, it goes on with a new instance and leaves nothing behind', async () => {
    const { a, b } = await pair.connect()
    await createMirroredPool(pair.a, pair.b, 'blocked')
    await mirroredImage('blocked/image', '128M')
    await mirrorAndCompare(pair, 'blocked/image')
    await journalImage('blocked/journaled')
    const before = await instanceOf('blocked')
    const id = await a.with('blocked/image', 'write', async (image) => {
      for (let offset = 0; offset < 128; offset += 4) await image.write(offset * MIB, randomBytes(2 * MIB))
      return image.mirrorSnapshot()
    })
    await a.with('blocked/journaled', 'write', (image) => scribble(image))
    await blocklistWatchers(pair.b, 'blocked', 'rbd_mirror_leader')
    await a.with('blocked/journaled', 'write', (image) => scribble(image))
    try {
      await waitForSync(a, b, 'blocked/image', { primarySnapId: id })
      await expectSameContent(a, b, 'blocked/image', { snapshot: id })
      await expectReplayed(pair, 'blocked/journaled')
      await waitFor('a new instance', async () => ((await instanceOf('blocked')) ?? 0n) > before!)
      await mirrorAndCompare(pair, 'blocked/image')
      await othersGoOn()
      expect(await watchersOf(pair.b, 'blocked', 'rbd_mirror_leader')).toBe(1)
      const header = `rbd_header.${await idOf(pair.b, 'blocked/image')}`
      await waitFor('only one watcher of the image', async () => (await watchersOf(pair.b, 'blocked', header)) === 1, { timeout: 10_000 })
    } finally {
      await pair.b.ceph('osd', 'blocklist', 'clear')
    }
  })

  const watchersOf = async (cluster: CephCluster, pool: string, oid: string) =>
    [...(await cluster.rados('-p', pool, 'listwatchers', oid)).matchAll(/watcher=/g)].length

  it('a deleted remote pool is told, one that comes back is taken up, and a deleted local one is let go', async () => {
    await createMirroredPool(pair.a, pair.b, 'deleted')
    await mirroredImage('deleted/image')
    await mirrorAndCompare(pair, 'deleted/image')
    const replica = await idOf(pair.b, 'deleted/image')
    await pair.a.deletePool('deleted')
    await waitForCallout('deleted', 'unable to access remote pool')
    await waitForState(pair.b, 'deleted/image', 'up+unknown', /^remote cluster is unreachable$/)
    await othersGoOn()
    await pair.a.createPool('deleted')
    await waitForCallout('deleted', 'unable to initialize remote pool poller')
    await pair.a.rbd('mirror', 'pool', 'enable', 'deleted', 'image')
    await waitForState(pair.b, 'deleted/image', 'up+error', /^remote image does not exist$/)
    expect(await idOf(pair.b, 'deleted/image')).toBe(replica)
    await pair.b.deletePool('deleted')
    await waitFor('the pool to be let go', async () => (await instanceOf('deleted')) === undefined)
    await othersGoOn()
  })

  it('a namespace that is removed under us is let go', async () => {
    await createMirroredPool(pair.a, pair.b, 'spaces')
    for (const cluster of [pair.a, pair.b]) {
      await cluster.rbd('namespace', 'create', 'spaces/team')
      await cluster.rbd('mirror', 'pool', 'enable', 'spaces/team', 'image')
    }
    await mirroredImage('spaces/team/image')
    await mirrorAndCompare(pair, 'spaces/team/image')
    await pair.a.rbd('rm', 'spaces/team/image')
    await waitFor('the replica to be gone', async () => (await pair.b.tryRbd(['info', 'spaces/team/image'])).code === 2)
    await waitFor('the trash to be empty', async () => (await pair.b.rbd('trash', 'ls', '--all', 'spaces/team')).trim() === '')
    for (const cluster of [pair.a, pair.b]) {
      await cluster.rbd('mirror', 'pool', 'disable', 'spaces/team')
      await cluster.rbd('namespace', 'remove', 'spaces/team')
    }
    await waitFor('the namespace to be let go', async () => !(await daemon.admin('rbd mirror status')).includes('"team"'))
    await othersGoOn()
  })

  it('images that are renamed, thrown away or no longer mirrored under us are followed', async () => {
    const { a, b } = await pair.connect()
    await createMirroredPool(pair.a, pair.b, 'moved')
    await mirroredImage('moved/image', '64M')
    await mirrorAndCompare(pair, 'moved/image')
    // renamed in mid-sync
    const id = await a.with('moved/image', 'write', async (image) => {
      for (let offset = 0; offset < 64; offset += 4) await image.write(offset * MIB, randomBytes(2 * MIB))
      return image.mirrorSnapshot()
    })
    await pair.a.rbd('rename', 'moved/image', 'moved/renamed')
    const later = await a.with('moved/renamed', 'write', (image) => image.mirrorSnapshot())
    expect(later).toBeGreaterThan(id)
    await waitFor('the replica to be renamed', async () => (await pair.b.tryRbd(['info', 'moved/renamed'])).code === 0)
    await waitForSync(a, b, 'moved/renamed', { primarySnapId: later })
    await expectSameContent(a, b, 'moved/renamed', { snapshot: later })
    // an operator takes the replica out of mirroring and throws it away: it is made again
    const before = await idOf(pair.b, 'moved/renamed')
    await pair.b.rbd('mirror', 'image', 'disable', '--force', 'moved/renamed')
    await waitFor('the replica to be thrown away', async () => {
      const removed = await pair.b.tryRbd(['rm', 'moved/renamed'])
      return removed.code === 0 || (await idOf(pair.b, 'moved/renamed')) !== before
    })
    await mirrorAndCompare(pair, 'moved/renamed')
    expect(await idOf(pair.b, 'moved/renamed')).not.toBe(before)
    // mirroring of the primary disabled and enabled again
    await pair.a.rbd('mirror', 'image', 'disable', 'moved/renamed')
    await waitFor('the replica to be gone', async () => (await pair.b.tryRbd(['info', 'moved/renamed'])).code === 2)
    await pair.a.rbd('mirror', 'image', 'enable', 'moved/renamed', 'snapshot')
    await mirrorAndCompare(pair, 'moved/renamed')
    // mirroring of the whole pool disabled and enabled again
    await pair.a.rbd('mirror', 'image', 'disable', 'moved/renamed')
    await waitFor('the replica to be gone', async () => (await pair.b.tryRbd(['info', 'moved/renamed'])).code === 2)
    for (const cluster of [pair.a, pair.b]) {
      const { peers } = await cluster.rbdJson<{ peers: { uuid: string }[] }>('mirror', 'pool', 'info', 'moved')
      for (const { uuid } of peers) await cluster.rbd('mirror', 'pool', 'peer', 'remove', 'moved', uuid)
      await cluster.rbd('mirror', 'pool', 'disable', 'moved')
    }
    await waitFor('the pool to be let go', async () => (await instanceOf('moved')) === undefined)
    await mirrorPool(pair.a, pair.b, 'moved')
    await pair.a.rbd('mirror', 'image', 'enable', 'moved/renamed', 'snapshot')
    await mirrorAndCompare(pair, 'moved/renamed')
    await othersGoOn()
  })

  describe('with objects that make no sense', () => {
    const garbage = '\u0001garbage that is no encoding of anything at all'

    beforeAll(async () => {
      await createMirroredPool(pair.a, pair.b, 'broken')
      for (const name of ['victim', 'other']) await mirroredImage(`broken/${name}`)
      for (const name of ['victim', 'other']) await mirrorAndCompare(pair, `broken/${name}`)
    })

    /** Puts garbage in an omap entry; the returned function puts back what was there. */
    async function spoil(cluster: CephCluster, oid: string, key: string): Promise<() => Promise<void>> {
      await using client = await RbdClient.connect(cluster)
      const io = await client.pool('broken')
      const operation = new ReadOperation()
      const handle = operation.omapGetByKeys([key])
      const before = (await io.read(oid, operation)).get(handle).get(key)
      await io.write(oid, new WriteOperation().omapSet(new Map([[key, Buffer.from(garbage)]])))
      return async () => {
        await using later = await RbdClient.connect(cluster)
        const cured = new WriteOperation()
        if (before) cured.omapSet(new Map([[key, before]]))
        else cured.omapRemoveKeys([key])
        await (await later.pool('broken')).write(oid, cured)
      }
    }

    const notifyMirroring = (cluster: CephCluster) => cluster.rados('-p', 'broken', 'notify', 'rbd_mirroring', 'look')
    const restart = () => daemon.admin('rbd mirror restart broken/victim')
    const victimId = (site: 'a' | 'b') => idOf(pair[site], 'broken/victim')
    const recovered = async () => {
      await mirrorAndCompare(pair, 'broken/victim')
      await waitForState(pair.b, 'broken/victim', 'up+replaying')
    }

    it('a peer entry is told, and the pool goes on', async () => {
      const key = 'mirror_peer_00000000-0000-0000-0000-000000000000'
      const cures = [await spoil(pair.a, RBD_MIRRORING, key), await spoil(pair.b, RBD_MIRRORING, key)]
      await waitFor('the callout', async () => /mirroring peer list failed/.test(await serviceOf('broken')))
      await restart()
      await cures[0]!() // snapshots for peers can't be made on the primary meanwhile
      await mirrorAndCompare(pair, 'broken/other')
      await cures[1]!()
      await waitFor('no callout', async () => !/mirroring peer list failed/.test(await serviceOf('broken')))
    })

    it.each(['a', 'b'] as const)('the entry of an image on site %s is told, and the other images go on', async (site) => {
      const cure = await spoil(pair[site], RBD_MIRRORING, `image_${await victimId(site)}`)
      await restart()
      await notifyMirroring(pair[site])
      await waitFor('the callout', async () => /unreadable mirroring entry on (local|remote) cluster: image [0-9a-f]+/.test(await serviceOf('broken')))
      if (site === 'a') await waitForStored('broken/victim', 'error', /^error preparing remote image for replay$/)
      await mirrorAndCompare(pair, 'broken/other')
      await mirroredImage(`broken/new-${site}`)
      await mirrorAndCompare(pair, `broken/new-${site}`)
      await cure()
      await notifyMirroring(pair[site])
      await recovered()
      await waitFor('no callout', async () => !/unreadable/.test(await serviceOf('broken')))
    })

    it.each(['a', 'b'] as const)('a mirror-snapshot on site %s is told in the status', async (site) => {
      const client = (await pair.connect())[site]
      const snapshots = await client.with('broken/victim', 'read-only', (image) => image.snapshots())
      const snapshot = snapshots.findLast(({ mirror }) => mirror)!
      const key = `snapshot_${snapshot.id.toString(16).padStart(16, '0')}`
      const cure = await spoil(pair[site], `rbd_header.${await victimId(site)}`, key)
      await restart()
      await waitForStored('broken/victim', 'error', /./)
      await mirrorAndCompare(pair, 'broken/other')
      await cure()
      await recovered()
    })

    it.each([
      ['a', 'size'],
      ['b', 'size'],
      ['b', 'object_prefix'],
    ] as const)('a header on site %s (%s) is told in the status', async (site, key) => {
      const cure = await spoil(pair[site], `rbd_header.${await victimId(site)}`, key)
      await restart()
      await waitForStored('broken/victim', 'error', /./)
      await mirrorAndCompare(pair, 'broken/other')
      await cure()
      await recovered()
    })

    it.each([
      ['a', 'client_'],
      ['a', 'active_set'],
      ['a', 'minimum_set'],
      ['b', 'client_'],
    ] as const)('a journal header on site %s (%s) is told in the status', async (site, key) => {
      const spec = `broken/journal-${site}-${key.replace('_', '')}`
      await journalImage(spec)
      const cure = await spoil(pair[site], `journal.${await idOf(pair[site], spec)}`, key)
      await daemon.admin(`rbd mirror restart ${spec}`)
      await waitForStored(spec, 'error', /./)
      await mirrorAndCompare(pair, 'broken/other')
      await cure()
      const { a } = await pair.connect()
      await a.with(spec, 'write', (image) => scribble(image))
      await waitForState(pair.b, spec, 'up+replaying')
      await expectReplayed(pair, spec)
    })

    it.each(['snapshot', 'journal'])("a lost header of a primary in %s mode is told and does not cost the replica", async (mode) => {
      const spec = mode === 'journal' ? 'broken/lost-journal' : 'broken/victim'
      if (mode === 'journal') await journalImage(spec)
      const replica = await idOf(pair.b, spec)
      const id = await idOf(pair.a, spec)
      const restore = await lose(pair.a, mode === 'journal' ? `journal.${id}` : `rbd_header.${id}`)
      await daemon.admin(`rbd mirror restart ${spec}`)
      await waitForStored(spec, 'error', /^error preparing remote image for replay$/)
      await mirrorAndCompare(pair, 'broken/other')
      expect(await idOf(pair.b, spec)).toBe(replica)
      await restore()
      await waitForState(pair.b, spec, 'up+replaying')
    })

    /** Removes an object that has its data in the omap; the returned function makes it again. */
    async function lose(cluster: CephCluster, oid: string): Promise<() => Promise<void>> {
      await using client = await RbdClient.connect(cluster)
      const io = await client.pool('broken')
      const { entries } = await io.omapGet(oid, '', '', 1000)
      await io.remove(oid)
      return async () => {
        await using later = await RbdClient.connect(cluster)
        await (await later.pool('broken')).write(oid, new WriteOperation().omapSet(entries))
      }
    }

    it('an image state is told in the status, and the next one is as good', async () => {
      const { a } = await pair.connect()
      await daemon.admin('rbd mirror stop broken/victim')
      const id = await a.with('broken/victim', 'write', (image) => image.mirrorSnapshot())
      await put(pair.a, `rbd_mirror_snapshot.${await victimId('a')}.${id}.0`)
      await daemon.admin('rbd mirror start broken/victim')
      await waitForState(pair.b, 'broken/victim', 'up+error', /image state/)
      await recovered()
    })

    it.each(['a', 'b'] as const)('an object map on site %s is not believed', async (site) => {
      const { a, b } = await pair.connect()
      await daemon.admin('rbd mirror stop broken/victim')
      const id = await a.with('broken/victim', 'write', async (image) => {
        await scribble(image)
        return image.mirrorSnapshot()
      })
      await put(pair[site], `rbd_object_map.${await victimId(site)}${site === 'a' ? `.${id.toString(16).padStart(16, '0')}` : ''}`)
      await daemon.admin('rbd mirror start broken/victim')
      await waitForSync(a, b, 'broken/victim', { primarySnapId: id })
      await expectSameContent(a, b, 'broken/victim', { snapshot: id })
      await recovered()
    })

    async function put(cluster: CephCluster, oid: string): Promise<void> {
      await using client = await RbdClient.connect(cluster)
      const io = await client.pool('broken')
      await io.stat(oid) // it is there
      await io.write(oid, new WriteOperation().writeFull(Buffer.from(garbage)))
    }

    /** What the daemon says of a pool in the service map: `rbd mirror pool status` fails where the pool is broken. */
    async function serviceOf(pool: string): Promise<string> {
      const services = await pair.b.cephJson<Record<string, Record<string, { status?: { json?: string } }>>>('service', 'status')
      const all = Object.values(services['rbd-mirror'] ?? {})
      const records = all.flatMap(({ status }) => Object.values(JSON.parse(status?.json ?? '{}') as Record<string, { name: string }>))
      return JSON.stringify(records.filter(({ name }) => name === pool))
    }
  })

  it('garbage and many connections at the admin socket and the metrics page do no harm', async () => {
    const send = (bytes: Buffer, end: boolean) =>
      new Promise<void>((resolve) => {
        const socket = connect(daemon.adminSocket)
        socket.on('error', () => resolve())
        socket.on('close', () => resolve())
        socket.on('data', () => undefined)
        socket.on('connect', () => (end ? socket.end(bytes) : socket.write(bytes)))
        setTimeout(() => socket.destroy(), 1_500)
      })
    const inputs = [Buffer.alloc(0), Buffer.from('{"prefix": '), Buffer.from('{"prefix": 5}\0'), Buffer.from('[]\0'), Buffer.from('null\0'), Buffer.alloc(4, 255), randomBytes(100), Buffer.alloc(2 * MIB, 'x'), Buffer.from('{"prefix":"rbd mirror status"}'), Buffer.alloc(1)]
    await Promise.all(Array.from({ length: 200 }, (_, index) => send(inputs[index % inputs.length]!, index % 3 === 0)))
    expect(JSON.parse(await daemon.admin('rbd mirror status'))).toHaveProperty('pool_replayers')
    const url = `http://127.0.0.1:${metricsPort}`
    const pages = await Promise.all(Array.from({ length: 60 }, (_, index) => fetch(`${url}${index % 3 ? '/metrics' : '/%00garbage'}`).then(async (response) => [response.status, await response.text()] as const)))
    for (const [index, [status, text]] of pages.entries()) {
      expect(status).toBe(index % 3 ? 200 : 404)
      if (index % 3) expect(text).toContain('pool="steady"')
    }
    await othersGoOn()
  })

  it('a killed leader is followed by another daemon, also by the stock one, and the other way round', async () => {
    await using second = startDaemon(pair)
    await second.waitUntilUp()
    await daemon.kill()
    daemon = second
    await othersGoOn(40_000)
    await using stock = startDaemon(pair, { kind: 'stock' })
    await stock.waitUntilUp()
    await waitFor('the stock daemon to know its leader', async () => /"leader_instance_id": "\d+"/.test(await stock.admin('rbd mirror status')))
    await second.kill()
    daemon = stock
    await othersGoOn(40_000)
    const third = startDaemon(pair)
    await third.waitUntilUp()
    await stock.kill()
    daemon = third
    await othersGoOn(40_000)
  })
})
