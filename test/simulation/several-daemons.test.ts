import { expect, it } from 'vitest'
import { mirrorImageMapList } from '../../src/cls/rbd/mirror-client.ts'
import { findLocker } from '../../src/rbd/managed-lock.ts'
import { RBD_MIRROR_LEADER } from '../../src/rbd/names.ts'
import { findImage, mirrorEntry } from './images.ts'
import { Scene } from './scene.ts'
import { Daemon } from './world/daemon.ts'
import type { Site } from './world/site.ts'

const FOREVER_MS = 1e9
/** A leader that has lost the remote cluster notices it, waits as long as for a hung one, and goes; the others then take the images over. */
const HAND_OVER_MS = 180_000

it('of which some lose the remote cluster leave the images to those that reach it', { timeout: 60_000 }, async () => {
  await Scene.play(5, async (scene) => {
    const { world } = scene
    const { a, b } = world.sites
    const cut = new Set<string>()
    const isCut = (name: string, site: Site) => site === a && cut.has(name.split('.')[0]!)
    world.outage = (process, site) => (isCut(process.name, site) ? FOREVER_MS : 0)
    world.troubles = ({ process, site }, { kind }) => (!isCut(process.name, site) ? [] : kind === 'notification' ? [{ type: 'drop' }] : [{ type: 'lateMs', ms: FOREVER_MS }])

    const [first, second] = [scene.daemons.b, new Daemon(world, b, {}, 'daemon-second')]
    first.start()
    const names = ['one', 'two', 'three']
    for (const name of names) await scene.mirrorNew(name, name === 'two' ? 'journal' : 'snapshot', 65_536)
    const leader = async () => {
      const found = await findLocker(b.io, RBD_MIRROR_LEADER)
      return typeof found === 'object' ? b.clients.get(found.address)?.process.name.split('.')[0] : found
    }
    const holders = async () => {
      const map = await mirrorImageMapList.call(b.io, RBD_MIRROR_LEADER, { startAfter: '', max: 100 })
      return new Set([...map.values()].map(({ instanceId }) => instanceId))
    }
    const allFollow = async () => {
      for (const name of names) {
        await scene.write(a, name, 500)
        const { globalImageId, mode } = (await mirrorEntry(a, (await findImage(a, name))!))!
        if (mode === 'snapshot') await scene.command('mirror-snapshot', scene.operators.a.snapshot(name))
        await scene.until(`${name} (${globalImageId}) to follow`, async () => (await scene.divergence(a, name)) === undefined, HAND_OVER_MS)
      }
    }
    await allFollow()
    second.start()
    await scene.until('the images to be shared', async () => (await holders()).size === 2)
    await allFollow()
    expect(await leader()).toBe('daemon-b')

    cut.add('daemon-b')
    await allFollow()
    await scene.until('the second daemon to lead', async () => (await leader()) === 'daemon-second', HAND_OVER_MS)
    await scene.until('it to have all images', async () => (await holders()).size === 1, HAND_OVER_MS)

    // it loses the remote cluster too: there is nobody better, it stays; whoever finds the way back first takes over
    cut.add('daemon-second')
    await world.run(HAND_OVER_MS)
    expect(await leader()).toBe('daemon-second')
    cut.delete('daemon-b')
    await allFollow()
    await scene.until('the first daemon to lead', async () => (await leader()) === 'daemon-b', HAND_OVER_MS)

    // the last that is left leads also without the remote cluster, and goes on when that is back
    cut.add('daemon-b')
    first.kill()
    await scene.until('the second daemon to lead', async () => (await leader()) === 'daemon-second', HAND_OVER_MS)
    cut.clear()
    first.start()
    await allFollow()
    await scene.until('the images to be shared', async () => (await holders()).size === 2) // none moves again so soon
    await world.finish('stop the daemons', () => Promise.all([first.stop(), second.stop()]), 30_000)
  })
})
