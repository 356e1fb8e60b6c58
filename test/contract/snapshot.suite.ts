import { describe, expect, test } from 'vitest'
import { Errno } from '../../src/rados/errors.ts'
import { NO_SNAP, type IoCtx } from '../../src/rados/io-ctx.ts'
import { ReadOperation, WriteOperation } from '../../src/rados/operation.ts'
import { errnoOf, type ContractContext } from './rados.suite.ts'

const bytes = (text: string) => Buffer.from(text)

export function snapshotContract(context: ContractContext): void {
  describe('self-managed snapshots', () => {
    /** Writes 10 bytes, then under one and under two snapshots. */
    async function threeStates(): Promise<{ io: IoCtx; first: bigint; second: bigint; head: IoCtx }> {
      const io = await context.freshIo()
      await io.write('object', new WriteOperation().writeFull(bytes('0123456789')))
      const first = await io.createSelfManagedSnap()
      const under = io.duplicate({ snapContext: { seq: first, snaps: [first] } })
      await under.write('object', new WriteOperation().write(2, bytes('AA')))
      const second = await io.createSelfManagedSnap()
      const head = io.duplicate({ snapContext: { seq: second, snaps: [second, first] } })
      await head.write('object', new WriteOperation().write(6, bytes('BBB')).append(bytes('more')))
      under.close()
      return { io, first, second, head }
    }
    const at = async (io: IoCtx, snap: bigint, oid = 'object') => {
      const view = io.duplicate({ readSnap: snap })
      try {
        return (await view.readData(oid, 0, 100)).toString()
      } finally {
        view.close()
      }
    }

    test('ids grow', async () => {
      const io = await context.freshIo()
      const first = await io.createSelfManagedSnap()
      const second = await io.createSelfManagedSnap()
      expect(second).toBeGreaterThan(first)
      await io.removeSelfManagedSnap(first)
      await io.removeSelfManagedSnap(second)
      io.close()
    })

    test('reads see the state of their snapshot', async () => {
      const { io, first, second, head } = await threeStates()
      expect(await at(io, first)).toBe('0123456789')
      expect(await at(io, second)).toBe('01AA456789')
      expect(await at(io, NO_SNAP)).toBe('01AA45BBB9more')
      expect(head.snapContext).toEqual({ seq: second, snaps: [second, first] })
      head.close()
      io.close()
    })

    test('clones, what they share, and the head', async () => {
      const { io, first, second, head } = await threeStates()
      expect(await io.listSnaps('object')).toEqual({
        seq: second,
        clones: [
          { id: first, snaps: [first], overlap: [[0, 2], [4, 6]], size: 10 }, // prettier-ignore
          { id: second, snaps: [second], overlap: [[0, 6], [9, 1]], size: 10 }, // prettier-ignore
          { id: NO_SNAP, snaps: [], overlap: [], size: 14 },
        ],
      })
      head.close()
      io.close()
    })

    test('an object that was never written under a snapshot has its head alone', async () => {
      const io = await context.freshIo()
      await io.write('object', new WriteOperation().writeFull(bytes('12345')))
      expect((await io.listSnaps('object')).clones).toEqual([{ id: NO_SNAP, snaps: [], overlap: [], size: 5 }])
      expect(await errnoOf(io.listSnaps('none'))).toBe(Errno.ENOENT)
      io.close()
    })

    test('a removed object lives on in its snapshots', async () => {
      const { io, first, head } = await threeStates()
      await head.remove('object')
      expect(await errnoOf(io.stat('object'))).toBe(Errno.ENOENT)
      expect(await at(io, first)).toBe('0123456789')
      const { clones } = await io.listSnaps('object')
      expect(clones.map(({ id }) => id)).not.toContain(NO_SNAP)
      expect(clones).toHaveLength(2)
      head.close()
      io.close()
    })

    test('an object born after a snapshot does not exist in it', async () => {
      const io = await context.freshIo()
      const snap = await io.createSelfManagedSnap()
      const head = io.duplicate({ snapContext: { seq: snap, snaps: [snap] } })
      await head.write('young', new WriteOperation().writeFull(bytes('x')))
      expect(await errnoOf(at(io, snap, 'young'))).toBe(Errno.ENOENT)
      head.close()
      io.close()
    })

    test('roll back', async () => {
      const { io, first, second, head } = await threeStates()
      await head.rollbackSelfManagedSnap('object', first)
      expect(await at(io, NO_SNAP)).toBe('0123456789')
      expect(await at(io, second)).toBe('01AA456789')
      // To a snapshot in which it does not exist: gone.
      await head.write('young', new WriteOperation().writeFull(bytes('x')))
      await head.rollbackSelfManagedSnap('young', first)
      expect(await errnoOf(io.stat('young'))).toBe(Errno.ENOENT)
      head.close()
      io.close()
    })

    test('a snapshot is not written to', async () => {
      const { io, first, head } = await threeStates()
      const view = io.duplicate({ readSnap: first })
      expect(view.readSnap).toBe(first)
      expect(await errnoOf(view.write('object', new WriteOperation().writeFull(bytes('no'))))).toBe(Errno.EROFS)
      view.close()
      head.close()
      io.close()
    })

    test('snapshot contexts are checked', async () => {
      const io = await context.freshIo()
      expect(() => io.duplicate({ snapContext: { seq: 1n, snaps: [2n, 1n] } })).toThrow(expect.objectContaining({ errno: Errno.EINVAL }) as Error)
      expect(() => io.duplicate({ snapContext: { seq: 5n, snaps: [1n, 2n] } })).toThrow(expect.objectContaining({ errno: Errno.EINVAL }) as Error)
      io.close()
    })

    test('views keep what is not changed', async () => {
      const { io, first, head } = await threeStates()
      const view = head.duplicate({ readSnap: first })
      const again = view.duplicate({ readSnap: NO_SNAP })
      expect(again.snapContext).toEqual(head.snapContext)
      expect(again.namespace).toBe(io.namespace)
      await again.write('object', new WriteOperation().writeFull(bytes('again')))
      const operation = new ReadOperation()
      const data = operation.read(0, 20)
      expect((await view.read('object', operation)).get(data).toString()).toBe('0123456789')
      for (const one of [view, again, head, io]) one.close()
    })
  })
}
