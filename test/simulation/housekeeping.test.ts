import { expect, it } from 'vitest'
import { Errno, isErrno } from '../../src/rados/errors.ts'
import { Scene } from './scene.ts'
import type { Site } from './world/site.ts'

/** `SIMULATION_SNAPSHOTS=10000` looks longer. */
const SNAPSHOTS = Number(process.env['SIMULATION_SNAPSHOTS'] ?? 100)
const WARM_UP = 50
const PAGE = 1000

/** Objects, omap keys and clones of data objects on a cluster. */
async function stored(site: Site): Promise<{ objects: number; keys: number; clones: number }> {
  const found = { objects: 0, keys: 0, clones: 0 }
  for await (const oid of site.io.listObjects()) {
    found.objects++
    for (let after = ''; ; ) {
      const { entries } = await site.io.omapGet(oid, after, '', PAGE)
      found.keys += entries.size
      if (entries.size < PAGE) break
      after = [...entries.keys()].at(-1)!
    }
    try {
      found.clones += (await site.io.listSnaps(oid)).clones.length
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
  }
  return found
}

it(
  `nothing piles up after ${SNAPSHOTS} mirror-snapshots`,
  async () => {
    await Scene.play(3, async (scene) => {
      const { a, b } = scene.world.sites
      scene.startDaemons()
      await scene.mirrorNew('image', 'snapshot', 65_536)
      const most: Record<string, number> = {}
      const compare = async (index: number) => {
        for (const site of [a, b]) {
          for (const [what, count] of Object.entries(await stored(site))) {
            const name = `${what} of ${site.name}`
            if (index < WARM_UP) most[name] = Math.max(most[name] ?? 0, count)
            // whether a sync or the pruning after it is under way is chance
            else expect({ [name]: count, index }).toSatisfy(() => count <= most[name]! + 8)
          }
        }
      }
      for (let index = 0; index < SNAPSHOTS; index++) {
        await scene.write(a, 'image', 150)
        await scene.command('mirror-snapshot', scene.operators.a.snapshot('image'))
        await scene.world.run(500)
        if (index < WARM_UP || index % 100 === 99) await compare(index)
      }
      await scene.converge(a, 'image')
      await scene.checkLeftovers()
      await compare(SNAPSHOTS)
    })
  },
  60_000 + SNAPSHOTS * 100,
)
