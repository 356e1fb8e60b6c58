import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { beforeAll, describe, expect, it } from 'vitest'
import { ReadOperation, WriteOperation } from '../../src/rados/operation.ts'
import { RBD_MIRRORING } from '../../src/rbd/names.ts'
import { describeCeph } from '../support/ceph.ts'
import type { CephCluster } from '../support/ceph-cluster.ts'
import { expectSameContent } from '../support/compare.ts'
import { MIB, mirrorAndCompare, scribble, startDaemon } from '../support/e2e.ts'
import { expectReplayed } from '../support/journal.ts'
import { mirrorPool, waitForState, waitForSync } from '../support/mirroring.ts'
import { freePorts } from '../support/ports.ts'
import { RbdClient } from '../support/rbd.ts'
import { expectOthersGoOn, imageIdOf, instanceOf, journalImage, mirroring, snapshotImage, waitForCallout, waitForStoredStatus } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const WITNESS = 'bad-steady/witness'
const GARBAGE = Buffer.from('\u0001garbage that is no encoding of anything at all')

describeCeph('bad days of pools, images and what they are written in', (pair) => {
  const scenario = mirroring(() => pair, ['bad-steady', 'bad-deleted', 'bad-moved', 'bad-broken'])
  beforeAll(async () => {
    const images = [WITNESS, 'bad-broken/victim', 'bad-broken/other']
    await Promise.all(images.map((spec) => snapshotImage(pair, spec)))
    for (const spec of images) await mirrorAndCompare(pair, spec)
  })

  const othersGoOn = (timeout?: number) => expectOthersGoOn(pair, scenario, WITNESS, timeout)
  const replicaGone = (spec: string) => waitFor(`the replica of ${spec} to be gone`, async () => (await pair.b.tryRbd(['info', spec])).code === 2)

  it('a deleted remote pool is told, one that comes back is taken up, and a deleted local one is let go', async () => {
    const pool = 'bad-deleted'
    const spec = await snapshotImage(pair, `${pool}/image`)
    await mirrorAndCompare(pair, spec)
    const replica = await imageIdOf(pair.b, spec)
    await pair.a.deletePool(pool)
    await waitForCallout(pair, pool, /unable to access remote pool/)
    await waitForState(pair.b, spec, 'up+unknown', /^remote cluster is unreachable$/)
    await othersGoOn()
    await pair.a.createPool(pool)
    await waitForCallout(pair, pool, /unable to initialize remote pool poller/)
    await pair.a.rbd('mirror', 'pool', 'enable', pool, 'image')
    await waitForState(pair.b, spec, 'up+error', /^remote image does not exist$/)
    expect(await imageIdOf(pair.b, spec)).toBe(replica)
    await pair.b.deletePool(pool)
    await waitFor('the pool to be let go', async () => (await instanceOf(scenario, pool)) === undefined)
    await othersGoOn()
  })

  it('a namespace that is removed under us is let go', async () => {
    const namespace = 'bad-moved/team'
    for (const cluster of [pair.a, pair.b]) {
      await cluster.rbd('namespace', 'create', namespace)
      await cluster.rbd('mirror', 'pool', 'enable', namespace, 'image')
    }
    await snapshotImage(pair, `${namespace}/image`)
    await mirrorAndCompare(pair, `${namespace}/image`)
    await pair.a.rbd('rm', `${namespace}/image`)
    await replicaGone(`${namespace}/image`)
    await waitFor('the trash to be empty', async () => (await pair.b.rbd('trash', 'ls', '--all', namespace)).trim() === '')
    for (const cluster of [pair.a, pair.b]) {
      await cluster.rbd('mirror', 'pool', 'disable', namespace)
      await cluster.rbd('namespace', 'remove', namespace)
    }
    await waitFor('the namespace to be let go', async () => !(await scenario.daemon.admin('rbd mirror status')).includes('"team"'))
    await othersGoOn()
  })

  it('images that are renamed, thrown away or no longer mirrored under us are followed', async () => {
    const { a, b } = await pair.connect()
    const pool = 'bad-moved'
    const spec = `${pool}/renamed`
    await snapshotImage(pair, `${pool}/image`, { size: '64M' })
    await mirrorAndCompare(pair, `${pool}/image`)
    // renamed in mid-sync
    await a.with(`${pool}/image`, 'write', async (image) => {
      for (let offset = 0; offset < 64; offset += 4) await image.write(offset * MIB, randomBytes(2 * MIB))
      return image.mirrorSnapshot()
    })
    await pair.a.rbd('rename', `${pool}/image`, spec)
    const later = await a.with(spec, 'write', (image) => image.mirrorSnapshot())
    await waitFor('the replica to be renamed', async () => (await pair.b.tryRbd(['info', spec])).code === 0)
    await waitForSync(a, b, spec, { primarySnapId: later })
    await expectSameContent(a, b, spec, { snapshot: later })
    // an operator takes the replica out of mirroring and throws it away: it is made again
    const before = await imageIdOf(pair.b, spec)
    await pair.b.rbd('mirror', 'image', 'disable', '--force', spec)
    await waitFor('the replica to be thrown away', async () => {
      const removed = await pair.b.tryRbd(['rm', spec])
      return removed.code === 0 || (await imageIdOf(pair.b, spec)) !== before
    })
    await mirrorAndCompare(pair, spec)
    expect(await imageIdOf(pair.b, spec)).not.toBe(before)
    // mirroring of the primary disabled and enabled again
    await pair.a.rbd('mirror', 'image', 'disable', spec)
    await replicaGone(spec)
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'snapshot')
    await mirrorAndCompare(pair, spec)
    // mirroring of the whole pool disabled and enabled again
    await pair.a.rbd('mirror', 'image', 'disable', spec)
    await replicaGone(spec)
    for (const cluster of [pair.a, pair.b]) {
      const { peers } = await cluster.rbdJson<{ peers: { uuid: string }[] }>('mirror', 'pool', 'info', pool)
      for (const { uuid } of peers) await cluster.rbd('mirror', 'pool', 'peer', 'remove', pool, uuid)
      await cluster.rbd('mirror', 'pool', 'disable', pool)
    }
    await waitFor('the pool to be let go', async () => (await instanceOf(scenario, pool)) === undefined)
    await mirrorPool(pair.a, pair.b, pool)
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'snapshot')
    await mirrorAndCompare(pair, spec)
    await othersGoOn()
  })

  describe('with objects that make no sense', () => {
    const POOL = 'bad-broken'
    const VICTIM = `${POOL}/victim`

    const victimId = (site: 'a' | 'b') => imageIdOf(pair[site], VICTIM)
    const restart = (spec = VICTIM) => scenario.daemon.admin(`rbd mirror restart ${spec}`)
    const notifyMirroring = (cluster: CephCluster) => cluster.rados('-p', POOL, 'notify', RBD_MIRRORING, 'look')
    const otherGoesOn = () => mirrorAndCompare(pair, `${POOL}/other`)
    const recovered = async () => {
      await mirrorAndCompare(pair, VICTIM)
      await waitForState(pair.b, VICTIM, 'up+replaying')
    }

    async function change(cluster: CephCluster, oid: string, operation: WriteOperation): Promise<void> {
      await using client = await RbdClient.connect(cluster)
      await (await client.pool(POOL)).write(oid, operation)
    }

    /** Puts garbage in an omap entry; the returned function puts back what was there. */
    async function spoil(cluster: CephCluster, oid: string, key: string): Promise<() => Promise<void>> {
      await using client = await RbdClient.connect(cluster)
      const io = await client.pool(POOL)
      const operation = new ReadOperation()
      const handle = operation.omapGetByKeys([key])
      const before = (await io.read(oid, operation)).get(handle).get(key)
      await io.write(oid, new WriteOperation().omapSet(new Map([[key, GARBAGE]])))
      const cure = before ? new WriteOperation().omapSet(new Map([[key, before]])) : new WriteOperation().omapRemoveKeys([key])
      return () => change(cluster, oid, cure)
    }

    /** Overwrites an object that is there. */
    async function overwrite(cluster: CephCluster, oid: string): Promise<void> {
      await using client = await RbdClient.connect(cluster)
      const io = await client.pool(POOL)
      await io.stat(oid)
      await io.write(oid, new WriteOperation().writeFull(GARBAGE))
    }

    /** Removes an object that has its data in the omap; the returned function makes it again. */
    async function lose(cluster: CephCluster, oid: string): Promise<() => Promise<void>> {
      await using client = await RbdClient.connect(cluster)
      const io = await client.pool(POOL)
      const { entries } = await io.omapGet(oid, '', '', 1000)
      await io.remove(oid)
      return () => change(cluster, oid, new WriteOperation().omapSet(entries))
    }

    it('a peer entry is told, and the pool goes on', async () => {
      const key = 'mirror_peer_00000000-0000-0000-0000-000000000000'
      const cures = [await spoil(pair.a, RBD_MIRRORING, key), await spoil(pair.b, RBD_MIRRORING, key)]
      await waitForCallout(pair, POOL, /mirroring peer list failed/)
      await restart()
      await cures[0]!() // snapshots for peers can't be made on the primary meanwhile
      await otherGoesOn()
      await cures[1]!()
      await waitForCallout(pair, POOL, /mirroring peer list failed/, false)
    })

    it.each(['a', 'b'] as const)('the entry of an image on site %s is told, and the other images go on', async (site) => {
      const cure = await spoil(pair[site], RBD_MIRRORING, `image_${await victimId(site)}`)
      await restart()
      await notifyMirroring(pair[site])
      await waitForCallout(pair, POOL, /unreadable mirroring entry on (local|remote) cluster: image [0-9a-f]+/)
      if (site === 'a') await waitForStoredStatus(pair, VICTIM, 'error', /^error preparing remote image for replay/)
      await otherGoesOn()
      await cure()
      await notifyMirroring(pair[site])
      await recovered()
      await waitForCallout(pair, POOL, /unreadable/, false)
    })

    it.each([
      ['a', 'mirror-snapshot'],
      ['b', 'mirror-snapshot'],
      ['a', 'size'],
      ['b', 'object_prefix'],
    ] as const)('a header on site %s (%s) is told in the status', async (site, what) => {
      const client = (await pair.connect())[site]
      const snapshots = await client.with(VICTIM, 'read-only', (image) => image.snapshots())
      const newest = snapshots.findLast(({ mirror }) => mirror)!
      const key = what === 'mirror-snapshot' ? `snapshot_${newest.id.toString(16).padStart(16, '0')}` : what
      const cure = await spoil(pair[site], `rbd_header.${await victimId(site)}`, key)
      await restart()
      await waitForStoredStatus(pair, VICTIM, 'error', /./)
      await otherGoesOn()
      await cure()
      await recovered()
    })

    it.each([
      ['a', 'client_'],
      ['a', 'active_set'],
      ['b', 'client_'],
    ] as const)('a journal header on site %s (%s) is told in the status', async (site, key) => {
      const spec = await journalImage(pair, `${POOL}/journal-${site}-${key.replace('_', '')}`)
      const cure = await spoil(pair[site], `journal.${await imageIdOf(pair[site], spec)}`, key)
      await restart(spec)
      await waitForStoredStatus(pair, spec, 'error', /./)
      await otherGoesOn()
      await cure()
      const { a } = await pair.connect()
      await a.with(spec, 'write', (image) => scribble(image))
      await waitForState(pair.b, spec, 'up+replaying')
      await expectReplayed(pair, spec)
    })

    it.each(['snapshot', 'journal'])('a lost header of a primary in %s mode is told and does not cost the replica', async (mode) => {
      const spec = mode === 'journal' ? await journalImage(pair, `${POOL}/lost-journal`) : VICTIM
      const replica = await imageIdOf(pair.b, spec)
      const id = await imageIdOf(pair.a, spec)
      const restore = await lose(pair.a, mode === 'journal' ? `journal.${id}` : `rbd_header.${id}`)
      await restart(spec)
      await waitForStoredStatus(pair, spec, 'error', /^error preparing remote image for replay/)
      await otherGoesOn()
      expect(await imageIdOf(pair.b, spec)).toBe(replica)
      await restore()
      await waitForState(pair.b, spec, 'up+replaying')
    })

    it('an image state is told in the status, and the next one is as good', async () => {
      const { a } = await pair.connect()
      await scenario.daemon.admin(`rbd mirror stop ${VICTIM}`)
      const id = await a.with(VICTIM, 'write', (image) => image.mirrorSnapshot())
      await overwrite(pair.a, `rbd_mirror_snapshot.${await victimId('a')}.${id}.0`)
      await scenario.daemon.admin(`rbd mirror start ${VICTIM}`)
      await waitForStoredStatus(pair, VICTIM, 'error', /image state/)
      await recovered()
    })

    it.each(['a', 'b'] as const)('an object map on site %s is not believed', async (site) => {
      const { a, b } = await pair.connect()
      await scenario.daemon.admin(`rbd mirror stop ${VICTIM}`)
      const id = await a.with(VICTIM, 'write', async (image) => {
        await scribble(image)
        return image.mirrorSnapshot()
      })
      await overwrite(pair[site], `rbd_object_map.${await victimId(site)}${site === 'a' ? `.${id.toString(16).padStart(16, '0')}` : ''}`)
      await scenario.daemon.admin(`rbd mirror start ${VICTIM}`)
      await waitForSync(a, b, VICTIM, { primarySnapId: id })
      await expectSameContent(a, b, VICTIM, { snapshot: id })
      await recovered()
    })
  })

  it('garbage and many connections at the admin socket and the metrics page do no harm', async () => {
    const metricsPort = await freePorts(1)
    await scenario.daemon.stop()
    scenario.daemon = startDaemon(pair, { args: [`--rbd-mirror-metrics-port=${metricsPort}`] })
    await scenario.daemon.waitUntilUp()
    await othersGoOn()
    const send = (bytes: Buffer, end: boolean) =>
      new Promise<void>((resolve) => {
        const socket = connect(scenario.daemon.adminSocket)
        socket.on('error', () => resolve())
        socket.on('close', () => resolve())
        socket.on('data', () => undefined)
        socket.on('connect', () => (end ? socket.end(bytes) : socket.write(bytes)))
        setTimeout(() => socket.destroy(), 1_000)
      })
    const texts = ['', '{"prefix": ', '{"prefix": 5}\0', '[]\0', 'null\0', 'x'.repeat(2 * MIB), '{"prefix":"rbd mirror status"}']
    const inputs = [...texts.map((text) => Buffer.from(text)), Buffer.alloc(4, 255), randomBytes(100), Buffer.alloc(1)]
    await Promise.all(Array.from({ length: 200 }, (_, index) => send(inputs[index % inputs.length]!, index % 3 === 0)))
    expect(JSON.parse(await scenario.daemon.admin('rbd mirror status'))).toHaveProperty('pool_replayers')
    const page = async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${metricsPort}${path}`)
      return [response.status, await response.text()] as const
    }
    const pages = await Promise.all(Array.from({ length: 60 }, (_, index) => page(index % 3 ? '/metrics' : '/%00garbage')))
    // so many at a time are answered, the rest are told to come again
    for (const [index, [status]] of pages.entries()) expect(index % 3 ? [200, 503] : [404]).toContain(status)
    const [status, text] = await page('/metrics')
    expect(status).toBe(200)
    expect(text).toContain('pool="bad-steady"')
    await othersGoOn()
  })
})
