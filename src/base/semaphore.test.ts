import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Semaphore } from './semaphore.ts'

const settle = () => new Promise((resolve) => setImmediate(resolve))

describe('Semaphore', () => {
  it('serves first come, first served: a small request does not overtake a large one', async () => {
    const semaphore = new Semaphore(10)
    const order: string[] = []
    const first = await semaphore.acquire(6)
    void semaphore.acquire(8).then(() => order.push('large'))
    void semaphore.acquire(1).then(() => order.push('small'))
    await settle()
    expect(order).toEqual([])
    first()
    await settle()
    expect(order).toEqual(['large', 'small'])
  })

  it('lets a request larger than the limit run alone', async () => {
    const semaphore = new Semaphore(4)
    const release = await semaphore.acquire(1)
    let granted = false
    const large = semaphore.acquire(100).then((give) => ((granted = true), give))
    await settle()
    expect(granted).toBe(false)
    release()
    ;(await large)()
    expect(semaphore.inUse).toBe(0)
  })

  it('gives back once however often release is called', async () => {
    const semaphore = new Semaphore(2)
    const release = await semaphore.acquire()
    release()
    release()
    expect(semaphore.inUse).toBe(0)
  })

  it('forgets an aborted waiter and serves those behind it', async () => {
    const semaphore = new Semaphore(1)
    const abort = new AbortController()
    const held = await semaphore.acquire()
    const large = semaphore.acquire(5, abort.signal)
    const next = semaphore.acquire(1)
    abort.abort(new Error('enough'))
    await expect(large).rejects.toThrow('enough')
    held()
    ;(await next)()
    expect({ used: semaphore.inUse, waiting: semaphore.waiting }).toEqual({ used: 0, waiting: 0 })
    await expect(semaphore.acquire(1, abort.signal)).rejects.toThrow('enough')
  })

  it('gives back after a failing task, and lets more in when the limit is raised', async () => {
    const semaphore = new Semaphore(1)
    await expect(semaphore.run(1, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken')
    expect(semaphore.inUse).toBe(0)
    await semaphore.acquire()
    const second = semaphore.acquire()
    semaphore.setLimit(2)
    await second
    expect(semaphore.inUse).toBe(2)
  })

  it('never exceeds its limit but for a lone large request, and always comes back to zero', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 8 }), fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 30 }), async (limit, amounts) => {
        const semaphore = new Semaphore(limit)
        let held: number[] = []
        await Promise.all(
          amounts.map((amount) =>
            semaphore.run(amount, async () => {
              held.push(amount)
              const total = held.reduce((sum, one) => sum + one, 0)
              expect(total <= limit || held.length === 1).toBe(true)
              await Promise.resolve()
              held = held.toSpliced(held.indexOf(amount), 1)
            }),
          ),
        )
        expect(semaphore.inUse).toBe(0)
      }),
    )
  })
})
