import { beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { expectSameContent } from '../support/compare.ts'
import type { DaemonKind } from '../support/daemon.ts'
import { MIB, mirrorAndCompare, scribble, startDaemon, TESTED_DAEMON } from '../support/e2e.ts'
import { createMirroredPool, latestPrimarySnapshot, replicaSnapshot, waitForSync } from '../support/mirroring.ts'
import { imageIdOf, snapshotImage } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'takeover'
/** How soon others may break what a killed daemon held. */
const QUICK_HEARTBEATS = ['--rbd-mirror-leader-heartbeat-interval=2']
const OURS_TO_STOCK: [DaemonKind, DaemonKind] = [TESTED_DAEMON, 'stock']
const STOCK_TO_OURS: [DaemonKind, DaemonKind] = ['stock', TESTED_DAEMON]

describeCeph('taking over between the stock daemon and ours', (pair) => {
  beforeAll(() => createMirroredPool(pair.a, pair.b, POOL))

  const newImage = (name: string, size: string) => snapshotImage(pair, `${POOL}/${name}`, { size })

  const idOf = (spec: string) => imageIdOf(pair.b, spec)

  it.each([STOCK_TO_OURS, OURS_TO_STOCK])('between syncs, from %s to %s, without a resync', async (first, second) => {
    const { a } = await pair.connect()
    const spec = await newImage(`between-${first}`, '32M')
    let id: string
    {
      await using daemon = startDaemon(pair, { kind: first })
      await mirrorAndCompare(pair, spec)
      id = await idOf(spec)
      await daemon.stop()
    }
    await a.with(spec, 'write', (image) => scribble(image))
    await using daemon = startDaemon(pair, { kind: second })
    const replica = await mirrorAndCompare(pair, spec)
    expect(await idOf(spec)).toBe(id)
    expect(replica.mirror!.complete).toBe(true)
    await daemon.stop()
  })

  it.each([STOCK_TO_OURS, OURS_TO_STOCK])('in the middle of a sync, from %s (killed) to %s, which goes on where it was', async (first, second) => {
    const { a, b } = await pair.connect()
    const spec = await newImage(`middle-${first}`, '32M')
    {
      await using daemon = startDaemon(pair, { kind: first, args: QUICK_HEARTBEATS })
      await mirrorAndCompare(pair, spec)
      await daemon.stop()
    }
    const id = await idOf(spec)
    await a.with(spec, 'write', async (image) => {
      await image.resize(640 * MIB)
      for (let offset = 0; offset < 640; offset += 4) await image.write(offset * MIB, Buffer.alloc(4 * MIB, `at ${offset} of ${first}`))
      await image.mirrorSnapshot()
    })
    const target = await latestPrimarySnapshot(a, spec)
    {
      await using daemon = startDaemon(pair, { kind: first, args: QUICK_HEARTBEATS })
      await waitFor(
        'the copy to have begun',
        async () => {
          const replica = await replicaSnapshot(b, spec, target.id)
          return replica?.mirror && (replica.mirror.complete || replica.mirror.lastCopiedObject > 0n)
        },
        { interval: 2, detail: () => daemon.log().slice(-1500) },
      )
      await daemon.kill()
    }
    const interrupted = await replicaSnapshot(b, spec, target.id)
    await using daemon = startDaemon(pair, { kind: second, args: QUICK_HEARTBEATS })
    await waitForSync(a, b, spec, { primarySnapId: target.id })
    await expectSameContent(a, b, spec, { snapshot: target.id })
    expect(await idOf(spec)).toBe(id)
    expect((await replicaSnapshot(b, spec, target.id))?.id).toBe(interrupted?.id)
    await a.with(spec, 'write', (image) => scribble(image))
    await mirrorAndCompare(pair, spec)
    await daemon.stop()
  })
})
