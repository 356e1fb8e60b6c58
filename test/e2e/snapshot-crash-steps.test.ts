import { beforeAll, expect, it } from 'vitest'
import type { Fault } from '../../src/drivers/faulty/fault-plan.ts'
import { describeCeph } from '../support/ceph.ts'
import { contentDigest, expectSameContent } from '../support/compare.ts'
import { expectSameUserSnapshots, MIB, scribble } from '../support/e2e.ts'
import type { LibrbdImage } from '../support/librbd.ts'
import { createMirroredPool, replicaSnapshot } from '../support/mirroring.ts'
import { connectTo, replayUntilIdle, replayWithFault } from '../support/replay.ts'

const POOL = 'crash-steps'
/** Every so many writes are tried; which of them is a matter of chance, so that in time all are. */
const STRIDE = Number(process.env['RBD_MIRROR_CRASH_STRIDE'] ?? 3)

describeCeph('a snapshot replay that ends at any of its writes', (pair) => {
  beforeAll(() => createMirroredPool(pair.a, pair.b, POOL))

  /** What the primary goes through between two mirror-snapshots, in turn. */
  const changes: ((image: LibrbdImage, round: number) => Promise<void>)[] = [
    (image) => scribble(image, { count: 6 }),
    async (image, round) => {
      await image.createSnapshot(`user${round}`)
      await scribble(image, { count: 3 })
    },
    async (image) => {
      await image.resize(12 * MIB)
      await scribble(image, { count: 3 })
    },
    async (image) => {
      await image.resize(28 * MIB)
      await image.discard(2 * MIB, 7 * MIB)
      await scribble(image, { count: 3 })
    },
  ]

  async function change(image: string, round: number): Promise<bigint> {
    const { a } = await pair.connect()
    return a.with(`${POOL}/${image}`, 'write', async (opened) => {
      await changes[round % changes.length]!(opened, round)
      return opened.mirrorSnapshot()
    })
  }

  const faultyRun = (image: string, write: number, fault: Fault) => replayWithFault(pair, POOL, image, write, fault)

  async function cleanRun(image: string): Promise<void> {
    const [local, remote] = await Promise.all([connectTo(pair.b), connectTo(pair.a)])
    try {
      const end = await replayUntilIdle({ local, remote }, POOL, image)
      expect(end).toEqual({ type: 'idle' })
    } finally {
      await Promise.all([local.close(), remote.close()])
    }
  }

  /** What a forced promotion would go back to is what was synced last. */
  async function expectRollbackState(image: string, synced: string): Promise<void> {
    const { b } = await pair.connect()
    await b.with(`${POOL}/${image}`, 'read-only', async (opened) => {
      const mirrored = (await opened.snapshots()).filter(({ mirror }) => mirror)
      if (mirrored.at(-1)?.mirror?.complete !== false) return
      const complete = mirrored.findLast(({ mirror }) => mirror!.complete)!
      await opened.setSnapshot(complete.id)
      expect(await contentDigest(opened)).toBe(synced)
    })
  }

  /** What a crash may leave in the trash of snapshots. */
  async function leftovers(spec: string): Promise<string[]> {
    const listed = await pair.b.rbdJson<{ name: string; namespace: { type: string } }[]>('snap', 'ls', '--all', spec)
    return listed.filter(({ namespace }) => namespace.type === 'trash').map(({ name }) => name)
  }

  it.each<[string, (write: number) => Fault]>([
    ['by a crash', (write) => ({ type: 'crash', applied: write % 2 === 0 })],
    ['by an answer that was lost', () => ({ type: 'lostAck' })],
  ])('%s: the next one brings it right, and what was whole before can be gone back to', async (kind, faultAt) => {
    const { a, b } = await pair.connect()
    const image = kind.replaceAll(' ', '-')
    const spec = `${POOL}/${image}`
    await pair.a.rbd('create', spec, '--size', '20M')
    await a.with(spec, 'write', async (opened) => {
      await scribble(opened)
      await opened.enableMirroring('snapshot')
    })
    await cleanRun(image)
    let synced = await b.with(spec, 'read-only', contentDigest)
    let rounds = 0
    for (let write = Math.floor(Math.random() * STRIDE), more = 0; more < changes.length; write += STRIDE) {
      const target = await change(image, rounds++)
      const writes = await faultyRun(image, write, faultAt(write))
      await expectRollbackState(image, synced)
      await cleanRun(image)
      expect((await replicaSnapshot(b, spec, target))?.mirror?.complete).toBe(true)
      await expectSameContent(a, b, spec, { snapshot: target })
      await expectSameUserSnapshots(pair, spec)
      expect(await leftovers(spec)).toEqual([])
      synced = await b.with(spec, 'read-only', contentDigest)
      // the run ended before that write: once for every kind of change
      if (writes <= write) more++
    }
    expect(rounds).toBeGreaterThan(5)
  }, 600_000)
})
