import { describe, expect, it } from 'vitest'
import { armCrash, forEachOperation, stride } from './crashes.ts'
import { difference, findImage } from './images.ts'
import { Scene } from './scene.ts'

const SEED = 7
/** Number of an operation of the sync at which some objects have been copied and nothing is noted of it. */
const MID_COPY = 70

/** Up to the moment before the second sync: the replica is complete, the primary has new data, a user snapshot and another size. */
async function beforeSync(scene: Scene): Promise<void> {
  const { world, operators } = scene
  const { a } = world.sites
  scene.startDaemons()
  await scene.mirrorNew('image', 'snapshot', 65_536)
  await scene.write(a, 'image', 1_500)
  await scene.converge(a, 'image')
  await scene.write(a, 'image', 700)
  await scene.command('snap', operators.a.userSnapshot('image', 'one'))
  await scene.write(a, 'image', 400)
  await scene.command('resize', operators.a.resize('image', 57_344))
}

/** Makes a mirror-snapshot; site B's daemon dies at its operation number `at` from then on. Returns how many it began while it lived. */
async function crashAt(scene: Scene, at: number): Promise<number> {
  const operations = armCrash(scene, 'b', at)
  await scene.command('mirror-snapshot', scene.operators.a.snapshot('image'))
  await scene.world.run(3_000)
  return operations()
}

async function expectLastCompleteState(scene: Scene): Promise<void> {
  const { world, operators, replicas } = scene
  const { b } = world.sites
  const id = (await findImage(b, 'image'))!
  const complete = replicas.lastComplete(b, id)!
  await scene.command('force-promote', operators.b.promote('image', true))
  expect(difference(complete.content, await scene.content(b, id))).toBeUndefined()
  const users = await b.look(id, async ({ header }) => header.snapshots.filter(({ namespace }) => namespace.type === 'user').map(({ name }) => name))
  expect(users).toEqual(complete.userSnapshots)
  await scene.write(b, 'image', 300)
}

/** Of a sync that nothing disturbs. */
async function operationsOfSync(): Promise<number> {
  let operations = 0
  await Scene.play(SEED, async (scene) => {
    await beforeSync(scene)
    operations = await crashAt(scene, Infinity)
    expect(await scene.divergence(scene.world.sites.a, 'image')).toBeUndefined()
  })
  return operations
}

/** Of a restarted daemon: what it does before it leads, and some of what follows. */
const AFTER_RESTART = { from: 20, to: 260 }

describe('a daemon that dies at any operation of a snapshot sync', () => {
  it('goes on where it was when it is started again', async () => {
    const count = await operationsOfSync()
    expect(count).toBeGreaterThan(40)
    await forEachOperation(SEED, { to: count, stride: stride(16) }, async (scene, at) => {
      await beforeSync(scene)
      await crashAt(scene, at)
      scene.daemons.b.start()
      await scene.converge(scene.world.sites.a, 'image')
      await scene.checkLeftovers()
    })
  })

  it('leaves exactly the last complete state to a forced promotion', async () => {
    await forEachOperation(SEED, { to: await operationsOfSync(), stride: stride(7) }, async (scene, at) => {
      await beforeSync(scene)
      await crashAt(scene, at)
      await expectLastCompleteState(scene)
    })
  })

  it('leaves it also when it dies again after it was started again', async () => {
    await forEachOperation(SEED, { ...AFTER_RESTART, stride: stride(18) }, async (scene, at) => {
      const { world, daemons } = scene
      await beforeSync(scene)
      await crashAt(scene, MID_COPY)
      daemons.b.start()
      armCrash(scene, 'b', at)
      await world.run(90_000)
      daemons.b.kill()
      await expectLastCompleteState(scene)
    })
  })
})
