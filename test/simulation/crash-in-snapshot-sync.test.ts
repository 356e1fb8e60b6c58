import { describe, expect, it } from 'vitest'
import { difference, findImage } from './images.ts'
import { Scene } from './scene.ts'

const SEED = 7
const verbose = process.env['SIMULATION_VERBOSE'] !== undefined
const only = process.env['SIMULATION_CRASH_AT']

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
  const { world, operators, daemons } = scene
  let operations = 0
  const victim = daemons.b.process
  world.operationListeners.push(({ process }) => {
    if (process === victim && operations++ === at) daemons.b.kill()
  })
  await scene.command('mirror-snapshot', operators.a.snapshot('image'))
  await world.run(3_000)
  return operations
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

async function forEachOperation(play: (scene: Scene, at: number) => Promise<void>): Promise<number> {
  const count = await operationsOfSync()
  const failures: string[] = []
  for (let at = 0; at < count; at++) {
    if (only !== undefined && Number(only) !== at) continue
    await Scene.play(SEED, (scene) => play(scene, at), { verbose }).catch((error: unknown) => {
      failures.push(`at operation ${at}: ${(error as Error).message}${verbose ? (error as Error).stack : ''}`)
    })
  }
  expect(failures).toEqual([])
  return count
}

describe('a daemon that dies at any operation of a snapshot sync', () => {
  it('goes on where it was when it is started again', async () => {
    const count = await forEachOperation(async (scene, at) => {
      await beforeSync(scene)
      await crashAt(scene, at)
      scene.daemons.b.start()
      await scene.converge(scene.world.sites.a, 'image')
      await scene.checkLeftovers()
    })
    expect(count).toBeGreaterThan(40)
  })

  it('leaves exactly the last complete state to a forced promotion', async () => {
    await forEachOperation(async (scene, at) => {
      const { world, operators, replicas } = scene
      const { b } = world.sites
      await beforeSync(scene)
      await crashAt(scene, at)
      const id = (await findImage(b, 'image'))!
      const complete = replicas.lastComplete(b, id)!
      await scene.command('force-promote', operators.b.promote('image', true))
      const content = await scene.content(b, id)
      expect(difference(complete.content, content)).toBeUndefined()
      const users = await b.look(id, async ({ header }) => header.snapshots.filter(({ namespace }) => namespace.type === 'user').map(({ name }) => name))
      expect(users).toEqual(complete.userSnapshots)
      await scene.write(b, 'image', 300)
    })
  })
})
