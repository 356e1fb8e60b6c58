import { describe, expect, it } from 'vitest'
import { Errno } from '../../src/rados/errors.ts'
import { WriteOperation } from '../../src/rados/operation.ts'
import { radosContract } from './rados.suite.ts'
import { memoryFixture } from '../support/emulated.ts'

radosContract('the RADOS contract on an emulated cluster in memory', memoryFixture)

describe('a removed snapshot', () => {
  it('leaves the clones that other snapshots need, with what they share, as an OSD was seen to leave them', async () => {
    const fixture = await memoryFixture()
    const cluster = await fixture.connect()
    const io = await cluster.openPool(fixture.pool)
    const taken: bigint[] = []
    const snapshot = async () => taken.unshift(await io.createSelfManagedSnap())
    const write = (operation: WriteOperation) => io.duplicate({ snapContext: { seq: taken[0] ?? 0n, snaps: taken } }).write('one', operation)
    const at = async (snap: bigint) => (await io.duplicate({ readSnap: snap }).readData('one', 0, 50_000)).toString('latin1')
    await write(new WriteOperation().writeFull(Buffer.alloc(50_000, 'x')))
    await snapshot()
    await write(new WriteOperation().write(100, Buffer.from('first')).omapSet(new Map([['k', Buffer.from('v')]])))
    await snapshot()
    await snapshot()
    await write(new WriteOperation().write(20_000, Buffer.from('second')).omapClear())
    await snapshot()
    await write(new WriteOperation().remove())

    const [fourth, third, second, first] = taken as [bigint, bigint, bigint, bigint]
    const contents = [await at(fourth), await at(third), await at(second)]
    await io.removeSelfManagedSnap(first)
    expect(await io.listSnaps('one')).toEqual({
      seq: fourth,
      clones: [
        { id: third, snaps: [second, third], overlap: [[0, 20_000], [20_006, 29_994]], size: 50_000 }, // prettier-ignore
        { id: fourth, snaps: [fourth], overlap: [], size: 50_000 },
      ],
    })
    expect([await at(fourth), await at(third), await at(second)]).toEqual(contents)
    expect((await io.duplicate({ readSnap: second }).omapGet('one', '', '', 10)).entries).toEqual(new Map([['k', Buffer.from('v')]]))
    for (const snap of [second, third, fourth]) await io.removeSelfManagedSnap(snap)
    await expect(io.listSnaps('one')).rejects.toMatchObject({ errno: Errno.ENOENT })
    await cluster.close()
    await fixture.close()
  })
})
