import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { expectSameContent } from '../support/compare.ts'
import type { MirrorDaemon } from '../support/daemon.ts'
import { mirrorAndCompare, scribble, startDaemon } from '../support/e2e.ts'
import { createMirroredPool, isPrimarySnapshot, waitForState } from '../support/mirroring.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'failover'

describeCeph('failover in snapshot mode, daemons on both sites', (pair) => {
  const daemons: MirrorDaemon[] = []

  beforeAll(async () => {
    await createMirroredPool(pair.a, pair.b, POOL)
    daemons.push(startDaemon(pair, { site: 'a' }), startDaemon(pair, { site: 'b' }))
    await Promise.all(daemons.map((daemon) => daemon.waitUntilUp()))
  })

  afterAll(async () => {
    for (const daemon of daemons) if (daemon.running) await daemon.stop()
  })

  async function newImage(name: string): Promise<string> {
    const spec = `${POOL}/${name}`
    const { a } = await pair.connect()
    await pair.a.rbd('create', spec, '--size', '24M')
    await a.with(spec, 'write', async (image) => {
      await scribble(image)
      await image.enableMirroring('snapshot')
    })
    return spec
  }

  it('goes over and back, again and again, with writes in between and nothing lost', async () => {
    const clients = await pair.connect()
    const spec = await newImage('swinging')
    await mirrorAndCompare(pair, spec)
    let from = 'a' as 'a' | 'b'
    for (let round = 0; round < 4; round++) {
      const to: 'a' | 'b' = from === 'a' ? 'b' : 'a'
      await clients[from].with(spec, 'write', (image) => scribble(image))
      await pair[from].rbd('mirror', 'image', 'demote', spec)
      const demotion = (await clients[from].with(spec, 'read-only', (image) => image.snapshots())).filter(isPrimarySnapshot).at(-1)!
      expect(demotion.mirror!.state).toBe('primary (demoted)')
      await waitFor(
        `${spec} to be promoted on ${to}`,
        async () => {
          const result = await pair[to].tryRbd(['mirror', 'image', 'promote', spec])
          return result.code === 0
        },
        { timeout: 30_000, interval: 200 },
      )
      await expectSameContent(clients[from], clients[to], spec, { snapshot: demotion.id })
      await clients[to].with(spec, 'write', (image) => scribble(image))
      await mirrorAndCompare(pair, spec, { from: to })
      await waitForState(pair[to], spec, 'up+stopped', /local image is primary/)
      await waitForState(pair[from], spec, 'up+replaying', /^replaying, \{/)
      from = to
    }
    for (const site of ['a', 'b'] as const) {
      let left: unknown
      await waitFor(
        `few mirror-snapshots on ${site}`,
        async () => {
          const snapshots = (await clients[site].with(spec, 'read-only', (image) => image.snapshots())).filter(({ mirror }) => mirror)
          left = snapshots.map(({ id, mirror }) => `${id} ${mirror!.state}, ${mirror!.peerCount} peers`).join('; ')
          return snapshots.length <= 4 // as many as the stock daemon leaves
        },
        { timeout: 15_000, detail: () => left },
      )
    }
  })

  it('tells a split-brain after a forced promotion, and a resync ends it', async () => {
    const clients = await pair.connect()
    const spec = await newImage('split')
    await mirrorAndCompare(pair, spec)
    await pair.b.rbd('mirror', 'image', 'promote', '--force', spec)
    await clients.b.with(spec, 'write', (image) => scribble(image))
    await clients.a.with(spec, 'write', (image) => scribble(image))
    await waitForState(pair.b, spec, 'up+stopped', /force promoted|local image is primary/)
    await pair.b.rbd('mirror', 'image', 'demote', spec)
    await waitForState(pair.b, spec, 'up+error', /split-brain/)
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await waitForState(pair.b, spec, 'up+replaying')
    await mirrorAndCompare(pair, spec)
  })

  it('lets a replica stay demoted on both sites until one is promoted', async () => {
    const clients = await pair.connect()
    const spec = await newImage('resting')
    await mirrorAndCompare(pair, spec)
    await pair.a.rbd('mirror', 'image', 'demote', spec)
    await waitForState(pair.b, spec, 'up+unknown', /remote image demoted|remote image is not primary/)
    await pair.a.rbd('mirror', 'image', 'promote', spec)
    await clients.a.with(spec, 'write', (image) => scribble(image))
    await mirrorAndCompare(pair, spec)
    await waitForState(pair.b, spec, 'up+replaying')
  })
})
