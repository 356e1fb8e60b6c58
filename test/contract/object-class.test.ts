import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as journal from '../../src/cls/journal/client.ts'
import * as lock from '../../src/cls/lock/client.ts'
import * as rbd from '../../src/cls/rbd/client.ts'
import * as mirror from '../../src/cls/rbd/mirror-client.ts'
import * as poolMethods from '../../src/cls/rbd/pool-client.ts'
import { encode } from '../../src/encoding/codec.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import { RadosError } from '../../src/rados/errors.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { WriteOperation } from '../../src/rados/operation.ts'
import { describeCeph } from '../support/ceph.ts'
import { objectKinds } from '../support/class-calls/kinds.ts'
import { expiringLocks, locks } from '../support/class-calls/locks.ts'
import type { ObjectKind } from '../support/class-calls/shared.ts'
import { Choices, Comparison, inputOf, Side, type AnyMethod, type Step } from '../support/class-comparison.ts'
import { emulatorFor } from '../support/emulated.ts'
import { RbdClient } from '../support/rbd.ts'
import type { knownClassDivergences } from './known-divergences.ts'

const pool = `object-class-${process.pid}`
const clients = 2
/** More runs for a longer search; RBD_MIRROR_CLASS_SEED begins elsewhere. */
const runs = Number(process.env['RBD_MIRROR_CLASS_RUNS'] ?? 7)
const firstSeed = Number(process.env['RBD_MIRROR_CLASS_SEED'] ?? 1)
const stepsPerRun = 40
const longestCut = 60

/** The last byte but one says the state, the last one the mode. */
const unknownImageState = encode(mirror.mirrorImageSet.definition.input, {
  imageId: 'id',
  image: { globalImageId: 'global', state: 'enabled', mode: 'snapshot' },
})
unknownImageState[unknownImageState.length - 2] = 9

/** Every method that the project calls. */
const methods = [rbd, mirror, poolMethods, lock, journal]
  .flatMap((module): unknown[] => Object.values(module))
  .filter((value): value is AnyMethod => typeof value === 'object' && value !== null && 'definition' in value)

function* randomSteps(kind: ObjectKind, choices: Choices): Iterable<Step> {
  if (choices.chance(0.85)) yield* kind.start?.(choices) ?? []
  for (let left = stepsPerRun; left > 0; left--) {
    const client = choices.chance(0.7) ? 0 : choices.int(clients)
    const next = () => choices.pick(kind.calls)(choices)
    if (kind.extra && choices.chance(0.15)) yield choices.pick(kind.extra)(choices)
    else if (choices.chance(0.7)) yield { type: 'exec', client, call: next() }
    else {
      const create = choices.chance(0.2)
      yield { type: 'write', client, create, calls: Array.from({ length: kind.readsData ? 1 : choices.pick([1, 1, 2, 3]) }, next) }
    }
  }
}

/** Calls of every method with an input that is cut short at any byte, on an object that has something. */
function* truncatedSteps(kind: ObjectKind, choices: Choices, side: Side): Iterable<Step> {
  yield* kind.start?.(choices) ?? []
  for (const make of kind.calls) {
    const call = make(choices)
    const length = Math.min(inputOf(call, side).length, longestCut)
    for (let cut = 0; cut < length; cut++) yield { type: 'exec', client: 0, call: { ...call, cut } }
  }
}

describeCeph('object classes: emulated and of a real OSD', (pair) => {
  let comparison: Comparison

  const onBoth = (run: (io: IoCtx) => Promise<unknown>) =>
    Promise.all(
      [comparison.real, comparison.emulated].map(async (side) => {
        try {
          await run(side.pools[0]!)
          return 'done'
        } catch (error) {
          if (error instanceof RadosError) return error.code
          throw error
        }
      }),
    )

  beforeAll(async () => {
    await pair.a.createPool(pool)
    // one after the other: locks are listed by instance id
    const realClusters: Cluster[] = []
    for (let client = 0; client < clients; client++) realClusters.push((await RbdClient.connect(pair.a)).cluster)
    const real = await Side.open('real', pool, realClusters)
    const driver = emulatorFor(`memory:${pool}`)
    await driver.create({ monHost: `memory:${pool}` })
    const clusters: Cluster[] = []
    for (let client = 0; client < clients; client++) clusters.push(await driver.connect({ name: 'emulated', entity: 'client.admin', options: {} }))
    await clusters[0]!.monCommand({ prefix: 'osd pool create', pool, pg_num: 4 })
    comparison = new Comparison(real, await Side.open('emulated', pool, clusters))
  })
  afterAll(async () => {
    await comparison?.real.close()
    await comparison?.emulated.close()
    await pair.a.deletePool(pool)
  })

  describe.each(objectKinds.map((kind) => ({ kind, name: kind.name })))('$name', ({ kind }) => {
    it('answers and leaves the same after random calls', async () => {
      for (let seed = firstSeed; seed < firstSeed + runs * (kind.weight ?? 1); seed++)
        await comparison.run(`seed ${seed}`, `${kind.name} ${seed}`, randomSteps(kind, new Choices(seed)), kind.mask)
    })

    it('answers the same to calls that are cut short', async () => {
      await comparison.run('cut short', `${kind.name} cut`, truncatedSteps(kind, new Choices(firstSeed), comparison.emulated), kind.mask)
    })
  })

  it('locks expire alike', () => comparison.run('expiry', 'expiry', expiringLocks(), locks.mask))

  it.each<[keyof typeof knownClassDivergences, () => Promise<string[]>]>([
    ['classEnumerations', () => onBoth((io) => io.exec('enumeration', 'rbd', 'mirror_image_set', unknownImageState))],
    [
      'cutObjectMap',
      () =>
        onBoth(async (io) => {
          await rbd.objectMapResize.call(io, 'cut', { objectCount: 9, defaultState: 1 })
          await io.write('cut', new WriteOperation().truncate(18))
          await rbd.objectMapUpdate.call(io, 'cut', { start: 0, end: 1, newState: 2, currentState: undefined })
        }),
    ],
  ])('known divergence: %s', async (_, compare) => {
    const [real, emulated] = await compare()
    expect(emulated).toBe('EINVAL')
    expect(real).not.toBe(emulated)
  })

  it('every method of the clients was called with success', () => {
    const names = methods.map(({ definition }) => `${definition.cls}.${definition.name}`)
    expect(names.length).toBeGreaterThan(100)
    expect(names.filter((name) => !comparison.counts.get(name)?.succeeded)).toEqual([])
  })
})
