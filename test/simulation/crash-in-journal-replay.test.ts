import { describe, expect, it } from 'vitest'
import { armCrash, forEachOperation, stride } from './crashes.ts'
import { findImage } from './images.ts'
import { inconsistency } from './invariants/crash-consistency.ts'
import { Scene } from './scene.ts'
import { Violation } from './world/world.ts'

const SEED = 11
/** Many writes and flushes come between two looks at the journal. */
const PACE = { pauseMs: 2, flushEvery: 4 }

/** A replica that follows, and somebody who writes, makes a snapshot and resizes the image meanwhile. */
async function follow(scene: Scene, from: 'first sync' | 'replay', at: number): Promise<number> {
  const { world, operators } = scene
  const { a } = world.sites
  let operations = from === 'first sync' ? armLater(scene, at) : undefined
  scene.startDaemons()
  await scene.mirrorNew('image', 'journal', 65_536)
  await scene.write(a, 'image', 400, PACE)
  if (from === 'replay') {
    await scene.converge(a, 'image')
    operations = armCrash(scene, 'b', at)
  }
  await scene.write(a, 'image', 250, PACE)
  await scene.command('snap', operators.a.userSnapshot('image', 'one'))
  await scene.write(a, 'image', 150, PACE)
  await scene.resize(operators.a, 'image', 65_536, 57_344)
  await scene.write(a, 'image', 150, PACE)
  await world.run(2_000)
  return operations!()
}

/** As soon as the daemon runs. */
function armLater(scene: Scene, at: number): () => number {
  let count: (() => number) | undefined
  scene.world.operationListeners.push(({ process }) => {
    if (process === scene.daemons.b.process) count ??= armCrash(scene, 'b', at)
  })
  return () => count!()
}

async function operationsOf(from: 'first sync' | 'replay'): Promise<number> {
  let operations = 0
  await Scene.play(SEED, async (scene) => {
    operations = await follow(scene, from, Infinity)
    expect(await scene.divergence(scene.world.sites.a, 'image')).toBeUndefined()
  })
  return operations
}

describe('a daemon that dies at any operation in journal mode', () => {
  it('goes on where it was in the first sync, when it is started again', async () => {
    await forEachOperation(SEED, { to: await operationsOf('first sync'), stride: stride(40) }, async (scene, at) => {
      await follow(scene, 'first sync', at)
      if (!scene.daemons.b.process) scene.daemons.b.start()
      await scene.converge(scene.world.sites.a, 'image')
      await scene.checkLeftovers()
    })
  })

  it('goes on where it was in the replay, when it is started again', async () => {
    await forEachOperation(SEED, { to: await operationsOf('replay'), stride: stride(40) }, async (scene, at) => {
      await follow(scene, 'replay', at)
      if (!scene.daemons.b.process) scene.daemons.b.start()
      await scene.converge(scene.world.sites.a, 'image')
      await scene.checkLeftovers()
    })
  })

  it('leaves what a power cut could have left on the primary to a forced promotion', async () => {
    await forEachOperation(SEED, { to: await operationsOf('replay'), stride: stride(12) }, async (scene, at) => {
      const { world, operators } = scene
      const { b } = world.sites
      await follow(scene, 'replay', at)
      const id = (await findImage(b, 'image'))!
      await scene.command('force-promote', operators.b.promote('image', true))
      await scene.command('open', operators.b.takeLock('image'))
      const wrong = inconsistency(await scene.content(b, id), scene.histories.get('image')!)
      if (wrong !== undefined) throw new Violation(wrong)
      await scene.write(b, 'image', 300)
    })
  })
})
