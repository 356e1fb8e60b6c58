import { expect, it } from 'vitest'
import { ImageWriter } from '../../src/rbd/image-writer.ts'
import { difference, findImage } from './images.ts'
import type { Operator } from './operators.ts'
import { Scene } from './scene.ts'
import type { Site } from './world/site.ts'

const SIZE = 65_536
/** No multiple of the object size. */
const SMALLER = 22_528

/** A clone of site A, mirrored after it was smaller for a while. */
async function mirrorShrunkClone(scene: Scene, mode: 'snapshot' | 'journal'): Promise<void> {
  const { operators, world } = scene
  const { a } = operators
  scene.startDaemons()
  await scene.mirrorNew('parent', mode, SIZE)
  await scene.write(world.sites.a, 'parent', 4_000)
  await scene.command('snap create', a.userSnapshot('parent', 'base'))
  await scene.converge(world.sites.a, 'parent')
  scene.newHistory('clone')
  await scene.command('clone', a.clone('parent', 'base', 'clone'))
  await scene.command('snap create', a.userSnapshot('clone', 'large'))
  await scene.command('resize', a.resize('clone', SMALLER))
  await scene.command('snap create', a.userSnapshot('clone', 'small'))
  await scene.command('resize', a.resize('clone', SIZE))
  await scene.command('enable', a.enable('clone', mode))
  await scene.converge(world.sites.a, 'clone')
}

it.each(['snapshot', 'journal'] as const)('a clone that was smaller has at each snapshot what it had of its parent (mode %s)', async (mode) => {
  await Scene.play(12, async (scene) => {
    await mirrorShrunkClone(scene, mode)
    await scene.stopDaemons()
  })
})

it.each(['snapshot', 'journal'] as const)('a resync gives back what a replica has lost of its parent while it was primary (mode %s)', async (mode) => {
  await Scene.play(13, async (scene) => {
    const { operators, world } = scene
    const { a, b } = operators
    await scene.mirrorNew('parent', mode, SIZE)
    scene.startDaemons()
    await scene.write(world.sites.a, 'parent', 4_000)
    await scene.command('snap create', a.userSnapshot('parent', 'base'))
    await scene.converge(world.sites.a, 'parent')
    await scene.mirrorClone('parent', 'base', 'clone', mode)
    await scene.converge(world.sites.a, 'clone')
    await scene.command('force-promote', b.promote('clone', true))
    await scene.command('resize', b.resize('clone', SMALLER))
    await scene.command('resize', b.resize('clone', SIZE))
    await scene.command('demote', b.demote('clone'))
    await scene.command('resync', b.resync('clone'))
    await scene.write(world.sites.a, 'clone', 300)
    await scene.converge(world.sites.a, 'clone')
    await scene.checkLeftovers()
    await scene.stopDaemons()
  })
})

it.each(['snapshot', 'journal'] as const)('a clone that was smaller when a snapshot had more of its parent may be flattened (mode %s)', async (mode) => {
  await Scene.play(14, async (scene) => {
    const { operators, world } = scene
    const { a } = operators
    const { sites } = world
    await scene.mirrorNew('parent', mode, SIZE)
    scene.startDaemons()
    await scene.write(sites.a, 'parent', 4_000)
    await scene.command('snap create', a.userSnapshot('parent', 'base'))
    await scene.converge(sites.a, 'parent')
    await scene.mirrorClone('parent', 'base', 'clone', mode)
    await scene.converge(sites.a, 'clone')
    await scene.command('snap create', a.userSnapshot('clone', 'large'))
    const large = async (site: Site) => (await scene.userSnapshots(site, (await findImage(site, 'clone'))!)).get('large')!
    const before = await large(sites.a)
    await scene.command('resize', a.resize('clone', SMALLER))
    await scene.command('resize', a.resize('clone', SIZE))
    await scene.converge(sites.a, 'clone')
    await scene.command('flatten', a.flatten('clone'))
    await scene.converge(sites.a, 'clone')
    for (const site of [sites.a, sites.b]) expect(difference(before, await large(site)), site.name).toBeUndefined()
    await scene.stopDaemons()
  })
})

it('what a clone has of its parent again, after a rollback, is a change although it is copied up later', async () => {
  await Scene.play(15, async (scene) => {
    const { operators, world } = scene
    const { a, b } = operators
    const { sites } = world
    const write = (operator: Operator, name: string, offset: number, data: Buffer) =>
      scene.command('write', operator.onImage('write', name, (image) => new ImageWriter(image).write(offset, data)))
    await scene.mirrorNew('parent', 'snapshot', SIZE)
    await write(a, 'parent', 0, Buffer.alloc(SIZE, 'parent'))
    await scene.command('snap create', a.userSnapshot('parent', 'base'))
    scene.startDaemons()
    await scene.converge(sites.a, 'parent')
    await scene.mirrorClone('parent', 'base', 'clone', 'snapshot')
    await scene.command('snap create', a.userSnapshot('clone', 'untouched'))
    await scene.converge(sites.a, 'clone')
    await write(a, 'clone', 8192, Buffer.alloc(8192, 'clone'))
    await scene.converge(sites.a, 'clone')
    // whose replica's objects are their own since then, without a copyup
    await scene.command('demote', a.demote('clone'))
    await scene.until('the demotion to be synced', () =>
      scene.command('promote', b.promote('clone')).then(
        () => true,
        () => false,
      ),
    )
    await scene.command('mirror-snapshot', b.snapshot('clone'))
    await scene.converge(sites.b, 'clone')
    await scene.stopDaemons()
    await scene.command('snap rollback', b.rollBack('clone', 'untouched'))
    await scene.command('mirror-snapshot', b.snapshot('clone'))
    await write(b, 'clone', 9000, Buffer.alloc(100, 'later'))
    const id = (await findImage(sites.a, 'clone'))!
    const last = () => scene.replicas.lastComplete(sites.a, id)!.snapshot.id
    const before = last()
    scene.startDaemons()
    await scene.until('the sync', () => Promise.resolve(last() !== before))
    await scene.converge(sites.b, 'clone')
    await scene.stopDaemons()
  })
})
