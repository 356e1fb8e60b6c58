import { describe, expect, it, vi } from 'vitest'
import type { Clock } from '../../base/clock.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { WriteOperation } from '../../rados/operation.ts'
import type { Image } from '../../rbd/image.ts'
import { CopyProgressKeeper } from './copy-progress.ts'

/** An image that remembers which numbers were noted, and answers when it is told to. */
function setUp() {
  const noted: number[] = []
  const answers: { resolve: () => void; reject: (error: unknown) => void }[] = []
  const image = {
    headerOid: 'rbd_header.id',
    io: {
      write: (_: string, { steps }: WriteOperation) => {
        const [step] = steps
        if (step?.type === 'exec') noted.push(Number(step.input.readBigUInt64LE(9)))
        return new Promise<bigint>((resolve, reject) => answers.push({ resolve: () => resolve(1n), reject }))
      },
    },
  } as unknown as Image
  const time = { now: 0 }
  const clock: Clock = { now: () => time.now, monotonic: () => time.now, setTimer: () => () => undefined }
  return { keeper: new CopyProgressKeeper(image, 7n, clock), noted, answers, time }
}

describe('CopyProgressKeeper', () => {
  it('notes the last whole object, now and then, one write at a time', async () => {
    const { keeper, noted, answers, time } = setUp()
    keeper.advance(10)
    expect(noted).toEqual([])
    time.now = 1000
    keeper.advance(20)
    keeper.advance(21)
    time.now = 5000
    keeper.advance(22)
    expect(noted).toEqual([19])
    answers[0]!.resolve()
    await keeper.settle()
    keeper.advance(30)
    expect(noted).toEqual([19, 29])
  })

  it('notes what is known at the end, if it is asked to', async () => {
    const { keeper, noted, answers } = setUp()
    keeper.advance(12)
    const flushed = keeper.flush()
    await vi.waitFor(() => expect(answers).toHaveLength(1))
    answers[0]!.resolve()
    await flushed
    expect(noted).toEqual([11])
    await keeper.flush()
    expect(noted).toEqual([11])
  })

  it('tells of a failure when the copy is over, and writes no more', async () => {
    const { keeper, noted, answers, time } = setUp()
    time.now = 1000
    keeper.advance(20)
    answers[0]!.reject(new RadosError(Errno.EBUSY, { op: 'write' }))
    await expect(keeper.settle()).rejects.toThrow('EBUSY')
    time.now = 9000
    keeper.advance(40)
    expect(noted).toEqual([19])
  })
})
