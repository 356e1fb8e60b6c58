import { describe, expect, it } from 'vitest'
import { encode, zeroTime } from '../../src/encoding/codec.ts'
import { EventEntry } from '../../src/rbd/journal/events.ts'
import { ImageJournal } from '../../src/rbd/journal/image-journal.ts'
import { loadMirrorInfo } from '../../src/rbd/mirror/mirror-info.ts'
import { findImage } from './images.ts'
import { Scene } from './scene.ts'
import type { Site } from './world/site.ts'

const isOrphan = async (site: Site) => (await loadMirrorInfo(site.io, (await findImage(site, 'image'))!)).promotion.state === 'orphan'
const splitBrains = ({ world }: Scene) => world.trail.filter((line) => line.includes('split-brain'))

/** B is promoted and demoted again, `meanwhile` as its primary, before A has heard of it; then A is promoted. */
async function promotedUnheard(scene: Scene, meanwhile: () => Promise<void>, demoted = async () => undefined as void): Promise<void> {
  const { world, operators, daemons } = scene
  const { a, b } = world.sites
  scene.startDaemons()
  await scene.mirrorNew('image', 'journal', 65_536)
  await scene.write(a, 'image', 1_000)
  await scene.converge(a, 'image')
  await scene.command('demote', operators.a.demote('image'))
  await scene.until('demotion replayed', () => isOrphan(b))
  await world.finish('stop', () => daemons.a.stop())
  for (let round = 0; round < 2; round++) {
    await scene.command('promote', operators.b.promote('image'))
    // a client opens the image, and has nothing to write
    await scene.command('open', operators.b.takeLock('image'))
    if (round === 0) await meanwhile()
    await scene.command('demote', operators.b.demote('image'))
  }
  await demoted()
  await scene.command('promote', operators.a.promote('image'))
  await scene.write(a, 'image', 1_000)
}

describe('a site that was primary before the other has heard of it', () => {
  it('follows the other if it has written nothing, and the other follows it after the next failovers', async () => {
    await Scene.play(
      31,
      async (scene) => {
        const { world, operators, daemons } = scene
        const { a, b } = world.sites
        await promotedUnheard(scene, async () => undefined)
        await scene.converge(a, 'image')
        daemons.a.start()
        for (const [from, to] of [['a', 'b'], ['b', 'a'], ['a', 'b']] as const) {
          const next = world.sites[to]
          await scene.command('demote', operators[from].demote('image'))
          await scene.until('demotion replayed', () => isOrphan(next))
          await scene.command('promote', operators[to].promote('image'))
          await scene.write(next, 'image', 500)
          await scene.converge(next, 'image')
        }
        expect(splitBrains(scene)).toEqual([])
        expect((await scene.content(a, (await findImage(a, 'image'))!)).equals(await scene.content(b, (await findImage(b, 'image'))!))).toBe(true)
        await scene.stopDaemons()
      },
      { verbose: true },
    )
  })

  it('is left alone if it has written', async () => {
    await Scene.play(
      32,
      async (scene) => {
        const { world } = scene
        const { b } = world.sites
        let mine: Buffer | undefined
        await promotedUnheard(scene, async () => {
          await scene.write(b, 'image', 100)
          mine = await scene.content(b, (await findImage(b, 'image'))!)
        })
        await world.run(60_000)
        expect(splitBrains(scene)).not.toEqual([])
        expect((await scene.content(b, (await findImage(b, 'image'))!)).equals(mine!)).toBe(true)
        await scene.stopDaemons()
      },
      { verbose: true },
    )
  })

  it('is left alone if it may have written what no tag tells of', async () => {
    await Scene.play(
      33,
      async (scene) => {
        const { world, operators } = scene
        const { b } = world.sites
        await promotedUnheard(
          scene,
          async () => undefined,
          () =>
            // under the promotion's own tag, and not committed
            scene.command(
              'record a write',
              operators.b.command('record', async ({ io, options: { clock, log } }) => {
                const own = await ImageJournal.open({ io, journalId: (await findImage(b, 'image'))!, openPool: () => Promise.reject(new Error('another pool')), clock, log })
                const event = { type: 'aioWrite', offset: 0, length: 512, data: Buffer.alloc(512, 1) } as const
                await own.journal.record(own.ownership.data.predecessor.tagTid).append(encode(EventEntry, { event, timestamp: zeroTime }))
                await own.close()
              }),
            ),
        )
        await world.run(60_000)
        expect(splitBrains(scene)).not.toEqual([])
        await scene.stopDaemons()
      },
      { verbose: true },
    )
  })
})
