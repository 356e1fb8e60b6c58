import { randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import type { MirrorDaemon } from '../support/daemon.ts'
import { expectSameUserSnapshots, MIB, scribble, startDaemon } from '../support/e2e.ts'
import { expectReplayed, journalStatus, waitForReplay } from '../support/journal.ts'
import { createMirroredPool, imageStatus, waitForState } from '../support/mirroring.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'journal'
const FEATURES = 'layering,exclusive-lock,object-map,fast-diff,journaling'

interface ImageInfo {
  readonly id: string
  readonly size: number
  readonly features: readonly string[]
}

describeCeph('journal mode', (pair) => {
  let daemon: MirrorDaemon

  beforeAll(async () => {
    await Promise.all([pair.a.createPool('journal-data'), pair.b.createPool('journal-data')])
    await createMirroredPool(pair.a, pair.b, POOL)
    daemon = startDaemon(pair)
    await daemon.waitUntilUp()
  })

  afterAll(async () => {
    if (daemon.running) await daemon.stop()
  })

  async function newImage(name: string, ...options: string[]): Promise<string> {
    const spec = `${POOL}/${name}`
    const objectSize = options.includes('--journal-object-size') ? [] : ['--journal-object-size', '1M']
    await pair.a.rbd('create', spec, '--size', '32M', '--image-feature', FEATURES, ...objectSize, ...options)
    return spec
  }

  async function mirroredImage(name: string, ...options: string[]): Promise<string> {
    const spec = await newImage(name, ...options)
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    await waitForState(pair.b, spec, 'up+replaying')
    return spec
  }

  const write = async (spec: string, site: 'a' | 'b' = 'a', count = 20) => {
    const clients = await pair.connect()
    await clients[site].with(spec, 'write', (image) => scribble(image, { count }))
  }

  it('copies what an image holds when mirroring begins, snapshots included, and then follows every write', async () => {
    const { a } = await pair.connect()
    const spec = await newImage('first')
    await write(spec)
    await pair.a.rbd('snap', 'create', `${spec}@one`)
    await write(spec)
    await pair.a.rbd('snap', 'create', `${spec}@two`)
    await pair.a.rbd('snap', 'protect', `${spec}@two`)
    await write(spec)
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    await waitForState(pair.b, spec, 'up+replaying')
    await expectReplayed(pair, spec)
    await expectSameUserSnapshots(pair, spec)
    for (let round = 0; round < 5; round++) {
      await write(spec)
      await a.with(spec, 'write', async (image) => {
        await image.discard(4 * MIB, 4 * MIB)
        await image.discard(9 * MIB + 12345, 300_000)
        await image.write(5 * MIB, randomBytes(10_000))
        await image.flush()
      })
    }
    await expectReplayed(pair, spec)
    // the primary notes its own position later than its entries: until then the replica's is ahead of it
    await waitFor('the status to show both at the same position', async () => {
      const { description } = await waitForState(pair.b, spec, 'up+replaying', /"entries_behind_primary":0/)
      const positions = JSON.parse(description.replace('replaying, ', '')) as { primary_position: unknown; non_primary_position: unknown }
      return isDeepStrictEqual(positions.non_primary_position, positions.primary_position)
    })
    expect((await pair.a.rbd('snap', 'ls', '--all', spec)).includes('.rbd-mirror')).toBe(false)
  })

  it('follows every operation', async () => {
    const { a } = await pair.connect()
    const spec = await mirroredImage('operations')
    await write(spec)
    await pair.a.rbd('snap', 'create', `${spec}@s1`)
    await write(spec)
    await pair.a.rbd('snap', 'create', `${spec}@s2`)
    await pair.a.rbd('snap', 'rename', `${spec}@s1`, `${spec}@renamed`)
    await pair.a.rbd('snap', 'protect', `${spec}@renamed`)
    await write(spec)
    await pair.a.rbd('resize', '--no-progress', '--size', '64M', spec)
    await write(spec)
    await expectReplayed(pair, spec)
    await expectSameUserSnapshots(pair, spec)
    await pair.a.rbd('resize', '--no-progress', '--allow-shrink', '--size', '10M', spec)
    await pair.a.rbd('resize', '--no-progress', '--size', '20M', spec)
    await pair.a.rbd('snap', 'rollback', '--no-progress', `${spec}@s2`)
    await pair.a.rbd('snap', 'unprotect', `${spec}@renamed`)
    await pair.a.rbd('snap', 'rm', '--no-progress', `${spec}@renamed`)
    await pair.a.rbd('image-meta', 'set', spec, 'key', 'value')
    await pair.a.rbd('image-meta', 'set', spec, 'other', 'value')
    await pair.a.rbd('image-meta', 'remove', spec, 'other')
    await pair.a.rbd('feature', 'disable', spec, 'fast-diff')
    await pair.a.rbd('snap', 'limit', 'set', spec, '--limit', '7')
    await expectReplayed(pair, spec)
    await expectSameUserSnapshots(pair, spec)
    const renamed = `${POOL}/operations-renamed`
    await pair.a.rbd('rename', spec, renamed)
    await write(renamed)
    await waitFor('the replica to be renamed', async () => (await pair.b.tryRbd(['info', renamed])).code === 0, { timeout: 20_000 })
    await expectReplayed(pair, renamed)
    const [left, right] = await Promise.all([pair.a.rbdJson<ImageInfo>('info', renamed), pair.b.rbdJson<ImageInfo>('info', renamed)])
    expect({ size: right.size, features: right.features }).toEqual({ size: left.size, features: left.features })
    expect(await pair.b.rbdJson('image-meta', 'list', renamed)).toEqual({ key: 'value' })
    expect(await a.with(renamed, 'read-only', (image) => image.size())).toBe(32 * MIB)
  })

  it('reads journals of other shapes, and entries of megabytes', async () => {
    const { a } = await pair.connect()
    const spec = await mirroredImage('shapes', '--journal-splay-width', '7', '--journal-object-size', '64K', '--journal-pool', 'journal-data')
    const large = await mirroredImage('large', '--journal-object-size', '16M', '--journal-splay-width', '1')
    await write(spec, 'a', 40)
    await a.with(large, 'write', async (image) => {
      await image.write(1 * MIB + 77, randomBytes(7 * MIB))
      await image.flush()
    })
    await Promise.all([expectReplayed(pair, spec), expectReplayed(pair, large)])
  })

  it('lets the primary trim its journal', async () => {
    const spec = await mirroredImage('trimmed', '--journal-object-size', '64K')
    for (let round = 0; round < 3; round++) await write(spec)
    await waitForReplay(pair.a, spec)
    await waitFor(
      'old object sets to be removed',
      async () => {
        await write(spec, 'a', 1)
        const { minimum_set, active_set } = await journalStatus(pair.a, spec)
        return minimum_set >= active_set - 1
      },
      { timeout: 30_000 },
    )
    await expectReplayed(pair, spec)
  })

  it('goes on after SIGKILL in the middle of a backlog, and flush commits at once', async () => {
    const spec = await mirroredImage('killed')
    await daemon.stop()
    for (let round = 0; round < 10; round++) await write(spec, 'a', 100)
    daemon = startDaemon(pair)
    await daemon.waitUntilUp()
    await waitFor('the replay to begin', async () => /"entries_behind_primary":[1-9]/.test((await imageStatus(pair.b, spec))?.description ?? ''), {
      timeout: 20_000,
      interval: 20,
    }).catch(() => undefined) // it may be over before anybody could see it
    daemon.signal('SIGKILL')
    await daemon.exit()
    await write(spec)
    daemon = startDaemon(pair)
    await daemon.waitUntilUp()
    await waitForState(pair.b, spec, 'up+replaying')
    await daemon.admin(`rbd mirror flush ${spec}`)
    await expectReplayed(pair, spec)
  })

  it('takes over from the stock daemon and hands back without a copy', async () => {
    const spec = await mirroredImage('handed')
    const id = (await pair.b.rbdJson<ImageInfo>('info', spec)).id
    for (const kind of ['stock', undefined] as const) {
      await daemon.stop()
      await write(spec)
      daemon = startDaemon(pair, { ...(kind && { kind }), args: ['--rbd-mirror-journal-poll-age=1'] })
      await write(spec)
      await waitForState(pair.b, spec, 'up+replaying')
      if (kind === 'stock') {
        await daemon.waitUntilUp()
        await waitFor(
          'the stock daemon to commit',
          async () => {
            await daemon.admin(`rbd mirror flush ${spec}`)
            return waitForReplay(pair.a, spec, 1_000).then(
              () => true,
              () => false,
            )
          },
          { timeout: 60_000 },
        )
      }
      await expectReplayed(pair, spec)
      expect((await pair.b.rbdJson<ImageInfo>('info', spec)).id).toBe(id)
    }
  })

  it('ends at a demotion, follows an orderly failover, and tells split-brain after a forced one', async () => {
    const spec = await mirroredImage('owned')
    await using other = startDaemon(pair, { site: 'a' })
    await waitForState(pair.a, spec, 'up+stopped', /local image is primary/)
    expect(other.running).toBe(true)
    let from = 'a' as 'a' | 'b'
    for (let round = 0; round < 3; round++) {
      const to: 'a' | 'b' = from === 'a' ? 'b' : 'a'
      await write(spec, from)
      await pair[from].rbd('mirror', 'image', 'demote', spec)
      await waitFor('promotion', async () => (await pair[to].tryRbd(['mirror', 'image', 'promote', spec])).code === 0, { timeout: 30_000, interval: 100 })
      await write(spec, to)
      await waitForState(pair[from], spec, 'up+replaying')
      await expectReplayed(pair, spec, { from: to })
      await waitForState(pair[to], spec, 'up+stopped', /local image is primary/)
      from = to
    }
    const to = from === 'a' ? 'b' : 'a'
    await pair[to].rbd('mirror', 'image', 'promote', '--force', spec)
    await write(spec, to)
    await waitForState(pair[to], spec, 'up+stopped', /local image is primary|force promoted/)
    await pair[to].rbd('mirror', 'image', 'demote', spec)
    await waitForState(pair[to], spec, 'up+error', /split-brain/)
    await pair[to].rbd('mirror', 'image', 'resync', spec)
    await waitForState(pair[to], spec, 'up+replaying')
    await write(spec, from)
    await expectReplayed(pair, spec, { from })
  })
})
