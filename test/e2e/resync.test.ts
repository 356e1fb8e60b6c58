import { randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { mirrorPeerList, mirrorPeerPing, mirrorPeerRemove } from '../../src/cls/rbd/mirror-client.ts'
import { RBD_MIRRORING } from '../../src/rbd/names.ts'
import { describeCeph } from '../support/ceph.ts'
import { contentDigest, expectSameContent } from '../support/compare.ts'
import { expectSameUserSnapshots, MIB, mirrorAndCompare, scribble, startDaemon } from '../support/e2e.ts'
import { latestPrimarySnapshot, waitForState } from '../support/mirroring.ts'
import { crashAgainAndAgain } from '../support/replay.ts'
import { RbdClient, type RbdInfo } from '../support/rbd.ts'
import { imageIdOf, mirroring, split } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'resync'

describeCeph('resync in snapshot mode', (pair) => {
  const scenario = mirroring(() => pair, [POOL])
  const idOf = (spec: string) => imageIdOf(pair.b, spec)

  async function mirrored(name: string, size = '48M'): Promise<string> {
    const spec = `${POOL}/${name}`
    const { a } = await pair.connect()
    await pair.a.rbd('create', spec, '--size', size)
    await a.with(spec, 'write', async (image) => {
      for (let at = 0; at < (await image.size()); at += 4 * MIB) await image.write(at, randomBytes(MIB))
      await image.createSnapshot('common')
      await scribble(image, { count: 5 })
      await image.enableMirroring('snapshot')
    })
    await mirrorAndCompare(pair, spec)
    return spec
  }

  async function resynced(spec: string): Promise<{ last_snapshot_bytes: number }> {
    const { a, b } = await pair.connect()
    const { id } = await latestPrimarySnapshot(a, spec)
    const { description } = await waitForState(pair.b, spec, 'up+replaying', /"replay_state":"idle"/, 20_000)
    await expectSameContent(a, b, spec, { snapshot: id })
    return JSON.parse(description.replace('replaying, ', '')) as { last_snapshot_bytes: number }
  }

  it('moves what differs into the same image, and leaves the snapshots that both have', async () => {
    const spec = await mirrored('split')
    const { b } = await pair.connect()
    const before = await idOf(spec)
    const common = (await b.with(spec, 'read-only', (image) => image.snapshots())).find(({ name }) => name === 'common')!
    await split(pair, spec, { writeAt: 30 * MIB, then: (image) => image.mirrorSnapshot() })
    await waitForState(
      pair.b,
      spec,
      'up+error',
      /^split-brain: this site was promoted at \S+Z \(snapshot \d+\), and has written at most \d+ MiB \(\d objects\) until .*; the other site was primary all the time, and has written at most \d+ MiB \(\d objects\) until /,
    )
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    const { last_snapshot_bytes } = await resynced(spec)
    expect(last_snapshot_bytes).toBeGreaterThan(0)
    expect(last_snapshot_bytes).toBeLessThan(8 * MIB) // of 48 MiB
    expect(await idOf(spec)).toBe(before)
    await expectSameUserSnapshots(pair, spec)
    const after = await b.with(spec, 'read-only', (image) => image.snapshots())
    expect(after.find(({ name }) => name === 'common')?.id).toBe(common.id)
    expect(after.filter(({ mirror }) => mirror)).toHaveLength(1)
    expect(await pair.b.rbd('image-meta', 'list', spec)).not.toContain('resync')
    await mirrorAndCompare(pair, spec)
    // the roles change as if nothing had been
    await pair.a.rbd('mirror', 'image', 'demote', spec)
    await waitForState(pair.b, spec, 'up+unknown', /remote image/)
    await waitFor('the promotion', async () => (await pair.b.tryRbd(['mirror', 'image', 'promote', spec])).code === 0)
  })

  it('waits for a primary, and keeps what is given up where that is wanted', async () => {
    const spec = await mirrored('waiting')
    const { a, b } = await pair.connect()
    await split(pair, spec, { writeAt: 30 * MIB, then: (image) => image.mirrorSnapshot() })
    const givenUp = await b.with(spec, 'read-only', contentDigest)
    await pair.a.rbd('mirror', 'image', 'demote', spec)
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await waitForState(pair.b, spec, 'up+unknown', /not primary.*resync waits/)
    expect(await b.with(spec, 'read-only', contentDigest)).toBe(givenUp)
    await scenario.daemon.setOption('rbd_mirror_resync_keep_snapshot', 'true')
    await pair.a.rbd('mirror', 'image', 'promote', spec)
    await resynced(spec)
    await scenario.daemon.setOption('rbd_mirror_resync_keep_snapshot', 'false')
    const kept = (await b.with(spec, 'read-only', (image) => image.snapshots())).filter(({ name }) => name.startsWith('rbd-mirror-given-up-'))
    expect(kept).toHaveLength(1)
    const digest = await b.with(spec, 'read-only', async (image) => {
      await image.setSnapshot(kept[0]!.id)
      return contentDigest(image)
    })
    expect(digest).toBe(givenUp)
    await a.with(spec, 'write', (image) => scribble(image))
    await mirrorAndCompare(pair, spec)
    expect((await b.with(spec, 'read-only', (image) => image.snapshots())).filter(({ id }) => id === kept[0]!.id)).toHaveLength(1)
  })

  it('begins anew after a crash at any of its writes, and takes up what was asked for while no daemon ran', async () => {
    const spec = await mirrored('crashed')
    await split(pair, spec, { writeAt: 30 * MIB, then: (image) => image.mirrorSnapshot() })
    const before = await idOf(spec)
    await scenario.daemon.stop()
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await crashAgainAndAgain(pair, POOL, 'crashed', 12)
    scenario.daemon = startDaemon(pair)
    await resynced(spec)
    expect(await idOf(spec)).toBe(before)
    await expectSameUserSnapshots(pair, spec)
    await mirrorAndCompare(pair, spec)
  })

  it('is no split-brain when the primary has removed the snapshot that the replica was synced to', async () => {
    const spec = await mirrored('lost-base')
    const { a, b } = await pair.connect()
    await scenario.daemon.stop()
    const synced = await latestPrimarySnapshot(a, spec)
    await a.with(spec, 'write', async (image) => {
      await scribble(image, { count: 3 })
      await image.createSnapshot('later')
      await image.mirrorSnapshot()
    })
    for (const { id, mirror } of await a.with(spec, 'read-only', (image) => image.snapshots())) {
      if (mirror && id <= synced.id) await pair.a.rbd('snap', 'rm', '--snap-id', String(id), spec)
    }
    const common = (await b.with(spec, 'read-only', (image) => image.snapshots())).find(({ name }) => name === 'common')!
    scenario.daemon = startDaemon(pair)
    await resynced(spec)
    await expectSameUserSnapshots(pair, spec)
    expect((await b.with(spec, 'read-only', (image) => image.snapshots())).find(({ name }) => name === 'common')?.id).toBe(common.id)
  })

  it('nor when another peer keeps an older one, with snapshots of users between them', async () => {
    const spec = `${POOL}/older-base`
    const { a } = await pair.connect()
    await pair.a.rbd('create', spec, '--size', '8M')
    await a.with(spec, 'write', (image) => image.enableMirroring('snapshot'))
    await mirrorAndCompare(pair, spec)
    // a third site that has fetched nothing yet
    await using client = await RbdClient.connect(pair.a)
    const io = await client.pool(POOL)
    await mirrorPeerPing.call(io, RBD_MIRRORING, { siteName: 'third', mirrorUuid: 'third-uuid' })
    const third = (await mirrorPeerList.call(io, RBD_MIRRORING)).find(({ siteName }) => siteName === 'third')!
    try {
      await a.with(spec, 'write', async (image) => {
        await image.write(0, randomBytes(MIB))
        await image.mirrorSnapshot()
        await image.write(4 * MIB, randomBytes(4096))
        await image.createSnapshot('between')
        await image.write(4 * MIB + 8192, randomBytes(4096))
      })
      const synced = await mirrorAndCompare(pair, spec)
      await pair.a.rbd('snap', 'rm', '--snap-id', String(synced.mirror!.primarySnapId), spec)
      await a.with(spec, 'write', async (image) => {
        await image.discard(4 * MIB, 4096)
        await image.discard(4 * MIB + 8192, 4096)
        await image.write(4 * MIB + 32_768, randomBytes(4096))
        await image.createSnapshot('after')
        await image.write(0, randomBytes(4096))
      })
      await mirrorAndCompare(pair, spec)
      await expectSameUserSnapshots(pair, spec)
    } finally {
      await mirrorPeerRemove.call(io, RBD_MIRRORING, { uuid: third.uuid })
    }
  })

  it('nor when it removes one that is being copied: what was copied of it counts for nothing', async () => {
    const spec = await mirrored('lost-target', '64M')
    const { a } = await pair.connect()
    await scenario.daemon.setOption('rbd_mirror_bandwidth_limits', '1M')
    const everywhere = async (write: (at: number) => Promise<unknown>) => {
      for (let at = 0; at < 64 * MIB; at += 4 * MIB) await write(at)
    }
    const target = await a.with(spec, 'write', async (image) => {
      await everywhere((at) => image.write(at + MIB, randomBytes(MIB)))
      const id = await image.mirrorSnapshot()
      // now the snapshot has objects of its own, which go with it
      await everywhere((at) => image.write(at + 2 * MIB, randomBytes(4096)))
      return id
    })
    await waitForState(pair.b, spec, 'up+replaying', /"syncing_percent":[1-9]/)
    // an OSD takes its time for that, after each object
    await pair.a.ceph('config', 'set', 'osd', 'osd_snap_trim_sleep_hdd', '0')
    scenario.daemon.signal('SIGSTOP')
    await pair.a.rbd('snap', 'rm', '--snap-id', String(target), spec)
    await using client = await RbdClient.connect(pair.a)
    const io = await client.pool(POOL)
    const last = `rbd_data.${await imageIdOf(pair.a, spec)}.000000000000000f`
    await waitFor('its data to be gone', async () => !(await io.listSnaps(last)).clones.some(({ snaps }) => snaps.includes(target)))
    await pair.a.ceph('config', 'rm', 'osd', 'osd_snap_trim_sleep_hdd')
    scenario.daemon.signal('SIGCONT')
    await scenario.daemon.setOption('rbd_mirror_bandwidth_limits', '')
    await scenario.daemon.waitForLog(/"lost-target".*(removed while it was copied|failed to copy remote image)/)
    await mirrorAndCompare(pair, spec)
    await expectSameUserSnapshots(pair, spec)
  })

  it('makes a new image where that is configured', async () => {
    const spec = await mirrored('anew')
    const before = await idOf(spec)
    await scenario.daemon.setOption('rbd_mirror_resync_mode', 'recreate')
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await waitFor('another image', async () => {
      const result = await pair.b.tryRbd(['info', spec, '--format', 'json'])
      return result.code === 0 && (JSON.parse(result.stdout) as RbdInfo).id !== before
    })
    await resynced(spec)
    await scenario.daemon.setOption('rbd_mirror_resync_mode', 'delta')
  })

  it('makes a new image of one that was flattened while it was primary, where that is a clone still', async () => {
    const parent = await mirrored('parent')
    const spec = `${POOL}/flattened`
    const { a } = await pair.connect()
    await pair.a.rbd('clone', '--rbd-default-clone-format', '2', `${parent}@common`, spec)
    await a.with(spec, 'write', async (image) => {
      await scribble(image, { count: 3 })
      await image.enableMirroring('snapshot')
    })
    await mirrorAndCompare(pair, spec, { timeout: 60_000 })
    await split(pair, spec, { writeAt: 30 * MIB, then: (image) => image.mirrorSnapshot(), promoted: () => pair.b.rbd('flatten', spec) })
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await resynced(spec)
    expect((await pair.b.rbdJson<RbdInfo>('info', spec)).parent?.image).toBe('parent')
    await mirrorAndCompare(pair, spec)
  })
})
