import { expect, it } from 'vitest'
import { findImage } from './images.ts'
import { Scene } from './scene.ts'

it('an operation waits for a lock owner that is not ready yet, because its cluster is slow to give it the object map', async () => {
  await Scene.play(3, async (scene) => {
    const { world, operators } = scene
    const { a } = world.sites
    await scene.mirrorNew('image', 'snapshot', 65_536)
    const id = (await findImage(a, 'image'))!
    let held = false
    world.troubles = ({ process }, { kind, oid }) => {
      if (held || process.role !== 'client' || kind !== 'read' || oid !== `rbd_object_map.${id}`) return []
      held = true
      return [{ type: 'lateMs', ms: 5_000 }]
    }
    const user = scene.user(a, 'image')
    await scene.until('the lock is taken', () => Promise.resolve(held))
    await scene.command('snap create', operators.a.userSnapshot('image', 'one'))
    await world.finish('stop writing', () => user.stop())
    expect(user.error).toBeUndefined()
  })
})
