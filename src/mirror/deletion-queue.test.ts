import { describe, expect, it } from 'vitest'
import { utimeFromMs } from '../encoding/codec.ts'
import { deferredMs, DeletionQueue } from './deletion-queue.ts'

describe('DeletionQueue', () => {
  it('gives out what is due, once', () => {
    const queue = new DeletionQueue()
    queue.add('a', 100)
    queue.add('b', 200)
    expect(queue.nextDue()).toBe(100)
    expect(queue.takeDue(150).map(({ imageId }) => imageId)).toEqual(['a'])
    expect(queue.takeDue(150)).toEqual([])
    queue.add('a', 0)
    expect(queue.nextDue()).toBe(200)
  })

  it('keeps the time of what it knows already', () => {
    const queue = new DeletionQueue()
    queue.add('a', 500)
    queue.add('a', 0)
    expect(queue.nextDue()).toBe(500)
  })

  it('counts retries and shows the last failure', () => {
    const queue = new DeletionQueue()
    queue.add('a', 0)
    const [first] = queue.takeDue(0)
    expect(queue.status()).toEqual({ delete_images_queue: [{ image_id: 'a' }], failed_deletes_queue: [] })
    queue.failed(first!, 30, 16, 'busy')
    const [second] = queue.takeDue(30)
    queue.failed(second!, 60, 16, 'still busy')
    const failed = [{ image_id: 'a', error_code: 'still busy', retries: 2 }]
    expect(queue.status()).toEqual({ delete_images_queue: [], failed_deletes_queue: failed })
    queue.done(queue.takeDue(60)[0]!)
    expect(queue.nextDue()).toBeUndefined()
    expect(queue.status()).toEqual({ delete_images_queue: [], failed_deletes_queue: [] })
  })
})

describe('deferredMs', () => {
  const spec = { deletionTime: utimeFromMs(100_000), defermentEndTime: utimeFromMs(160_000) }
  it.each([
    ['at once', 100_000, 60_000],
    ['later', 150_000, 10_000],
    ['when it is over', 170_000, 0],
    ['by a clock that was set back since', 0, 60_000],
  ])('%s', (_, now, left) => expect(deferredMs(spec, now)).toBe(left))
})
