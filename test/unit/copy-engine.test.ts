import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Throttle } from '../../src/base/throttle.ts'
import { Errno } from '../../src/rados/errors.ts'
import { NO_SNAP, type SnapId } from '../../src/rados/io-ctx.ts'
import { copyImage, LayoutMismatch, type CopyResult } from '../../src/rbd/data/copy-engine.ts'
import type { WriteStep } from '../../src/rados/operation.ts'
import { planSteps } from '../../src/rbd/data/copy-steps.ts'
import { diffObjects, DiffState } from '../../src/rbd/data/object-diff.ts'
import { ObjectState } from '../../src/rbd/data/object-states.ts'
import { objectCount } from '../../src/rbd/data/striping.ts'
import { FEATURE_EXCLUSIVE_LOCK, FEATURE_FAST_DIFF, FEATURE_OBJECT_MAP, FLAG_FAST_DIFF_INVALID, FLAG_OBJECT_MAP_INVALID } from '../../src/rbd/features.ts'
import { ReplicaImage, PrimaryImage, type ModelImageOptions } from './model-image.ts'

const order = 14
const objectSize = 2 ** order
const maxObjects = 10

type Action =
  | { type: 'write'; offset: number; length: number; fill: number }
  | { type: 'discard'; offset: number; length: number }
  | { type: 'discardObject'; object: number }
  | { type: 'resize'; size: number }
  | { type: 'userSnapshot' }
  | { type: 'removeUserSnapshot'; which: number }
  | { type: 'invalidate'; fastDiffOnly: boolean }
  /** a mirror snapshot and its copy; fails at the given writes of the replica (or the first to `oid`), one after the other */
  | { type: 'sync'; failures: { write: number; after: boolean; reportLost: boolean; oid?: string; errno?: number; onFailure?: () => void }[]; abandon: boolean; outside: boolean }
  /** somebody writes to the replica, which its object map may or may not tell: the next sync compares */
  | { type: 'spoil'; object: number; length: number; remove: boolean; told: boolean }

const offset = fc.integer({ min: 0, max: maxObjects * objectSize })
const length = fc.oneof(fc.integer({ min: 1, max: 6000 }), fc.integer({ min: 1, max: 3 * objectSize }))
const sync: fc.Arbitrary<Action> = fc.record({
  type: fc.constant('sync' as const),
  failures: fc.array(fc.record({ write: fc.integer({ min: 0, max: 12 }), after: fc.boolean(), reportLost: fc.boolean() }), { maxLength: 3 }),
  abandon: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, fc.constant(true)),
  // the mirror snapshot takes no part in the snap contexts: it reads as the head
  outside: fc.boolean(),
})
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ type: fc.constant('write' as const), offset, length, fill: fc.integer({ min: 0, max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('discard' as const), offset, length }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('discardObject' as const), object: fc.integer({ min: 0, max: maxObjects }) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('resize' as const), size: fc.integer({ min: 1, max: maxObjects * objectSize }) }) },
  { weight: 3, arbitrary: fc.constant({ type: 'userSnapshot' as const }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('removeUserSnapshot' as const), which: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('invalidate' as const), fastDiffOnly: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('spoil' as const),
      object: fc.integer({ min: 0, max: maxObjects }),
      length: fc.integer({ min: 1, max: objectSize }),
      remove: fc.boolean(),
      told: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: sync },
)
const mapFeatures = FEATURE_EXCLUSIVE_LOCK | FEATURE_OBJECT_MAP
const options: fc.Arbitrary<{ primary: ModelImageOptions; replica: ModelImageOptions; concurrency: number; listsSnaps: boolean }> = fc
  .record({
    primaryFeatures: fc.constantFrom(0n, mapFeatures, mapFeatures | FEATURE_FAST_DIFF, mapFeatures | FEATURE_FAST_DIFF),
    replicaFeatures: fc.constantFrom(0n, mapFeatures, mapFeatures | FEATURE_FAST_DIFF, mapFeatures | FEATURE_FAST_DIFF),
    layout: fc.constantFrom({ stripeUnit: objectSize, stripeCount: 1 }, { stripeUnit: objectSize, stripeCount: 1 }, { stripeUnit: 4096, stripeCount: 3 }),
    parentOverlap: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 4 * objectSize })),
    concurrency: fc.integer({ min: 1, max: 4 }),
    listsSnaps: fc.integer({ min: 0, max: 9 }).map((each) => each > 0),
  })
  .map(({ primaryFeatures, replicaFeatures, layout, parentOverlap, concurrency, listsSnaps }) => {
    // the model's parent is laid out object by object
    const common = { order, ...layout, parentOverlap: layout.stripeCount > 1 ? 0 : parentOverlap }
    return { primary: { ...common, features: primaryFeatures }, replica: { ...common, features: replicaFeatures }, concurrency, listsSnaps }
  })

/** What a snapshot replayer does around the engine, and the checks after it. */
class Replication {
  readonly primary: PrimaryImage
  readonly replica: ReplicaImage
  /** snapshots of the primary → of the replica */
  readonly seqs = new Map<SnapId, SnapId>()
  last: CopyResult | undefined
  throttle: Throttle | undefined
  private synced: SnapId = 0n
  private userSnapshots: SnapId[] = []
  private leftovers = false
  private lastWasOutside = false
  private spoiled = false

  constructor(
    options: { primary: ModelImageOptions; replica: ModelImageOptions },
    private readonly concurrency: number,
  ) {
    const size = 5 * objectSize + 1000
    this.primary = new PrimaryImage(options.primary, size)
    this.replica = new ReplicaImage(options.replica, size)
  }

  async run(action: Action): Promise<void> {
    const { primary } = this
    switch (action.type) {
      case 'write': {
        const data = Buffer.alloc(action.length, action.fill)
        // some zeros within
        if (action.fill > 2) data.fill(0, data.length >> 2, (data.length >> 2) * 3)
        return primary.write(action.offset, data)
      }
      case 'discard':
        return primary.discard(action.offset, action.length)
      case 'discardObject':
        return primary.discard(action.object * objectSize, objectSize)
      case 'resize':
        return primary.resize(action.size)
      case 'userSnapshot':
        this.userSnapshots.push(primary.snapshot())
        return
      case 'removeUserSnapshot': {
        // only those that the replica has, or nobody
        const [id] = this.userSnapshots.splice(action.which % Math.max(1, this.userSnapshots.length), 1)
        if (id === undefined) return
        primary.removeSnapshot(id)
        const local = this.seqs.get(id)
        this.seqs.delete(id)
        if (local !== undefined) await this.removeAtReplica(local)
        return
      }
      case 'invalidate': {
        const newest = primary.header.snapshots[0]
        if (newest) newest.flags |= action.fastDiffOnly ? FLAG_FAST_DIFF_INVALID : FLAG_FAST_DIFF_INVALID | FLAG_OBJECT_MAP_INVALID
        return
      }
      case 'spoil':
        return this.spoil(action)
      case 'sync':
        return this.sync(action)
    }
  }

  private async spoil({ object, length, remove, told }: Action & { type: 'spoil' }): Promise<void> {
    const { replica } = this
    if (object >= objectCount(replica.layout, replica.header.size)) return
    await replica.lock()
    const steps: WriteStep[] = remove ? [{ type: 'remove' }] : [{ type: 'write', offset: 0, data: Buffer.alloc(length, 99) }]
    if (remove && replica.pool.contentAt(replica.oid(object), NO_SNAP) === undefined) return
    replica.pool.write(replica.oid(object), steps, replica.header.snapContext)
    const { objectMap } = replica
    if (told && objectMap && object < objectMap.states.length) await objectMap.mark(object, remove ? ObjectState.nonexistent : ObjectState.exists)
    this.spoiled = true
  }

  private async removeAtReplica(id: SnapId): Promise<void> {
    const { replica } = this
    await replica.lock()
    // maps of removed snapshots are somebody else's matter: here they are only kept from being found
    replica.header.snapshots.splice(
      replica.header.snapshots.findIndex((snapshot) => snapshot.id === id),
      1,
    )
    replica.header.snapContext = { ...replica.header.snapContext, snaps: replica.header.snapshots.map((each) => each.id) }
    replica.pool.trim(id)
  }

  private async sync({ failures, abandon, outside }: Action & { type: 'sync' }): Promise<void> {
    const { primary, replica } = this
    await replica.lock()
    // the map that is written over below must not be the only one to tell of changes
    if (outside && !this.lastWasOutside) await replica.snapshot()
    this.lastWasOutside = false
    const toSnap = primary.snapshot()
    const finalSize = primary.header.size
    for (const id of this.userSnapshots) {
      if (id <= this.synced || this.seqs.has(id)) continue
      this.seqs.set(id, await replica.snapshotToFill(primary.header.snapshots.find((each) => each.id === id)!))
    }
    const objects = objectCount(replica.layout, finalSize)
    if (replica.objectMap && replica.objectMap.states.length < objects) await replica.objectMap.resize(objects)
    replica.header.size = finalSize
    replica.overlap = primary.overlap
    const mirrorSnap = await replica.snapshot()
    const seqs = new Map([...this.seqs, [toSnap, NO_SNAP] as const])
    const known = replica.header.snapshots.map(({ id }) => id).filter((id) => !outside || id !== mirrorSnap)
    const steps = planSteps(this.synced, toSnap, seqs, known)
    let resumeFrom = 0
    let given = false
    for (const failure of [...failures, undefined]) {
      let writes = 0
      replica.pool.beforeWrite = (oid) => {
        if (!failure || (failure.oid === undefined ? writes++ !== failure.write : oid !== failure.oid)) return false
        if (failure.after) return true
        failure.onFailure?.()
        throw replica.pool.error(failure.errno ?? Errno.EIO, 'write', oid)
      }
      const { concurrency, leftovers } = this
      const onProgress = ({ objects }: { objects: number }) => {
        if (!failure?.reportLost) resumeFrom = objects
      }
      try {
        const compared = this.spoiled
        const fromSnap = compared ? 0n : this.synced
        this.last = await copyImage({
          ...replica.request(primary, { fromSnap, steps, resumeFrom, onProgress, concurrency }),
          leftovers: leftovers && !compared,
          throttle: this.throttle,
          compare: compared ? { seed: 5n, chunkSize: 4096, objects: 2 * maxObjects } : undefined,
        })
      } catch (error) {
        if (!failure) throw error
        // a crash: what was in memory is gone
        await replica.lock()
        if (abandon) {
          given = true
          break
        }
        continue
      }
      break
    }
    replica.pool.beforeWrite = () => false
    if (given) {
      // the mirror snapshot and those made for it go, on both sides; the next sync starts from the same base
      this.leftovers = true
      primary.removeSnapshot(toSnap)
      await this.removeAtReplica(mirrorSnap)
      for (const [id, local] of [...this.seqs]) {
        if (id <= this.synced) continue
        await this.removeAtReplica(local)
        this.seqs.delete(id)
      }
      return
    }
    this.leftovers = false
    this.spoiled = false
    const previous = this.synced
    this.synced = toSnap
    this.check(toSnap, NO_SNAP)
    for (const [id, local] of this.seqs) this.check(id, local)
    if (outside) {
      await replica.objectMap?.createSnapshot(mirrorSnap)
      this.check(toSnap, mirrorSnap)
      this.lastWasOutside = true
    }
    await this.checkDiffs()
    if (previous !== 0n) primary.removeSnapshot(previous)
  }

  private check(snap: SnapId, local: SnapId): void {
    const { primary, replica } = this
    const map = replica.mapAt(local)
    for (let object = 0; object < maxObjects * 2; object++) {
      const where = `object ${object} of snapshot ${snap}, ${local === NO_SNAP ? 'head' : local} here`
      const want = primary.contentAt(object, snap)
      if (!want.equals(replica.contentAt(object, local))) throw new Error(`${where} differs`)
      const there = replica.pool.contentAt(replica.oid(object), local) !== undefined
      if (map && there && object < map.length && map.get(object) === ObjectState.nonexistent) throw new Error(`${where}: its map misses it`)
      const within = object < objectCount(replica.layout, replica.header.size)
      if (local === NO_SNAP && within && there && primary.pool.contentAt(primary.oid(object), snap) === undefined) throw new Error(`${where} is too much`)
    }
    if (map) expect(map.length).toBeGreaterThanOrEqual(objectCount(replica.layout, primary.header.snapshots.find(({ id }) => id === snap)!.size))
  }

  /** What fast-diff says of the replica's snapshots never misses a change. */
  private async checkDiffs(): Promise<void> {
    const { replica } = this
    if ((replica.header.features & FEATURE_FAST_DIFF) === 0n) return
    const locals = [...this.seqs.values()].sort((a, b) => (a < b ? -1 : 1))
    for (const [index, from] of locals.entries()) {
      for (const to of locals.slice(index + 1)) {
        const diff = await diffObjects(replica.pool.io(), replica.header, from, to)
        if (!diff.known) throw new Error(diff.reason)
        const sizes = [from, to].map((snap) => replica.header.snapshots.find(({ id }) => id === snap)!.size)
        const common = objectCount(replica.layout, Math.min(...sizes))
        for (let object = 0; object < common; object++) {
          const same = replica.contentAt(object, from).equals(replica.contentAt(object, to))
          const state = diff.states.get(object)
          if (!same && (state === DiffState.hole || state === DiffState.data)) throw new Error(`diff ${from} to ${to} misses object ${object}`)
        }
      }
    }
  }
}

const finalSync: Action = { type: 'sync', failures: [], abandon: false, outside: true }

describe('copyImage', () => {
  it('makes every snapshot of the replica equal to the primary’s, whatever happened before and whenever it crashed', async () => {
    await fc.assert(
      fc.asyncProperty(options, fc.array(action, { maxLength: 25 }), async ({ primary, replica, concurrency, listsSnaps }, actions) => {
        const replication = new Replication({ primary, replica }, concurrency)
        replication.primary.pool.listsSnaps = listsSnaps
        for (const each of [...actions, finalSync]) await replication.run(each)
      }),
      { numRuns: Number(process.env['COPY_ENGINE_RUNS'] ?? 300) },
    )
  }, 300_000)

  it('does not have the object map say that an object has changed of which only what lies behind its end was discarded', async () => {
    const mapped = { order, stripeUnit: objectSize, stripeCount: 1, features: mapFeatures | FEATURE_FAST_DIFF, parentOverlap: 0 }
    const replication = new Replication({ primary: mapped, replica: mapped }, 1)
    const within: Action = { ...finalSync, outside: false }
    const history: Action[] = [
      { type: 'write', offset: objectSize, length: 100, fill: 1 },
      within,
      { type: 'discard', offset: objectSize + 4096, length: 100 },
      // which has what follows marked ahead
      { type: 'write', offset: 0, length: 100, fill: 1 },
      within,
    ]
    for (const each of history) await replication.run(each)
    const head = replication.replica.mapAt(NO_SNAP)!
    expect([head.get(0), head.get(1)]).toEqual([ObjectState.exists, ObjectState.existsClean])
  })

  it('keeps what an abandoned copy wrote out of user snapshots', async () => {
    const plain = { order, stripeUnit: objectSize, stripeCount: 1, features: 0n, parentOverlap: 0 }
    const replication = new Replication({ primary: plain, replica: plain }, 1)
    const abandoned: Action = { ...finalSync, failures: [{ write: 0, after: true, reportLost: false }], abandon: true }
    const history: Action[] = [
      { type: 'write', offset: 0, length: objectSize, fill: 1 },
      finalSync,
      { type: 'userSnapshot' },
      { type: 'write', offset: 4096, length: 4096, fill: 2 },
      abandoned,
      finalSync,
    ]
    for (const each of history) await replication.run(each)
  })

  it('does not take an object for gone because another, copied at the same time, could not be written for ENOENT', async () => {
    const mapped = { order, stripeUnit: objectSize, stripeCount: 1, features: mapFeatures | FEATURE_FAST_DIFF, parentOverlap: 0 }
    const replication = new Replication({ primary: mapped, replica: mapped }, 2)
    const both: Action = { type: 'write', offset: objectSize - 100, length: 200, fill: 1 }
    for (const each of [both, finalSync, { ...both, fill: 2 }]) await replication.run(each)
    const { primary, replica } = replication
    const oid = replica.oid(0)
    let onFailure = () => {}
    const failed = new Promise<void>((resolve) => (onFailure = resolve))
    // the other object is being read then, to be compared
    primary.pool.listsSnaps = false
    primary.pool.beforeRead = async (read) => {
      if (read !== primary.oid(1)) return
      await failed
      await setImmediate() // it has been told
    }
    await replication.run({ ...finalSync, failures: [{ write: 0, after: false, reportLost: false, oid, errno: Errno.ENOENT, onFailure }], abandon: true })
    const head = replica.mapAt(NO_SNAP)!
    expect([head.get(0), head.get(1)]).toEqual([ObjectState.exists, ObjectState.exists])
  })

  it('moves what changed and no more', async () => {
    const features = mapFeatures | FEATURE_FAST_DIFF
    const layout = { order, stripeUnit: objectSize, stripeCount: 1, features, parentOverlap: 0 }
    const replication = new Replication({ primary: layout, replica: layout }, 2)
    await replication.run({ type: 'write', offset: 0, length: 4 * objectSize, fill: 1 })
    await replication.run(finalSync)
    const { pool } = replication.primary
    pool.reads = 0
    replication.replica.pool.writes = 0
    await replication.run({ type: 'write', offset: objectSize + 100, length: 50, fill: 2 })
    await replication.run(finalSync)
    // two object maps and one object; one update of the object map and one object, beside what snapshots take
    expect(pool.reads).toBe(3)
    expect(replication.last).toEqual({ objectsExamined: 1, bytesRead: 50, bytesWritten: 50 })
  })

  it('asks before it moves anything, and accounts for what it moved', async () => {
    const layout = { order, stripeUnit: objectSize, stripeCount: 1, features: mapFeatures | FEATURE_FAST_DIFF, parentOverlap: 0 }
    const replication = new Replication({ primary: layout, replica: layout }, 1)
    let asked = 0
    let moved = 0
    replication.throttle = {
      take(bytes) {
        asked++
        moved += bytes
        return asked % 2 === 0 ? Promise.resolve() : undefined
      },
      giveBack: (bytes) => (moved -= bytes),
    }
    await replication.run({ type: 'write', offset: 0, length: 3 * objectSize, fill: 1 })
    await replication.run(finalSync)
    expect([asked, moved]).toEqual([3, 3 * objectSize])
    await replication.run({ type: 'write', offset: objectSize + 100, length: 50, fill: 2 })
    await replication.run({ type: 'userSnapshot' })
    await replication.run({ type: 'write', offset: objectSize, length: 10, fill: 3 })
    await replication.run(finalSync)
    expect([asked, moved]).toEqual([4, 3 * objectSize + replication.last!.bytesRead])
    replication.throttle.take = () => Promise.reject(new Error('given up'))
    await replication.run({ type: 'write', offset: 0, length: 10, fill: 4 })
    await expect(replication.run(finalSync)).rejects.toThrow('given up')
  })

  it('refuses images that are laid out differently', async () => {
    const layout = { order, stripeUnit: objectSize, stripeCount: 1, features: 0n, parentOverlap: 0 }
    const replication = new Replication({ primary: layout, replica: { ...layout, stripeUnit: 4096, stripeCount: 2 } }, 1)
    await expect(replication.run(finalSync)).rejects.toThrow(LayoutMismatch)
  })
})
