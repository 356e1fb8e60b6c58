import { expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { expectSameUserSnapshots, mirrorAndCompare, scribble } from '../support/e2e.ts'
import { waitForSync } from '../support/mirroring.ts'
import { mirroring, snapshotImage } from '../support/scenario.ts'

const POOL = 'names'

describeCeph('names in snapshot mode', (pair) => {
  mirroring(() => pair, [POOL])

  async function mirroredImage(name: string): Promise<string> {
    const spec = await snapshotImage(pair, `${POOL}/${name}`, {
      fill: async (image) => {
        await scribble(image)
        await image.createSnapshot('one')
        await scribble(image, { count: 4 })
        await image.createSnapshot('two')
        await scribble(image, { count: 4 })
      },
    })
    await mirrorAndCompare(pair, spec)
    return spec
  }

  it('of user snapshots may be swapped, and taken again by new snapshots', async () => {
    const { a } = await pair.connect()
    const spec = await mirroredImage('swapped')
    await pair.a.rbd('snap', 'rename', `${spec}@one`, `${spec}@other`)
    await pair.a.rbd('snap', 'rename', `${spec}@two`, `${spec}@one`)
    await pair.a.rbd('snap', 'rename', `${spec}@other`, `${spec}@two`)
    await mirrorAndCompare(pair, spec)
    await expectSameUserSnapshots(pair, spec)

    await pair.a.rbd('snap', 'rm', `${spec}@two`)
    await pair.a.rbd('snap', 'rename', `${spec}@one`, `${spec}@three`)
    await a.with(spec, 'write', async (image) => {
      await scribble(image, { count: 4 })
      await image.createSnapshot('one')
      await scribble(image, { count: 4 })
      await image.createSnapshot('two')
    })
    await mirrorAndCompare(pair, spec)
    await expectSameUserSnapshots(pair, spec)
  })

  it('and the limit of user snapshots does not keep new ones from the replica', async () => {
    const { a } = await pair.connect()
    const spec = await mirroredImage('limited')
    const count = await a.with(spec, 'read-only', async (image) => (await image.snapshots()).length)
    await pair.a.rbd('snap', 'limit', 'set', spec, '--limit', String(count + 1))
    await mirrorAndCompare(pair, spec)
    await pair.a.rbd('snap', 'rm', `${spec}@one`)
    await a.with(spec, 'write', async (image) => {
      await scribble(image, { count: 4 })
      await image.createSnapshot('new')
    })
    await mirrorAndCompare(pair, spec)
    await expectSameUserSnapshots(pair, spec)
    expect((await pair.b.rbd('info', spec)).includes(`snapshot_limit: ${count + 1}`)).toBe(true)
  })

  it('of images that are taken hold up only the image that wants them, until they are free', async () => {
    const { a, b } = await pair.connect()
    const spec = `${POOL}/taken`
    await pair.b.rbd('create', spec, '--size', '8M')
    await pair.a.rbd('create', spec, '--size', '16M')
    const id = await a.with(spec, 'write', async (image) => {
      await scribble(image)
      await image.enableMirroring('snapshot')
      return image.mirrorSnapshot()
    })
    await mirroredImage('untroubled')
    expect((await pair.b.rbdJson<{ size: number }>('info', spec)).size).toBe(8 * 2 ** 20)
    await pair.b.rbd('rename', spec, `${POOL}/moved`)
    await waitForSync(a, b, spec, { primarySnapId: id, timeout: 60_000 })
  })
})
