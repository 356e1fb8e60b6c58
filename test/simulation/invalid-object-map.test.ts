import { it, expect } from 'vitest'
import { ImageWriter } from '../../src/rbd/image-writer.ts'
import { difference } from './images.ts'
import type { Operator } from './operators.ts'
import { Scene } from './scene.ts'

const SIZE = 65_536

const onImage = (scene: Scene, operator: Operator, name: string, task: (writer: ImageWriter) => Promise<void>) =>
  scene.command('write', operator.onImage('write', name, (image) => task(new ImageWriter(image))))

// one that was just made says that no object exists
it('what the primary empties is emptied in a replica whose object map was only switched on with the primary\'s', async () => {
  await Scene.play(31, async (scene) => {
    const { operators, world } = scene
    const { a } = operators
    const { sites } = world
    scene.startDaemons()
    await scene.mirrorNew('image', 'snapshot', SIZE)
    await scene.command('feature', a.switchObjectMap('image', false))
    await scene.converge(sites.a, 'image')
    await onImage(scene, a, 'image', (writer) => writer.write(0, Buffer.alloc(SIZE, 'data')))
    await scene.converge(sites.a, 'image')
    await scene.command('feature', a.switchObjectMap('image', true))
    await scene.converge(sites.a, 'image')
    await onImage(scene, a, 'image', (writer) => writer.write(4096, Buffer.alloc(4096)))
    await onImage(scene, a, 'image', (writer) => writer.discard(12_288, 8192))
    await onImage(scene, a, 'image', (writer) => writer.discard(30_000, 500))
    await scene.converge(sites.a, 'image')
    await scene.stopDaemons()
  })
})

it('a clone whose object map is invalid, and says that everything exists, is flattened as a whole', async () => {
  await Scene.play(32, async (scene) => {
    const { operators, world } = scene
    const { a } = operators
    const { sites } = world
    await scene.mirrorNew('parent', 'snapshot', SIZE)
    await onImage(scene, a, 'parent', (writer) => writer.write(0, Buffer.alloc(SIZE, 'parent')))
    await scene.command('snap create', a.userSnapshot('parent', 'base'))
    scene.newHistory('clone')
    const id = await scene.command('clone', a.clone('parent', 'base', 'clone'))
    const before = await scene.content(sites.a, id)
    await scene.command('lose the map', a.command('remove', ({ io }) => io.remove(`rbd_object_map.${id}`)))
    await scene.command('flatten', a.flatten('clone'))
    expect(difference(before, await scene.content(sites.a, id))).toBeUndefined()
  })
})
