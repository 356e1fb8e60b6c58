import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { libradosDriver } from '../../src/drivers/librados/driver.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import { Errno } from '../../src/rados/errors.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { ReadOperation, WriteOperation, type Comparison, type ReadHandle } from '../../src/rados/operation.ts'
import { describeCeph } from '../support/ceph.ts'
import { emulatorFor } from '../support/emulated.ts'
import { knownDivergences } from './known-divergences.ts'

/*
 * Random operation vectors, run on an emulated cluster and on a real OSD side by side: what every operation answers and what is there
 * afterwards, in the head and in every snapshot, has to be equal.
 */

const POOL = 'likeness'
const OBJECTS = ['one', 'two']
const RUNS = 40
/** A slow machine does fewer of them (milliseconds). */
const TIME_LIMIT_MS = 10_000
/** Snapshots of a run at most: their ids are made once for all runs, as monitors take their time. */
const SNAPSHOTS = 5
const SEED = 20_240_229

type Step =
  | { do: 'create'; exclusive: boolean }
  | { do: 'write' | 'cmpext'; offset: number; data: Buffer }
  | { do: 'writeFull' | 'append'; data: Buffer }
  | { do: 'writeSame'; offset: number; length: number; data: Buffer }
  | { do: 'zero'; offset: number; length: number }
  | { do: 'truncate'; size: number }
  | { do: 'remove' | 'omapClear' | 'assertExists' | 'hint' }
  | { do: 'setXattr'; name: string; value: Buffer }
  | { do: 'removeXattr'; name: string }
  | { do: 'omapSet'; entries: Map<string, Buffer> }
  | { do: 'omapRemove'; keys: string[] }
  /** against what the last write to the object answered */
  | { do: 'assertVersion'; by: 'zero' | 'older' | 'same' | 'newer' }
  | { do: 'cmpxattr'; name: string; comparison: Comparison; value: Buffer }
  | { do: 'omapCmp'; key: string; comparison: Comparison; value: Buffer }

type Action =
  | { kind: 'write'; oid: string; steps: Step[] }
  | { kind: 'read'; oid: string; guards: Step[]; offset: number; length: number; after: string; prefix: string; max: number; chunk: number }
  | { kind: 'snapshot' }
  | { kind: 'rollback'; oid: string; back: number }

/** Shown in a failure by what it is made of. */
function longBytes(size: number, fill: number): Buffer {
  return Object.assign(Buffer.alloc(size, fill), { [fc.toStringMethod]: () => `Buffer.alloc(${size}, ${fill})` })
}

const offset = fc.oneof({ weight: 5, arbitrary: fc.nat(40) }, fc.constantFrom(4095, 16_380, 16_384, 32_770, 100_000))
const length = fc.oneof({ weight: 5, arbitrary: fc.integer({ min: 1, max: 40 }) }, fc.constantFrom(16_384, 20_000, 200_000))
const bytes = fc.oneof(
  { weight: 6, arbitrary: fc.uint8Array({ maxLength: 24 }).map((array) => Buffer.from(array)) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(16_384, 16_385, 40_000), fc.nat(255)).map(([size, fill]) => longBytes(size, fill)) },
)
const value = fc.constantFrom('', '1', '2', '22', '\xff').map((text) => Buffer.from(text, 'latin1'))
const key = fc.constantFrom('a', 'a1', 'b', 'b\u00fc', 'c')
const comparison = fc.constantFrom<Comparison>('eq', 'ne', 'gt', 'gte', 'lt', 'lte')
const some = bytes.filter(({ length }) => length > 0)

const guard: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('assertExists' as const) }),
  fc.record({ do: fc.constant('assertVersion' as const), by: fc.constantFrom('zero' as const, 'older' as const, 'same' as const, 'newer' as const) }),
  fc.record({ do: fc.constant('cmpext' as const), offset, data: some }),
  fc.record({ do: fc.constant('cmpxattr' as const), name: key, comparison, value }),
  fc.record({ do: fc.constant('omapCmp' as const), key, comparison, value }),
)
const change: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ do: fc.constant('create' as const), exclusive: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), offset, data: bytes }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('writeFull' as const, 'append' as const), data: bytes }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('writeSame' as const), offset, length: fc.constantFrom(0, 3, 6, 12), data: fc.constantFrom('abc', 'ab').map((text) => Buffer.from(text)) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('zero' as const), offset, length }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('truncate' as const), size: offset }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('remove' as const, 'remove' as const, 'omapClear' as const, 'hint' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('setXattr' as const), name: key, value }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('removeXattr' as const), name: key }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('omapSet' as const), entries: fc.array(fc.tuple(key, value), { maxLength: 3 }).map((all) => new Map(all)) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('omapRemove' as const), keys: fc.array(key, { maxLength: 2 }) }) },
)
const oid = fc.constantFrom(...OBJECTS)
/** Removed twice in one operation: see the known divergences. */
const removedOnce = (steps: readonly Step[]) => steps.filter((step) => step.do === 'remove').length < 2
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('write' as const), oid, steps: fc.array(fc.oneof({ weight: 4, arbitrary: change }, guard), { minLength: 1, maxLength: 4 }).filter(removedOnce) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('read' as const),
      oid,
      guards: fc.array(guard, { maxLength: 2 }),
      offset,
      length,
      after: fc.constantFrom('', 'a', 'b'),
      prefix: fc.constantFrom('', 'a', 'b'),
      max: fc.nat(3),
      chunk: fc.constantFrom(0, 4, 7),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('snapshot' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('rollback' as const), oid, back: fc.nat(3) }) },
)

/** What a call came to: its result, or its errno. */
async function outcome<T>(call: Promise<T>): Promise<{ errno: number } | { result: T }> {
  try {
    return { result: await call }
  } catch (error) {
    const { errno } = error as { errno?: number }
    if (errno === undefined) throw error
    return { errno }
  }
}

/** One of the two sides: a namespace of its own, its snapshots, and the version of each object. */
class Side {
  /** taken so far, the newest first */
  private readonly snaps: bigint[] = []
  private readonly versions = new Map<string, bigint>()
  private written: IoCtx

  constructor(
    private readonly io: IoCtx,
    /** ids to be taken, ascending */
    private readonly ids: readonly bigint[],
  ) {
    this.written = io
  }

  async run(one: Action): Promise<unknown> {
    switch (one.kind) {
      case 'write':
        return this.write(one.oid, one.steps)
      case 'read':
        return this.read(one)
      case 'snapshot': {
        const next = this.ids[this.snaps.length]
        if (next === undefined) return undefined
        this.snaps.unshift(next)
        if (this.written !== this.io) this.written.close()
        this.written = this.io.duplicate({ snapContext: { seq: next, snaps: [...this.snaps] } })
        return undefined
      }
      case 'rollback': {
        const snap = this.snaps[one.back]
        return snap === undefined ? undefined : outcome(this.written.rollbackSelfManagedSnap(one.oid, snap))
      }
    }
  }

  private async write(oid: string, steps: Step[]): Promise<unknown> {
    const operation = new WriteOperation()
    for (const step of steps) this.add(operation, oid, step)
    const before = this.versions.get(oid)
    const done = await outcome(this.written.write(oid, operation))
    if ('errno' in done) return done
    if (done.result > 0n) this.versions.set(oid, done.result) // 0: nothing was there, and nothing was done
    return { changed: done.result !== before, later: before === undefined || done.result >= before }
  }

  private async read({ oid, guards, offset, length, after, prefix, max, chunk }: Action & { kind: 'read' }): Promise<unknown> {
    const operation = new ReadOperation()
    for (const step of guards) this.add(operation as unknown as WriteOperation, oid, step)
    const data = operation.read(offset, length)
    const page = operation.omapGet(after, prefix, max)
    const keys = operation.omapGetKeys(after, max)
    const values = operation.omapGetByKeys(['a', 'c', 'none'])
    const sums = operation.checksum('xxhash64', 7n, 0, 28, chunk)
    const done = await outcome(this.io.read(oid, operation))
    if ('errno' in done) return done
    const { result } = done
    return { data: shown(result.get(data)), page: result.get(page), keys: result.get(keys), values: result.get(values), sums: result.get(sums), current: result.version === this.versions.get(oid) }
  }

  private add(operation: WriteOperation, oid: string, step: Step): void {
    switch (step.do) {
      case 'create':
        return void operation.create(step.exclusive)
      case 'write':
        return void operation.write(step.offset, step.data)
      case 'cmpext':
        return void operation.cmpext(step.offset, step.data)
      case 'writeFull':
        return void operation.writeFull(step.data)
      case 'append':
        return void operation.append(step.data)
      case 'writeSame':
        return void operation.writeSame(step.offset, step.length, step.data)
      case 'zero':
        return void operation.zero(step.offset, step.length)
      case 'truncate':
        return void operation.truncate(step.size)
      case 'remove':
        return void operation.remove()
      case 'omapClear':
        return void operation.omapClear()
      case 'assertExists':
        return void operation.assertExists()
      case 'hint':
        return void operation.setAllocHint(4096, 4096)
      case 'setXattr':
        return void operation.setXattr(step.name, step.value)
      case 'removeXattr':
        return void operation.removeXattr(step.name)
      case 'omapSet':
        return void operation.omapSet(step.entries)
      case 'omapRemove':
        return void operation.omapRemoveKeys(step.keys)
      case 'assertVersion': {
        const version = this.versions.get(oid) ?? 1n
        return void operation.assertVersion({ zero: 0n, older: version - 1n, same: version, newer: version + 1000n }[step.by])
      }
      case 'cmpxattr':
        return void operation.cmpxattr(step.name, step.comparison, step.value)
      case 'omapCmp':
        return void operation.omapCmp(step.key, step.comparison, step.value)
    }
  }

  /** Snapshot ids are the cluster's own: by their place in the list of snapshots instead. */
  private place(id: bigint): number {
    return this.snaps.indexOf(id)
  }

  /** So that no object's version is near zero, where "older" would be none. */
  async warmUp(): Promise<void> {
    for (const oid of OBJECTS) {
      for (let round = 0; round < 3; round++) await this.io.write(oid, new WriteOperation().create(false))
      await this.io.remove(oid)
    }
  }

  /** What can be seen of the objects, through the head and the newest snapshot or all of them. */
  async state(oids: readonly string[], snaps: 'newest' | 'all'): Promise<unknown> {
    const views = [this.io, ...(snaps === 'all' ? this.snaps : this.snaps.slice(0, 1)).map((readSnap) => this.io.duplicate({ readSnap }))]
    const objects = await Promise.all(
      oids.map(async (oid) => {
        const snapSet = await outcome(this.io.listSnaps(oid))
        return {
          oid,
          contents: await Promise.all(views.map((view) => outcome(contentsOf(view, oid)))),
          snapSet:
            'errno' in snapSet
              ? snapSet
              : { seq: this.place(snapSet.result.seq), clones: snapSet.result.clones.map((clone) => ({ ...clone, id: this.place(clone.id), snaps: clone.snaps.map((snap) => this.place(snap)) })) },
        }
      }),
    )
    for (const view of views.slice(1)) view.close()
    return objects
  }

  close(): void {
    if (this.written !== this.io) this.written.close()
    this.io.close()
  }
}

/** Bytes as text; long ones by their sum, so that a failure can be read. */
function shown(data: Buffer): string {
  return data.length <= 256 ? data.toString('hex') : `${data.length} bytes, sha256 ${createHash('sha256').update(data).digest('hex')}`
}

async function contentsOf(io: IoCtx, oid: string): Promise<unknown> {
  const operation = new ReadOperation()
  const stat = operation.stat()
  const data = operation.read(0, 300_000)
  const xattrs = operation.getXattrs()
  const omap = operation.omapGet('', '', 100)
  const results = await io.read(oid, operation)
  const get = <T>(handle: ReadHandle<T>): T => results.get(handle)
  return { size: get(stat).size, data: shown(get(data)), xattrs: new Map([...get(xattrs)].sort()), omap: get(omap) }
}

describeCeph('an emulated cluster is like a real one', (pair) => {
  let real: Cluster
  let emulated: Cluster
  let namespaces = 0
  const snapIds = new Map<Cluster, bigint[]>()

  beforeAll(async () => {
    await pair.a.createPool(POOL)
    real = await libradosDriver.connect({ name: 'real', entity: 'client.admin', confFile: pair.a.conf, options: {} })
    const driver = emulatorFor('memory:likeness')
    await driver.create({ monHost: 'memory:likeness' })
    emulated = await driver.connect({ name: 'emulated', entity: 'client.admin', options: {} })
    await emulated.monCommand({ prefix: 'osd pool create', pool: POOL })
    for (const cluster of [real, emulated]) {
      const io = await cluster.openPool(POOL)
      const ids = await Promise.all(Array.from({ length: SNAPSHOTS }, () => io.createSelfManagedSnap()))
      snapIds.set(cluster, ids.sort((a, b) => Number(a - b)))
      io.close()
    }
  })
  afterAll(async () => {
    await emulated?.close()
    await real?.close()
    await pair.a.deletePool(POOL)
  })

  async function sides(): Promise<[Side, Side]> {
    const namespace = `run-${++namespaces}`
    const side = async (cluster: Cluster) => {
      const pool = await cluster.openPool(POOL)
      const io = pool.duplicate({ namespace })
      pool.close()
      return new Side(io, snapIds.get(cluster)!)
    }
    return [await side(emulated), await side(real)]
  }

  it('in random operation vectors', async () => {
    const property = fc.asyncProperty(fc.array(action, { minLength: 4, maxLength: 24 }), async (actions) => {
      const [ours, theirs] = await sides()
      await Promise.all([ours.warmUp(), theirs.warmUp()])
      for (const [index, one] of actions.entries()) {
        const [mine, other] = await Promise.all([ours.run(one), theirs.run(one)])
        expect(mine, `answer of action ${index}`).toEqual(other)
        if (one.kind === 'write' || one.kind === 'rollback') {
          expect(await ours.state([one.oid], 'newest'), `state after action ${index}`).toEqual(await theirs.state([one.oid], 'newest'))
        }
      }
      expect(await ours.state(OBJECTS, 'all'), 'state at the end').toEqual(await theirs.state(OBJECTS, 'all'))
      ours.close()
      theirs.close()
    })
    await fc.assert(property, { numRuns: RUNS, seed: SEED, interruptAfterTimeLimit: TIME_LIMIT_MS })
  })

  it('but not in what is known to differ', async () => {
    const io = (cluster: Cluster) => cluster.openPool(POOL).then((pool) => pool.duplicate({ namespace: 'divergences' }))
    const shows: Record<string, (cluster: Cluster) => Promise<unknown>> = {
      async versionSteps(cluster) {
        const objects = await io(cluster)
        const first = await objects.write('versions', new WriteOperation().create(true))
        expect(await outcome(objects.write('versions', new WriteOperation().create(true)))).toEqual({ errno: Errno.EEXIST })
        return (await objects.write('versions', new WriteOperation().append(Buffer.from('x')))) - first
      },
      async removedTwice(cluster) {
        const objects = await io(cluster)
        await objects.write('removed', new WriteOperation().setXattr('a', Buffer.from('before')))
        await objects.write('removed', new WriteOperation().remove().create(false).remove().create(false))
        const operation = new ReadOperation()
        const xattrs = operation.getXattrs()
        return (await objects.read('removed', operation)).get(xattrs).size
      },
    }
    for (const [name, show] of Object.entries(shows)) {
      expect(Object.keys(knownDivergences)).toContain(name)
      expect(await show(emulated), name).not.toEqual(await show(real))
    }
  })
})
