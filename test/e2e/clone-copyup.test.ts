import { randomBytes } from 'node:crypto'
import { it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { expectSameUserSnapshots, MIB, mirrorAndCompare } from '../support/e2e.ts'
import { mirroring } from '../support/scenario.ts'

const POOL = 'copyup'

describeCeph('what a clone copies up from its parent', (pair) => {
  mirroring(() => pair, [POOL])

  it('gets into the replica with the next delta, in the head and in every snapshot, also when the clone is flattened', async () => {
    const { a } = await pair.connect()
    const [parent, clone] = [`${POOL}/parent`, `${POOL}/clone`]
    await pair.a.rbd('create', parent, '--size', '40M')
    await a.with(parent, 'write', async (image) => {
      for (let at = 0; at < 40 * MIB; at += 4 * MIB) await image.write(at, randomBytes(3 * MIB))
      await image.createSnapshot('base')
      await image.enableMirroring('snapshot')
    })
    await pair.a.rbd('clone', '--rbd-default-clone-format', '2', `${parent}@base`, clone)
    await mirrorAndCompare(pair, parent)
    await a.with(clone, 'write', (image) => image.enableMirroring('snapshot'))
    await mirrorAndCompare(pair, clone)

    // a few bytes bring a whole object of the parent with them, beside what was written
    await a.with(clone, 'write', async (image) => {
      await image.write(1 * MIB + 77, randomBytes(500))
      await image.flush()
    })
    await mirrorAndCompare(pair, clone)

    // behind a snapshot, the copied-up object is the snapshot's as well
    await a.with(clone, 'write', async (image) => {
      await image.createSnapshot('before')
      await image.write(5 * MIB, randomBytes(500))
      await image.discard(9 * MIB, 200_000)
      await image.createSnapshot('after')
      await image.write(5 * MIB + 10_000, randomBytes(500))
      await image.discard(12 * MIB, 4 * MIB)
    })
    await mirrorAndCompare(pair, clone)
    await expectSameUserSnapshots(pair, clone)

    // copied up between two mirror-snapshots of which the first is gone when the second is copied
    await a.with(clone, 'write', async (image) => {
      await image.write(17 * MIB, randomBytes(500))
      await image.mirrorSnapshot()
      await image.write(17 * MIB + 5_000, randomBytes(500))
      await image.write(21 * MIB, randomBytes(500))
    })
    await mirrorAndCompare(pair, clone)
    await expectSameUserSnapshots(pair, clone)

    await pair.a.rbd('flatten', '--no-progress', clone)
    await a.with(clone, 'write', async (image) => {
      await image.write(25 * MIB, randomBytes(500))
      await image.discard(28 * MIB, 4 * MIB)
    })
    await mirrorAndCompare(pair, clone)
    await expectSameUserSnapshots(pair, clone)

    // the replica keeps its parent for the user snapshots' sake: what is discarded may not show it again
    await a.with(clone, 'write', (image) => image.discard(24 * MIB, 4 * MIB))
    await mirrorAndCompare(pair, clone)
    await expectSameUserSnapshots(pair, clone)
  })

  it('does not come back where a flattened clone without object map has discarded it', async () => {
    const { a } = await pair.connect()
    const [parent, clone] = [`${POOL}/mapped`, `${POOL}/bare`]
    await pair.a.rbd('create', parent, '--size', '16M')
    await a.with(parent, 'write', async (image) => {
      await image.write(0, randomBytes(16 * MIB))
      await image.createSnapshot('base')
      await image.enableMirroring('snapshot')
    })
    await pair.a.rbd('clone', '--rbd-default-clone-format', '2', '--image-feature', 'layering,exclusive-lock,deep-flatten', `${parent}@base`, clone)
    await mirrorAndCompare(pair, parent)
    await a.with(clone, 'write', (image) => image.enableMirroring('snapshot'))
    await mirrorAndCompare(pair, clone)
    await pair.a.rbd('flatten', '--no-progress', clone)
    await a.with(clone, 'write', (image) => image.discard(4 * MIB, 4 * MIB))
    await mirrorAndCompare(pair, clone)
  })
})
