import { afterAll, beforeAll, expect, it } from 'vitest'
import { silentLog } from '../../src/base/log.ts'
import { Semaphore } from '../../src/base/semaphore.ts'
import { setSize } from '../../src/cls/rbd/client.ts'
import { NO_SNAP, type SnapId } from '../../src/rados/io-ctx.ts'
import { BufferPool } from '../../src/rbd/data/buffer-pool.ts'
import { copyImage, type CopyResult } from '../../src/rbd/data/copy-engine.ts'
import { planSteps } from '../../src/rbd/data/copy-steps.ts'
import { layoutOf, objectCount } from '../../src/rbd/data/striping.ts'
import { FEATURE_OBJECT_MAP, hasFeature } from '../../src/rbd/features.ts'
import type { ImageSnapshot } from '../../src/rbd/header.ts'
import type { Image } from '../../src/rbd/image.ts'
import { createSnapshotHere } from '../../src/rbd/operations/snapshot-create.ts'
import { describeCeph } from '../support/ceph.ts'
import { compareImages, contentDigest } from '../support/compare.ts'
import { createErasureCodedPool } from '../support/erasure-coded-pool.ts'
import type { LibrbdClient, LibrbdImage } from '../support/librbd.ts'
import { RbdClient, type RbdInfo } from '../support/rbd.ts'

const MIB = 2 ** 20
const pool = 'copy-engine'
const replicatedData = 'copy-engine-data'
const erasureCodedData = 'copy-engine-ec'

/** Small numbers in no apparent order, the same in every run. */
class Dice {
  constructor(private state: number) {}
  below(limit: number): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0
    return Math.floor((this.state / 2 ** 32) * limit)
  }
}

interface Shape {
  name: string
  options: string[]
  /** bytes */
  size: number
  objectSize: number
  parent?: boolean
}

const shapes: Shape[] = [
  { name: 'plain', options: [], size: 24 * MIB, objectSize: 4 * MIB },
  { name: 'small-objects', options: ['--object-size', '16K'], size: 2 * MIB, objectSize: 16384 },
  { name: 'smallest-objects', options: ['--object-size', '4K'], size: 256 * 1024, objectSize: 4096 },
  { name: 'large-objects', options: ['--object-size', '32M'], size: 100 * MIB, objectSize: 32 * MIB },
  { name: 'striped', options: ['--object-size', '64K', '--stripe-unit', '8K', '--stripe-count', '5'], size: 2 * MIB, objectSize: 65536 },
  { name: 'bare', options: ['--object-size', '64K', '--image-feature', 'layering'], size: 2 * MIB, objectSize: 65536 },
  { name: 'no-fast-diff', options: ['--object-size', '64K', '--image-feature', 'layering,exclusive-lock,object-map'], size: 2 * MIB, objectSize: 65536 },
  { name: 'data-pool', options: ['--object-size', '64K', '--data-pool', replicatedData], size: 2 * MIB, objectSize: 65536 },
  { name: 'erasure-coded', options: ['--object-size', '64K', '--data-pool', erasureCodedData], size: 2 * MIB, objectSize: 65536 },
  { name: 'clone', options: ['--object-size', '64K'], size: 2 * MIB, objectSize: 65536, parent: true },
]

describeCeph('the copy engine between two clusters', (pair) => {
  let clients: { a: LibrbdClient; b: LibrbdClient }
  let local: RbdClient
  let remote: RbdClient

  beforeAll(async () => {
    for (const cluster of [pair.a, pair.b]) {
      await Promise.all([cluster.createPool(pool), cluster.createPool(replicatedData)])
      await createErasureCodedPool(cluster, erasureCodedData)
    }
    clients = await pair.connect()
    ;[remote, local] = await Promise.all([RbdClient.connect(pair.a), RbdClient.connect(pair.b)])
  })
  afterAll(async () => {
    await Promise.all([local?.close(), remote?.close()])
  })

  async function createImages({ name, options, size, parent }: Shape): Promise<string> {
    const spec = `${pool}/${name}`
    for (const cluster of [pair.a, pair.b]) {
      if (parent) {
        await cluster.rbd('create', `${pool}/parent-of-${name}`, '--size', `${size / 2}B`, ...options)
        const client = cluster === pair.a ? clients.a : clients.b
        await client.with(`${pool}/parent-of-${name}`, 'write', async (image) => {
          for (let at = 0; at < size / 2; at += 65536) if (at % 196608 !== 0) await image.write(at, Buffer.alloc(65536, `parent ${at}`))
          await image.flush()
        })
        await cluster.rbd('snap', 'create', '--no-progress', `${pool}/parent-of-${name}@base`)
        await cluster.rbd('snap', 'protect', `${pool}/parent-of-${name}@base`)
        await cluster.rbd('clone', `${pool}/parent-of-${name}@base`, spec, ...options)
      } else await cluster.rbd('create', spec, '--size', `${size}B`, ...options)
    }
    return spec
  }

  async function play(image: LibrbdImage, { size, objectSize, parent }: Shape, dice: Dice, snapshot: () => Promise<void>): Promise<void> {
    let length = await image.size()
    for (let action = 0; action < 14; action++) {
      const offset = dice.below(length)
      switch (dice.below(10)) {
        default: {
          const bytes = Math.min(length - offset, 1 + dice.below(dice.below(2) === 0 ? 9000 : 2 * objectSize))
          // an object of zeros over a parent's data becomes an empty one, for which the object map may say too much
          const zeros = dice.below(4) === 0 && !parent
          await image.write(offset, Buffer.alloc(bytes, zeros ? 0 : `data ${dice.below(1e9)}`))
          break
        }
        case 5:
          await image.discard(offset, Math.min(length - offset, 1 + dice.below(3 * objectSize)))
          break
        case 6: {
          const start = Math.floor(offset / objectSize) * objectSize
          await image.discard(start, Math.min(length - start, objectSize))
          break
        }
        case 7:
          if (dice.below(2) === 0) await image.resize((length = 1 + dice.below(size)))
          break
        case 8:
          await snapshot()
      }
    }
    await image.flush()
  }

  /** As large as the source's snapshot, and as much of it backed by the parent. */
  async function setHeadSize(image: Image, { size, parentOverlap }: ImageSnapshot): Promise<void> {
    if (parentOverlap !== undefined && (image.header.parent?.overlap ?? 0) > parentOverlap) {
      await setSize.call(image.io, image.headerOid, { size: parentOverlap })
    }
    const objects = objectCount(layoutOf(image.header), size)
    if (image.objectMap && objects > image.objectMap.states.length) await image.objectMap.resize(objects)
    await setSize.call(image.io, image.headerOid, { size })
    await image.headerChanged()
  }

  async function expectEqual(spec: string, pairs: Iterable<readonly [SnapId, SnapId]>): Promise<void> {
    await clients.a.with(spec, 'read-only', (primary) =>
      clients.b.with(spec, 'read-only', async (replica) => {
        for (const [theirs, ours] of pairs) {
          await primary.setSnapshot(theirs)
          await replica.setSnapshot(ours === NO_SNAP ? undefined : ours)
          expect(await compareImages(primary, replica), `snapshot ${theirs}`).toEqual([])
          // the same, without what one of them shows of where data is
          expect(await contentDigest(replica), `snapshot ${theirs}`).toBe(await contentDigest(primary))
        }
      }),
    )
  }

  async function expectGoodMaps(spec: string, image: Image): Promise<void> {
    if (!hasFeature(image.header.features, FEATURE_OBJECT_MAP)) return
    for (const target of [spec, ...image.header.snapshots.map(({ name }) => `${spec}@${name}`)]) {
      const checked = await pair.b.tryRbd(['object-map', 'check', '--no-progress', target])
      expect(checked, target).toMatchObject({ code: 0, stderr: '' })
      expect((await pair.b.rbdJson<RbdInfo>('info', target)).flags, target).toEqual([])
    }
  }

  it.each(shapes)('copies random histories with user snapshots: $name', async (shape) => {
    const spec = await createImages(shape)
    const dice = new Dice(shape.name.length * 7919 + shape.objectSize)
    const seqs = new Map<SnapId, SnapId>()
    const image = await local.open(pool, shape.name, { access: 'write' })
    let fromSnap: SnapId = 0n
    for (let round = 0; round < 4; round++) {
      let count = 0
      await clients.a.with(spec, 'write', async (primary) => {
        await play(primary, shape, dice, () => primary.createSnapshot(`user ${round}.${count++}`))
        await primary.createSnapshot(`mirror ${round}`)
      })
      // the checks below took it away
      if (image.usesLock) await image.lock!.acquire()
      const source = await remote.open(pool, shape.name, { access: 'read-only' })
      const target = source.header.snapshots.find(({ name }) => name === `mirror ${round}`)!
      for (const snapshot of [...source.header.snapshots].reverse()) {
        const { id, name } = snapshot
        if (!name.startsWith('user') || seqs.has(id)) continue
        await setHeadSize(image, snapshot)
        seqs.set(id, await createSnapshotHere(image, { name, namespace: { type: 'user' } }))
      }
      await setHeadSize(image, target)
      const older = image.header.snapshots.map(({ id }) => id)
      const interrupted = new AbortController()
      const copy = (resumeFrom: number, signal?: AbortSignal): Promise<CopyResult> =>
        copyImage({
          source: { io: source.io, data: source.data(), header: source.header },
          destination: { io: image.io, data: image.data(), header: image.header },
          objectMap: image.objectMap,
          fromSnap,
          steps: planSteps(fromSnap, target.id, seqs, older),
          concurrency: 4,
          byteBudget: new Semaphore(64 * MIB),
          buffers: new BufferPool(64 * MIB),
          resumeFrom,
          signal,
          onProgress: ({ objects, totalObjects }) => {
            copied = objects
            if (objects > totalObjects / 2) interrupted.abort(new Error('interrupted'))
          },
          log: silentLog,
        })
      let copied = 0
      // now and then in two runs, the second one from where the first ended, or from the beginning
      if (round % 2 === 1) {
        await copy(0, interrupted.signal).catch((error: unknown) => {
          if (error !== interrupted.signal.reason) throw error
        })
      }
      await copy(round === 1 ? copied : 0)
      await expectEqual(spec, [...seqs, [target.id, NO_SNAP]])
      await expectGoodMaps(spec, image)
      fromSnap = target.id
      await source.close()
    }
    await image.close()
  })

  it('keeps what lies in one stripe of an erasure-coded object, between its end and what is written', async () => {
    const spec = await createImages({ name: 'stripe', options: ['--object-size', '64K', '--data-pool', erasureCodedData], size: 65536, objectSize: 65536 })
    const image = await local.open(pool, 'stripe', { access: 'write' })
    await image.lock!.acquire()
    let fromSnap: SnapId = 0n
    for (const [round, offset, length] of [[0, 33_076, 6_788], [1, 33_035, 3_662]] as const) {
      await clients.a.with(spec, 'write', async (primary) => {
        await primary.write(offset, Buffer.alloc(length, `round ${round}`))
        await primary.createSnapshot(`mirror ${round}`)
      })
      const source = await remote.open(pool, 'stripe', { access: 'read-only' })
      const target = source.header.snapshots.find(({ name }) => name === `mirror ${round}`)!
      await copyImage({
        source: { io: source.io, data: source.data(), header: source.header },
        destination: { io: image.io, data: image.data(), header: image.header },
        objectMap: image.objectMap,
        fromSnap,
        steps: planSteps(fromSnap, target.id, new Map(), []),
        concurrency: 1,
        byteBudget: new Semaphore(MIB),
        buffers: new BufferPool(MIB),
        log: silentLog,
      })
      await expectEqual(spec, [[target.id, NO_SNAP]])
      if (round === 0) await image.lock!.acquire() // the comparison took it away
      fromSnap = target.id
      await source.close()
    }
    await image.close()
  })
})
