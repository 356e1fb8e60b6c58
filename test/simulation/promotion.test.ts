import { expect, it } from 'vitest'
import { loadMirrorInfo } from '../../src/rbd/mirror/mirror-info.ts'
import { findImage } from './images.ts'
import { Scene } from './scene.ts'

it('a daemon that hears nothing of a forced promotion never overrules it, and lets the new owner write', async () => {
  await Scene.play(21, async (scene) => {
    const { world, operators } = scene
    const { a, b } = world.sites
    scene.startDaemons()
    await scene.mirrorNew('image', 'journal', 65_536)
    await scene.write(a, 'image', 1_000)
    await scene.converge(a, 'image')
    world.troubles = ({ process }, { kind }) => (kind === 'notification' && process.role === 'daemon' ? [{ type: 'drop' }] : [])
    await scene.command('force-promote', operators.b.promote('image', true))
    // a new user of the old primary begins a new tag there
    await scene.write(a, 'image', 1_000)
    await world.run(60_000)
    const { promotion } = await loadMirrorInfo(b.io, (await findImage(b, 'image'))!)
    expect(promotion.state).toBe('primary')
    await scene.write(b, 'image', 1_000)
  })
})
