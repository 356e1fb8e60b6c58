import { afterAll, beforeAll, expect, it } from 'vitest'
import { encode, zeroTime } from '../../src/encoding/codec.ts'
import { EventEntry } from '../../src/rbd/journal/events.ts'
import { ImageJournal } from '../../src/rbd/journal/image-journal.ts'
import { LOCAL_MIRROR_UUID } from '../../src/rbd/journal/tag-data.ts'
import { journalOptionsOf } from '../../src/rbd/mirror/journal-switch.ts'
import { loadMirrorInfo } from '../../src/rbd/mirror/mirror-info.ts'
import { describeCeph } from '../support/ceph.ts'
import { contentDigest, expectSameContent } from '../support/compare.ts'
import type { MirrorDaemon } from '../support/daemon.ts'
import { MIB, scribble, startDaemon } from '../support/e2e.ts'
import { replicaSnapshot, waitForState, waitForSync } from '../support/mirroring.ts'
import { comparable, OurRbd } from '../support/rbd-command.ts'
import { RbdClient } from '../support/rbd.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'rbd-cli-failover'

/** Two sites with daemons, on which nobody but our `rbd` is the operator. */
describeCeph('rbd mirror commands run two sites', (pair) => {
  let rbd: { a: OurRbd; b: OurRbd }
  const daemons = new Map<'a' | 'b', MirrorDaemon>()
  const journaled = `${POOL}/journaled`
  const snapshotted = `${POOL}/snapshotted`

  /** A command that has to succeed; resolves with what it prints. */
  async function ok(site: 'a' | 'b', line: string, input?: string): Promise<string> {
    const { code, stdout, stderr } = await rbd[site].run(line.split(' '), input)
    expect({ line, code, stderr }).toEqual({ line, code: 0, stderr: '' })
    return stdout
  }

  beforeAll(async () => {
    await Promise.all([pair.a.createPool(POOL), pair.b.createPool(POOL)])
    rbd = { a: await OurRbd.connect(pair.a), b: await OurRbd.connect(pair.b) }
    await pair.a.rbd('create', journaled, '--size', '16M', '--image-feature', 'layering,exclusive-lock,object-map,fast-diff,journaling')
    await pair.a.rbd('create', snapshotted, '--size', '128M')
  })
  afterAll(async () => {
    for (const daemon of daemons.values()) if (daemon.running) await daemon.stop()
    await Promise.all([rbd?.a.close(), rbd?.b.close()])
  })

  it('make each other peers by a token', async () => {
    await ok('a', `mirror pool enable ${POOL} image --site-name ${pair.a.name}`)
    const token = await ok('a', `mirror pool peer bootstrap create ${POOL}`)
    expect(token).toBe(await pair.a.rbd('mirror', 'pool', 'peer', 'bootstrap', 'create', POOL))
    const refused = await rbd.b.run(['mirror', 'pool', 'peer', 'bootstrap', 'import', 'no-such-pool', '-'], token)
    expect(refused).toMatchObject({ code: 2, stderr: "rbd: error opening pool 'no-such-pool': (2) No such file or directory\n" })
    // pasted from a terminal that has broken the line
    await ok('b', `mirror pool peer bootstrap import --site-name ${pair.b.name} ${POOL} -`, ` ${token.slice(0, 70)}\n${token.slice(70)}\n`)
    for (const site of ['a', 'b'] as const) {
      const other = pair[site === 'a' ? 'b' : 'a'].name
      const info = JSON.parse(await pair[site].rbd('mirror', 'pool', 'info', POOL, '--all', '--format', 'json')) as { mode: string; peers: Record<string, string>[] }
      expect(info).toMatchObject({ mode: 'image', peers: [{ direction: 'rx-tx', site_name: other, client_name: 'client.rbd-mirror-peer' }] })
      expect(info.peers[0]!['mon_host']).toMatch(/^\[v2:127\.0\.0\.1:\d+\/0,v1:127\.0\.0\.1:\d+\/0\]$/)
    }
    await ok('b', `mirror pool peer bootstrap import ${POOL} -`, token) // again: nothing new
    const wrong = token.trim().replace(/^.{8}/, 'AAAAAAAA')
    expect((await rbd.b.run(['mirror', 'pool', 'peer', 'bootstrap', 'import', POOL, '-'], wrong)).code).toBe(22)
  })

  it('show the same status as the installed rbd while images are replicated', async () => {
    const { a, b } = await pair.connect()
    for (const spec of [journaled, snapshotted]) await a.with(spec, 'write', (image) => scribble(image))
    await ok('a', `mirror image enable ${journaled}`)
    await ok('a', `mirror image enable ${snapshotted} snapshot`)
    for (const site of ['a', 'b'] as const) daemons.set(site, startDaemon(pair, { site }))
    await Promise.all([...daemons.values()].map((daemon) => daemon.waitUntilUp()))
    for (const spec of [journaled, snapshotted]) {
      await waitForState(pair.b, spec, 'up+replaying')
      await waitForState(pair.a, spec, 'up+stopped')
    }
    await waitForSync(a, b, snapshotted)
    const masks = [[/"?\{.*\}"?/g, 'FIGURES'], [/replaying, FIGURES.*/g, 'REPLAYING'], [/(<description>replaying, )[^<]*/g, '$1'], [/("description": ?"replaying, )(?:[^"\\]|\\.)*/g, '$1']] as const // prettier-ignore
    for (const site of ['a', 'b'] as const) {
      for (const command of [`image status ${journaled}`, `image status ${snapshotted}`, `pool status ${POOL}`, `pool status ${POOL} --verbose`]) {
        for (const format of ['', ' --format json', ' --format xml --pretty-format']) {
          const args = `mirror ${command}${format}`.split(' ')
          await waitFor(
            `ours and the installed rbd to say the same of ${args.join(' ')} on ${site}`,
            async () => {
              const [ours, theirs] = [await rbd[site].run(args), await pair[site].tryRbd(args)]
              return JSON.stringify(comparable(ours, masks)) === JSON.stringify(comparable(theirs, masks))
            },
            { timeout: 10_000, interval: 100 },
          )
        }
      }
    }
  })

  it('do not demote before the image has what a client had journaled that has died', async () => {
    const clients = await pair.connect()
    const data = Buffer.alloc(8192, 'journaled, never written')
    await using client = await RbdClient.connect(pair.a)
    const image = await client.open(POOL, 'journaled', { access: 'read-only' })
    const own = await ImageJournal.open(journalOptionsOf(image))
    const [newest] = own.committed
    const predecessor = { mirrorUuid: LOCAL_MIRROR_UUID, commitValid: true, tagTid: newest!.tagTid, entryTid: newest!.entryTid }
    const { tid } = await own.allocateTag({ mirrorUuid: LOCAL_MIRROR_UUID, predecessor })
    const event = { type: 'aioWrite' as const, offset: 4 * MIB + 512, length: data.length, data }
    await own.journal.record(tid).append(encode(EventEntry, { event, timestamp: zeroTime }))
    await own.close()
    await ok('a', `mirror image demote ${journaled}`)
    for (const site of ['a', 'b'] as const) {
      await waitFor(`the write on ${site}`, () =>
        clients[site].with(journaled, 'read-only', async (opened) => {
          const read = Buffer.alloc(data.length)
          await opened.read(event.offset, read)
          return read.equals(data)
        }),
      )
    }
    await ok('a', `mirror image promote ${journaled}`)
    // until it hears of that, the other site may take the image as well
    await using other = await RbdClient.connect(pair.b)
    const replica = await other.open(POOL, 'journaled', { access: 'read-only' })
    await waitFor('the replica to follow again', async () => (await loadMirrorInfo(replica.io, replica.id)).promotion.state === 'non-primary')
  })

  it('move both kinds of images over and back', async () => {
    const clients = await pair.connect()
    for (const [from, to] of [['a', 'b'], ['b', 'a']] as const) {
      for (const spec of [journaled, snapshotted]) {
        await clients[from].with(spec, 'write', (image) => scribble(image))
        expect(await ok(from, `mirror image demote ${spec}`)).toBe('Image demoted to non-primary\n')
        const early = await rbd[to].run(['mirror', 'image', 'promote', spec])
        expect([0, 16, 30]).toContain(early.code) // not yet copied, or in the hands of the daemon
        if (early.code !== 0) await waitFor(`${spec} to be promoted`, async () => (await rbd[to].run(['mirror', 'image', 'promote', spec])).code === 0)
        const before = await clients[from].with(spec, 'read-only', contentDigest)
        expect(await clients[to].with(spec, 'read-only', contentDigest)).toBe(before)
        await waitForState(pair[from], spec, 'up+replaying')
        await clients[to].with(spec, 'write', (image) => scribble(image))
      }
      expect(await ok(to, `mirror image snapshot ${snapshotted}`)).toMatch(/^Snapshot ID: \d+\n$/)
      await waitForSync(clients[to], clients[from], snapshotted)
      await expectSameContent(clients[to], clients[from], snapshotted)
    }
  })

  it('promote in the middle of a sync, back to what was complete, and resync', async () => {
    const { a, b } = await pair.connect()
    const before = await b.with(snapshotted, 'read-only', contentDigest)
    await a.with(snapshotted, 'write', async (image) => {
      for (let offset = 0; offset < 128; offset += 4) await image.write(offset * MIB, Buffer.alloc(4 * MIB, `lost at ${offset}`))
    })
    const snapshot = BigInt(/\d+/.exec(await ok('a', `mirror image snapshot --skip-quiesce ${snapshotted}`))![0])
    await waitFor('the sync to have begun', async () => (await replicaSnapshot(b, snapshotted, snapshot)) !== undefined, { interval: 1, timeout: 30_000 })
    await ok('b', `mirror image promote --force ${snapshotted}`)
    const promoted = await b.with(snapshotted, 'read-only', contentDigest)
    const complete = (await replicaSnapshot(b, snapshotted, snapshot))?.mirror?.complete ?? false
    if (!complete) expect(promoted).toBe(before)
    await ok('b', `mirror image promote --force ${journaled}`)
    for (const spec of [journaled, snapshotted]) {
      await b.with(spec, 'write', (image) => scribble(image))
      await ok('b', `mirror image demote ${spec}`)
      await waitForState(pair.b, spec, 'up+error', /split-brain/)
      expect(await ok('b', `mirror image resync ${spec}`)).toBe('Flagged image for resync from primary\n')
      await waitForState(pair.b, spec, 'up+replaying')
    }
    await waitForSync(a, b, snapshotted)
    await expectSameContent(a, b, snapshotted)
  })

  it('take the images out of mirroring, their replicas with them, and forget the peers', async () => {
    for (const spec of [journaled, snapshotted]) {
      expect(await ok('a', `mirror image disable ${spec}`)).toBe('Mirroring disabled\n')
      await waitFor(`the replica of ${spec} to go`, async () => (await pair.b.tryRbd(['info', spec])).code === 2, { timeout: 30_000 })
    }
    for (const site of ['a', 'b'] as const) {
      const { peers } = JSON.parse(await ok(site, `mirror pool info ${POOL} --format json`)) as { peers: { uuid: string }[] }
      await ok(site, `mirror pool peer remove ${POOL} ${peers[0]!.uuid}`)
      await ok(site, `mirror pool disable ${POOL}`)
      expect(await pair[site].rbd('mirror', 'pool', 'info', POOL)).toBe('Mode: disabled\n')
    }
  })
})
