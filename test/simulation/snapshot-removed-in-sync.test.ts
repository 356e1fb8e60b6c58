import { expect, it } from 'vitest'
import type { PlannedOperation } from '../../src/drivers/faulty/fault-plan.ts'
import { objectMapName } from '../../src/rbd/names.ts'
import { armCrash, forEachOperation, stride } from './crashes.ts'
import { findImage } from './images.ts'
import { Scene } from './scene.ts'

const SEED = 11
/** How long the primary's OSDs take to answer what is held up. */
const SLOW_MS = 2_000

type Held = (operation: PlannedOperation) => boolean
const clonesOfObjects: Held = ({ method }) => method === 'listSnaps'

/** The replica's second sync has begun, with a user snapshot that is removed before the primary answers what is `held` up. */
async function removedWhileCopied(scene: Scene, held = clonesOfObjects): Promise<void> {
  const { world, operators } = scene
  const { a } = world.sites
  scene.startDaemons()
  await scene.mirrorNew('image', 'snapshot', 65_536)
  await scene.write(a, 'image', 3_000)
  await scene.converge(a, 'image')
  // parts of all objects
  await scene.write(a, 'image', 2_000, { maxBlocks: 3 })
  await scene.command('snap', operators.a.userSnapshot('image', 'one'))
  await scene.write(a, 'image', 2_000, { maxBlocks: 3 })
  await world.run(1_000)
  const copying = new Promise<void>((resolve) => {
    world.troubles = ({ process, remote }, operation) => {
      if (process.role !== 'daemon' || !remote || !held(operation)) return []
      resolve()
      return [{ type: 'lateMs', ms: SLOW_MS }]
    }
  })
  await scene.command('mirror-snapshot', operators.a.snapshot('image'))
  await world.finish('copy', () => copying)
  world.troubles = () => []
  await scene.command('snap rm', operators.a.removeUserSnapshot('image', 'one'))
}

it('a user snapshot that is removed while it is copied is not in the replica when the sync is complete', async () => {
  await Scene.play(SEED, async (scene) => {
    const { world, replicas } = scene
    const { b } = world.sites
    await removedWhileCopied(scene)
    const id = (await findImage(b, 'image'))!
    const before = replicas.lastComplete(b, id)!.snapshot.id
    await scene.until('the sync', () => Promise.resolve(replicas.lastComplete(b, id)!.snapshot.id !== before))
    expect(replicas.lastComplete(b, id)!.userSnapshots).toEqual([])
    await scene.converge(world.sites.a, 'image')
  })
})

it('and what its object map said is not lost where the next one was read before the two were made one', async () => {
  await Scene.play(SEED, async (scene) => {
    const { world, replicas } = scene
    const { a, b } = world.sites
    const id = async () => (await findImage(b, 'image'))!
    await removedWhileCopied(scene, ({ method, oid = '' }) => method === 'read' && /^rbd_object_map.*3$/.test(oid))
    const before = replicas.lastComplete(b, await id())!.snapshot.id
    const after = async () => replicas.lastComplete(b, await id())!.snapshot.id
    await scene.until('the sync', async () => (await after()) !== before)
    await scene.converge(a, 'image')
  })
})

it('and what was taken for missing in it is copied whole by whoever goes on after a crash', async () => {
  let operations = 0
  await Scene.play(SEED, async (scene) => {
    await removedWhileCopied(scene)
    const count = armCrash(scene, 'b', Infinity)
    await scene.world.run(SLOW_MS + 2_000)
    operations = count()
  })
  expect(operations).toBeGreaterThan(60)
  await forEachOperation(SEED, { to: operations, stride: stride(3) }, async (scene, at) => {
    await removedWhileCopied(scene)
    armCrash(scene, 'b', at)
    await scene.world.run(SLOW_MS + 2_000)
    if (scene.daemons.b.process) return
    scene.daemons.b.start()
    // a daemon that takes over from a dead one does so many operations until it copies, and some of them here and there after that
    if (at % 2 === 0) {
      armCrash(scene, 'b', 200 + at)
      await scene.world.run(60_000)
      scene.daemons.b.kill()
      scene.daemons.b.start()
    }
    await scene.converge(scene.world.sites.a, 'image')
    await scene.checkLeftovers()
  })
})

it.each(['snapshot', 'journal'] as const)('a snapshot whose maker died before it had an object map is copied whole (mode %s)', async (mode) => {
  await Scene.play(SEED, async (scene) => {
    const { operators, world } = scene
    const { a } = world.sites
    scene.newHistory('image')
    const id = await scene.command('create', operators.a.create('image', 65_536))
    await scene.write(a, 'image', 2_000)
    await scene.command('snap', operators.a.userSnapshot('image', 'one'))
    const snapshot = await a.look(id, async ({ header }) => header.snapshots[0]!.id)
    await a.io.remove(objectMapName(id, snapshot))
    await scene.command('resize', operators.a.resize('image', 8_192))
    await scene.command('resize', operators.a.resize('image', 65_536))
    scene.startDaemons()
    await scene.command('enable', operators.a.enable('image', mode))
    await scene.converge(a, 'image')
    await scene.stopDaemons()
  })
})
