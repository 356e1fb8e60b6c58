import { beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { contentDigest, expectSameContent } from '../support/compare.ts'
import { MIB, mirrorAndCompare, scribble, startDaemon } from '../support/e2e.ts'
import { createMirroredPool, isPrimarySnapshot, replicaSnapshot, waitForState } from '../support/mirroring.ts'
import { snapshotImage } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'crash'
const KILLS = 4

describeCeph('a daemon that is killed', (pair) => {
  beforeAll(() => createMirroredPool(pair.a, pair.b, POOL))

  const newImage = (name: string, size: string) => snapshotImage(pair, `${POOL}/${name}`, { size })

  it('at any moment, under load, again and again: the next one goes on, and what is said to be complete is', async () => {
    const { a, b } = await pair.connect()
    const spec = await newImage('killed', '96M')
    for (let round = 0; round < KILLS; round++) {
      await using daemon = startDaemon(pair)
      const until = Date.now() + 800 + Math.random() * 2500
      while (Date.now() < until) {
        await a.with(spec, 'write', async (image) => {
          await scribble(image, { count: 6, maxLength: 2 * MIB })
          await image.mirrorSnapshot()
        })
      }
      await daemon.kill()
      // Its locks and watches are still there: a sync that it called complete must be right whatever came after it.
      const snapshots = await a.with(spec, 'read-only', (image) => image.snapshots())
      const newest = await newestReplica(spec)
      const source = newest && snapshots.find(({ id }) => id === newest.primarySnapId)
      if (source && newest.complete) await expectSameContent(a, b, spec, { snapshot: source.id })
    }
    await using daemon = startDaemon(pair)
    await mirrorAndCompare(pair, spec)
    await daemon.stop()
  })

  async function newestReplica(spec: string): Promise<{ primarySnapId: bigint; complete: boolean } | undefined> {
    const { b } = await pair.connect()
    try {
      const snapshots = await b.with(spec, 'read-only', (image) => image.snapshots())
      return snapshots.filter((snapshot) => snapshot.mirror && !isPrimarySnapshot(snapshot)).at(-1)?.mirror
    } catch {
      return undefined // not created yet
    }
  }

  it('in mid-sync: a forced promotion rolls back to the last complete state', async () => {
    const { a, b } = await pair.connect()
    const spec = await newImage('rolled-back', '480M')
    await using first = startDaemon(pair)
    await mirrorAndCompare(pair, spec)
    await first.stop()
    const before = await b.with(spec, 'read-only', contentDigest)
    const target = await a.with(spec, 'write', async (image) => {
      for (let offset = 0; offset < 480; offset += 4) await image.write(offset * MIB, Buffer.alloc(4 * MIB, `new at ${offset}`))
      return image.mirrorSnapshot()
    })
    await using second = startDaemon(pair)
    await waitFor('the copy to have begun', async () => ((await replicaSnapshot(b, spec, target))?.mirror?.lastCopiedObject ?? 0n) > 0n, {
      interval: 2,
      detail: () => second.log().slice(-1500),
    })
    await second.kill()
    const replica = await replicaSnapshot(b, spec, target)
    expect(replica?.mirror?.complete).toBe(false)
    const described = (await b.with(spec, 'read-only', (image) => image.snapshots())).map(({ id, mirror }) => `${id} complete=${mirror?.complete} of ${mirror?.primarySnapId}`)
    expect(await b.with(spec, 'read-only', contentDigest)).not.toBe(before)
    await pair.b.rbd('mirror', 'image', 'promote', '--force', spec)
    expect(await b.with(spec, 'read-only', contentDigest), `rolled back from ${described.join(', ')}`).toBe(before)
  })

  it('leaves the status down, and a successor puts it up again', async () => {
    const spec = await newImage('status', '16M')
    await using first = startDaemon(pair)
    await mirrorAndCompare(pair, spec)
    await waitForState(pair.b, spec, 'up+replaying')
    await first.kill()
    // The dead daemon's watch has to time out; a clean stop takes it away at once.
    await using second = startDaemon(pair)
    await mirrorAndCompare(pair, spec)
    await waitForState(pair.b, spec, 'up+replaying')
    await second.stop()
    const status = await waitForState(pair.b, spec, 'down+stopped', /^/, 5000)
    expect(status.daemon_service).toBeUndefined()
  })
})
