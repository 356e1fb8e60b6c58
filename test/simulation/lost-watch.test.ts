import { expect, it } from 'vitest'
import { findImage } from './images.ts'
import { Scene } from './scene.ts'

it('a snapshot goes as a whole although the watch is lost meanwhile, and the answer to keeping the lock under the new one', async () => {
  await Scene.play(11, async (scene) => {
    const { world, operators } = scene
    const { a } = world.sites
    scene.startDaemons()
    await scene.mirrorNew('image', 'snapshot', 65_536)
    await scene.write(a, 'image', 1_000)
    await scene.command('snap create', operators.a.userSnapshot('image', 'one'))
    await scene.write(a, 'image', 1_000)
    const id = (await findImage(a, 'image'))!
    // the lock is taken under the first watch, and kept under the second
    const steps = ['write', 'watch', 'write']
    world.troubles = ({ process }, { method, oid }) => {
      if (process.role !== 'operator' || oid !== `rbd_header.${id}` || method !== steps[0]) return []
      steps.shift()
      if (steps.length === 2) return [{ type: 'loseWatches' }]
      return steps.length === 0 ? [{ type: 'lostAck' }] : []
    }
    await scene.command('snap rm', operators.a.removeUserSnapshot('image', 'one'))
    expect(steps).toEqual([])
    world.troubles = () => []
    await scene.write(a, 'image', 500)
    await scene.command('mirror-snapshot', operators.a.snapshot('image'))
    await scene.converge(a, 'image')
    await scene.checkLeftovers()
    await scene.stopDaemons()
  })
})
