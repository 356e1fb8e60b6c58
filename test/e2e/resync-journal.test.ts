import { expect, it } from 'vitest'
import { clientUnregister } from '../../src/cls/journal/client.ts'
import { describeCeph } from '../support/ceph.ts'
import { contentDigest } from '../support/compare.ts'
import { expectSameUserSnapshots, MIB, scribble, startDaemon } from '../support/e2e.ts'
import { expectReplayed, journalStatus } from '../support/journal.ts'
import { waitForState } from '../support/mirroring.ts'
import { RbdClient, type RbdInfo } from '../support/rbd.ts'
import { crashAgainAndAgain } from '../support/replay.ts'
import { imageIdOf, mirroring, split } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'resync-journal'

describeCeph('resync in journal mode', (pair) => {
  const scenario = mirroring(() => pair, [POOL])
  const idOf = (spec: string) => imageIdOf(pair.b, spec)

  async function mirrored(name: string): Promise<string> {
    const spec = `${POOL}/${name}`
    const { a } = await pair.connect()
    await pair.a.rbd('create', spec, '--size', '32M', '--image-feature', 'layering,exclusive-lock,object-map,fast-diff,journaling', '--journal-object-size', '1M')
    await a.with(spec, 'write', (image) => scribble(image, { count: 10 }))
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    await waitForState(pair.b, spec, 'up+replaying')
    await a.with(spec, 'write', async (image) => {
      await scribble(image, { count: 10 })
      await image.createSnapshot('common')
      await scribble(image, { count: 5 })
    })
    await expectReplayed(pair, spec)
    return spec
  }

  it('moves what differs into the same image, and the roles change afterwards without what was given up coming back', async () => {
    await using other = startDaemon(pair, { site: 'a' })
    const spec = await mirrored('split')
    const { a, b } = await pair.connect()
    const before = await idOf(spec)
    const common = (await b.with(spec, 'read-only', (image) => image.snapshots())).find(({ name }) => name === 'common')!
    await split(pair, spec, { writeAt: 20 * MIB })
    await waitForState(
      pair.b,
      spec,
      'up+error',
      /^split-brain detected: .*; this site was primary until its demotion \(tag \d+\), and has written \d+ entries under tag \d+; the other site is primary, by tag \d+.*, and has written \d+ entries under tag/,
    )
    const givenUp = await b.with(spec, 'read-only', contentDigest)
    await scenario.daemon.setOption('rbd_mirror_resync_keep_snapshot', 'true')
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await waitForState(pair.b, spec, 'up+replaying', /^/, 20_000)
    await scenario.daemon.setOption('rbd_mirror_resync_keep_snapshot', 'false')
    await expectReplayed(pair, spec)
    expect(await idOf(spec)).toBe(before)
    const after = await b.with(spec, 'read-only', (image) => image.snapshots())
    expect(after.find(({ name }) => name === 'common')?.id).toBe(common.id)
    expect(after.map(({ name }) => name.replace(/[0-9].*/, ''))).toEqual(['common', 'rbd-mirror-given-up-', 'later'])
    const kept = after.find(({ name }) => name.startsWith('rbd-mirror-given-up-'))!
    await b.with(spec, 'read-only', async (image) => {
      await image.setSnapshot(kept.id)
      expect(await contentDigest(image)).toBe(givenUp)
    })
    // it goes with the next one
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await waitFor('its removal', async () => !(await b.with(spec, 'read-only', (image) => image.snapshots())).some(({ id }) => id === kept.id))
    await waitForState(pair.b, spec, 'up+replaying')
    await expectSameUserSnapshots(pair, spec)
    await a.with(spec, 'write', (image) => scribble(image))
    await expectReplayed(pair, spec)

    await pair.a.rbd('mirror', 'image', 'demote', spec)
    await waitForState(pair.b, spec, 'up+unknown', /remote image/)
    await waitFor('the promotion', async () => (await pair.b.tryRbd(['mirror', 'image', 'promote', spec])).code === 0)
    await b.with(spec, 'write', (image) => scribble(image))
    await waitForState(pair.a, spec, 'up+replaying')
    await expectReplayed(pair, spec, { from: 'b' })
    await other.stop()
  })

  it('begins anew after a crash at any of its writes, while the daemon did not run', async () => {
    const spec = await mirrored('crashed')
    await split(pair, spec, { writeAt: 20 * MIB })
    const before = await idOf(spec)
    await scenario.daemon.stop()
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await crashAgainAndAgain(pair, POOL, 'crashed', 8)
    scenario.daemon = startDaemon(pair)
    await waitForState(pair.b, spec, 'up+replaying')
    await expectReplayed(pair, spec)
    expect(await idOf(spec)).toBe(before)
    await expectSameUserSnapshots(pair, spec)
  })

  it('is done by itself where the primary has forgotten its replica, and may have dropped what that had not replayed', async () => {
    const spec = await mirrored('forgotten')
    const { a } = await pair.connect()
    const before = await idOf(spec)
    const { id } = await pair.a.rbdJson<RbdInfo>('info', spec)
    const replica = (await journalStatus(pair.a, spec)).registered_clients.find((client) => client.id !== '')!.id
    await scenario.daemon.stop()
    await using client = await RbdClient.connect(pair.a)
    await clientUnregister.call(await client.pool(POOL), `journal.${id}`, { id: replica })
    await a.with(spec, 'write', (image) => scribble(image, { count: 10 }))
    scenario.daemon = startDaemon(pair)
    await waitForState(pair.b, spec, 'up+replaying')
    await expectReplayed(pair, spec)
    expect(await idOf(spec)).toBe(before)
  })

  it('makes a new image of one that was flattened while it was primary, where that is a clone still', async () => {
    const parent = await mirrored('parent')
    const spec = `${POOL}/flattened`
    const { a } = await pair.connect()
    const features = 'layering,exclusive-lock,object-map,fast-diff,deep-flatten,journaling'
    await pair.a.rbd('clone', '--rbd-default-clone-format', '2', '--image-feature', features, `${parent}@common`, spec)
    await a.with(spec, 'write', (image) => scribble(image, { count: 3 }))
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    await waitForState(pair.b, spec, 'up+replaying')
    await expectReplayed(pair, spec)
    await split(pair, spec, { writeAt: 20 * MIB, promoted: () => pair.b.rbd('flatten', spec) })
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await waitForState(pair.b, spec, 'up+replaying', /^/, 20_000)
    await expectReplayed(pair, spec)
    expect((await pair.b.rbdJson<RbdInfo>('info', spec)).parent?.image).toBe('parent')
  })
})
