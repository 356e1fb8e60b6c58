import { beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { contentDigest } from '../support/compare.ts'
import type { MirrorDaemon } from '../support/daemon.ts'
import { MIB, mirrorAndCompare, startDaemon, TESTED_DAEMON } from '../support/e2e.ts'
import { createMirroredPool, replicaSnapshot, waitForState } from '../support/mirroring.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'rollback'
const SIZE = 320

/**
 * Two syncs come before the one that is broken off: the state to go back to is the second's. (The C++ daemon's replicas go back to the
 * first's: each of its snapshots reads as the image did before its sync.)
 */
describeCeph('a promotion in mid-sync', (pair) => {
  beforeAll(() => createMirroredPool(pair.a, pair.b, POOL))

  async function midSync(name: string): Promise<{ spec: string; before: string; daemon: MirrorDaemon }> {
    const { a, b } = await pair.connect()
    const spec = `${POOL}/${name}`
    await pair.a.rbd('create', spec, '--size', `${SIZE}M`)
    await a.with(spec, 'write', async (image) => {
      for (let offset = 0; offset < SIZE; offset += 32) await image.write(offset * MIB, Buffer.alloc(MIB, `first at ${offset}`))
      await image.enableMirroring('snapshot')
    })
    const daemon = startDaemon(pair)
    await mirrorAndCompare(pair, spec)
    await a.with(spec, 'write', async (image) => {
      for (let offset = 0; offset < SIZE; offset += 16) await image.write(offset * MIB, Buffer.alloc(2 * MIB, `second at ${offset}`))
      await image.discard(64 * MIB, 4 * MIB)
    })
    await mirrorAndCompare(pair, spec)
    const before = await b.with(spec, 'read-only', contentDigest)
    const target = await a.with(spec, 'write', async (image) => {
      for (let offset = 0; offset < SIZE; offset += 4) await image.write(offset * MIB, Buffer.alloc(4 * MIB, `third at ${offset}`))
      return image.mirrorSnapshot()
    })
    await waitFor('the third sync to have begun', async () => (await replicaSnapshot(b, spec, target)) !== undefined, { interval: 1, timeout: 30_000 })
    return { spec, before, daemon }
  }

  it.skipIf(TESTED_DAEMON === 'stock')('goes back to the last complete state when the daemon is dead', async () => {
    const { b } = await pair.connect()
    const { spec, before, daemon } = await midSync('dead')
    await daemon.kill()
    await pair.b.rbd('mirror', 'image', 'promote', '--force', spec)
    const after = await b.with(spec, 'read-only', contentDigest)
    expect(after).toBe(before)
  })

  it.skipIf(TESTED_DAEMON === 'stock')('goes back to the last complete state while the daemon lives, which gives up the image at once', async () => {
    const { b } = await pair.connect()
    const { spec, before, daemon } = await midSync('alive')
    const from = performance.now()
    await pair.b.rbd('mirror', 'image', 'promote', '--force', spec)
    expect(performance.now() - from).toBeLessThan(15_000)
    expect(await b.with(spec, 'read-only', contentDigest)).toBe(before)
    await waitForState(pair.b, spec, 'up+stopped', /force promoted|local image is primary/)
    await daemon.stop()
  })
})
