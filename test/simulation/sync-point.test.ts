import { expect, it } from 'vitest'
import type { SnapId } from '../../src/rados/io-ctx.ts'
import { findImage } from './images.ts'
import { Scene } from './scene.ts'

/** How long a monitor takes for a snapshot id: the daemon has the lock of the primary image all the while. */
const SLOW_MS = 3_000

/** Up to the moment in which a daemon that makes its first copy waits for the snapshot to copy. */
async function untilSyncPoint(scene: Scene): Promise<void> {
  const { world } = scene
  const began = new Promise<void>((resolve) => {
    world.troubles = ({ process, remote }, { method }) => {
      if (process.role !== 'daemon' || !remote || method !== 'createSelfManagedSnap') return []
      resolve()
      return [{ type: 'lateMs', ms: SLOW_MS }]
    }
  })
  scene.startDaemons()
  await scene.mirrorNew('image', 'journal', 65_536)
  await world.finish('sync point', () => began)
}

it('a daemon does no operation of others on its primary, whose journal would not have it', async () => {
  await Scene.play(5, async (scene) => {
    const { world, operators } = scene
    const { a, b } = world.sites
    await untilSyncPoint(scene)
    await scene.command('snap create', operators.a.userSnapshot('image', 'meanwhile'))
    await scene.command('resize', operators.a.resize('image', 81_920))
    world.troubles = () => []
    await scene.converge(a, 'image')
    const replica = (await findImage(b, 'image'))!
    expect(await b.look(replica, async ({ header }) => header.size)).toBe(81_920)
    await scene.stopDaemons()
  })
})

it('a sync point that was made while mirroring was switched off goes when it is switched on again', async () => {
  await Scene.play(6, async (scene) => {
    const { world, operators } = scene
    await untilSyncPoint(scene)
    await scene.command('disable', operators.a.disable('image'))
    await scene.command('enable', operators.a.enable('image', 'journal'))
    world.troubles = () => []
    await scene.converge(world.sites.a, 'image')
    await scene.checkLeftovers()
    await scene.stopDaemons()
  })
})

it('a replica that is promoted by force while its first copy waits for a sync point keeps what its users do', async () => {
  await Scene.play(7, async (scene) => {
    const { world, operators } = scene
    const { b } = world.sites
    await untilSyncPoint(scene)
    await scene.command('force-promote', operators.b.promote('image', true))
    await scene.write(b, 'image', 500)
    await scene.command('snap create', operators.b.userSnapshot('image', 'mine'))
    await world.run(SLOW_MS + 10_000)
    const id = (await findImage(b, 'image'))!
    const names = await b.look(id, async ({ header }) => header.snapshots.map(({ name }) => name))
    expect(names).toEqual(['mine'])
    await scene.write(b, 'image', 300)
    await scene.stopDaemons()
  })
})

it('a sync point that an operator removes while it is copied is made anew: what was copied of it counts for nothing', async () => {
  await Scene.play(8, async (scene) => {
    const { world, operators } = scene
    const { a } = world.sites
    await scene.mirrorNew('image', 'journal', 65_536)
    await scene.write(a, 'image', 3_000)
    const copying = new Promise<void>((resolve) => {
      world.troubles = ({ process, remote }, { method, oid = '' }) => {
        if (process.role !== 'daemon' || remote || method !== 'write' || !oid.startsWith('rbd_data.')) return []
        resolve()
        return [{ type: 'lateMs', ms: SLOW_MS }]
      }
    })
    scene.startDaemons()
    await world.finish('copy', () => copying)
    // what the snapshot has of an object that is written goes with it
    await scene.write(a, 'image', 1_000)
    const id = (await findImage(a, 'image'))!
    const points = await a.look(id, async ({ header }) => header.snapshots.filter(({ name }) => name.startsWith('.rbd-mirror.')).map((snapshot): SnapId => snapshot.id))
    expect(points).toHaveLength(1)
    await scene.command('snap rm', operators.a.removeSnapshotById('image', points[0]!))
    await world.run(SLOW_MS + 2_000)
    world.troubles = () => []
    await scene.converge(a, 'image')
    await scene.checkLeftovers()
    await scene.stopDaemons()
  })
})

it('what is done to an image that waits for its turn is not done over again', async () => {
  await Scene.play(
    9,
    async (scene) => {
      const { world, operators } = scene
      const { a } = world.sites
      await scene.mirrorNew('first', 'journal', 65_536)
      await scene.write(a, 'first', 2_000)
      const copying = new Promise<void>((resolve) => {
        world.troubles = ({ process, remote }, { method, oid = '' }) => {
          if (process.role !== 'daemon' || remote || method !== 'write' || !oid.startsWith('rbd_data.')) return []
          resolve()
          return [{ type: 'lateMs', ms: SLOW_MS }]
        }
      })
      scene.startDaemons()
      await world.finish('copy', () => copying)
      await scene.mirrorNew('second', 'journal', 65_536)
      await scene.until('the replica', async () => (await findImage(world.sites.b, 'second')) !== undefined)
      await scene.write(a, 'second', 500)
      await scene.command('snap create', operators.a.userSnapshot('second', 'one'))
      await scene.command('snap rename', operators.a.renameSnapshot('second', 'one', 'two'))
      await scene.write(a, 'second', 500)
      world.troubles = () => []
      await scene.converge(a, 'first')
      await scene.converge(a, 'second')
      await scene.stopDaemons()
    },
    { daemonOptions: { concurrentImageSyncs: 1 } },
  )
})
