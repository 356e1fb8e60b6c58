import { describe, expect, it } from 'vitest'
import { compareImages, expectSameContent } from '../support/compare.ts'
import { describeCeph, haveCeph } from '../support/ceph.ts'
import { MirrorDaemon } from '../support/daemon.ts'
import { createMirroredPool, waitForSync } from '../support/mirroring.ts'
import { replaceIfBroken, startSharedPair } from '../support/shared-pair.ts'

const MIB = 2 ** 20

// The yardstick itself: the stock daemon mirrors between the test's clusters, and the comparison sees a difference where there is one.
describeCeph('test clusters with the stock daemon', (pair) => {
  it('mirror an image whose contents then compare equal, and unequal after a write', async () => {
    await createMirroredPool(pair.a, pair.b, 'fixture')
    const { a, b } = await pair.connect()
    await pair.a.rbd('create', 'fixture/image', '--size', '64M')
    await using daemon = MirrorDaemon.start({ kind: 'stock', folder: pair.folder, cluster: pair.b.name })
    await pair.a.rbd('mirror', 'image', 'enable', 'fixture/image', 'snapshot')
    await a.with('fixture/image', 'write', async (image) => {
      await image.write(5 * MIB, Buffer.alloc(MIB, 'first'))
      await image.mirrorSnapshot()
    })
    await waitForSync(a, b, 'fixture/image')
    await expectSameContent(a, b, 'fixture/image')
    await a.with('fixture/image', 'write', async (primary) => {
      await primary.write(5 * MIB + 100, Buffer.from('second'))
      const differences = await b.with('fixture/image', 'read-only', (replica) => compareImages(primary, replica))
      expect(differences).toHaveLength(1)
      expect(differences[0]!.offset).toBeGreaterThanOrEqual(5 * MIB + 100)
    })
    expect(await daemon.stop()).toBeLessThan(10_000)
  })
})

describe.skipIf(!haveCeph)('clusters that the files of a run share', () => {
  it('are replaced when one takes no write any more, and only then', async () => {
    await using pair = await startSharedPair()
    const fsid = () => pair.a.ceph('fsid')
    const first = await fsid()
    expect(await replaceIfBroken(pair)).toBeUndefined()
    expect(await fsid()).toBe(first)
    await pair.a.killDaemon('osd.0')
    expect(await replaceIfBroken(pair, 2_000)).toMatch(/^rbdtest-a does not take a write \(no answer within 2000 ms\)\nosd\.0 does not run\n/)
    expect(await fsid()).not.toBe(first)
    expect(await replaceIfBroken(pair)).toBeUndefined()
  })
})
