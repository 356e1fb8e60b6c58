import { describe, it } from 'vitest'
import type { MirrorImageMode } from '../../src/cls/rbd/mirror-types.ts'
import { armCrash, forEachOperation, stride } from './crashes.ts'
import { findImage } from './images.ts'
import type { Scene, SceneOptions } from './scene.ts'

const SEED = 11
const MODES: readonly MirrorImageMode[] = ['snapshot', 'journal']
/** A deletion has no more operations than this before the image is gone. */
const OPERATIONS = 120

async function replicate(scene: Scene, mode: MirrorImageMode): Promise<void> {
  scene.startDaemons()
  await scene.mirrorNew('image', mode, 65_536)
  await scene.write(scene.world.sites.a, 'image', 500)
  await scene.converge(scene.world.sites.a, 'image')
}

/** Site B's daemon dies at its operation number `at` after the command, or at the end, and is started again. */
async function crashAfter(scene: Scene, at: number, command: () => Promise<void>): Promise<void> {
  armCrash(scene, 'b', at)
  await command()
  await scene.world.run(10_000)
  scene.daemons.b.kill()
  scene.daemons.b.start()
}

describe.each(MODES)('a daemon that dies at any operation of a deletion, mode %s', (mode) => {
  const crashAtEach = (play: (scene: Scene, at: number) => Promise<void>, options: SceneOptions = {}) =>
    forEachOperation(SEED, { to: OPERATIONS, stride: stride(11) }, play, options)

  it('leaves nothing of the replica when it is started again', async () => {
    await crashAtEach(async (scene, at) => {
      const { sites } = scene.world
      await replicate(scene, mode)
      await crashAfter(scene, at, () => scene.command('disable', scene.operators.a.disable('image')))
      await scene.until('the replica is gone', async () => (await findImage(sites.b, 'image')) === undefined)
      await scene.checkLeftovers()
      await scene.stopDaemons()
    })
  }, 120_000)

  it('makes the replica anew when a resync was asked for', async () => {
    await crashAtEach(
      async (scene, at) => {
        const { a, b } = scene.world.sites
        await replicate(scene, mode)
        const before = await findImage(b, 'image')
        await crashAfter(scene, at, () => scene.command('resync', scene.operators.b.resync('image')))
        await scene.until('another replica', async () => ![before, undefined].includes(await findImage(b, 'image')))
        await scene.converge(a, 'image')
        await scene.checkLeftovers()
        await scene.stopDaemons()
      },
      { daemonOptions: { resyncMode: 'recreate' } },
    )
  }, 120_000)
})

describe('a daemon that dies', () => {
  it('at any operation of a sync that makes the replica smaller leaves no data behind when the image is deleted then', async () => {
    await forEachOperation(SEED, { to: OPERATIONS, stride: stride(11) }, async (scene, at) => {
      const { sites } = scene.world
      await replicate(scene, 'snapshot')
      await scene.command('resize', scene.operators.a.resize('image', 16_384))
      armCrash(scene, 'b', at)
      await scene.command('mirror-snapshot', scene.operators.a.snapshot('image'))
      await scene.world.run(3_000)
      scene.daemons.b.kill()
      await scene.command('disable', scene.operators.a.disable('image'))
      scene.daemons.b.start()
      await scene.until('the replica is gone', async () => (await findImage(sites.b, 'image')) === undefined)
      await scene.checkLeftovers()
    })
  }, 60_000)

  it('at any operation of a first copy whose name is taken begins anew when it is free', async () => {
    await forEachOperation(SEED, { to: OPERATIONS, stride: stride(11) }, async (scene, at) => {
      const { a, b } = scene.operators
      scene.startDaemons()
      await scene.command('create', b.create('image', 4_096))
      await scene.world.run(1_000)
      await crashAfter(scene, at, async () => void (await scene.mirrorNew('image', 'snapshot', 65_536)))
      await scene.command('remove', b.remove('image'))
      await scene.converge(a.site, 'image')
      await scene.checkLeftovers()
    })
  }, 60_000)
})
