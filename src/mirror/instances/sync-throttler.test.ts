import { describe, expect, it } from 'vitest'
import { SyncThrottler } from './sync-throttler.ts'

describe('the throttler of syncs', () => {
  it('grants so many at once, and the next when one is over, first come, first served', async () => {
    const throttler = new SyncThrottler(2)
    const granted: string[] = []
    for (const id of ['a', 'b', 'c', 'd']) void throttler.start(id).then((grant) => granted.push(`${id} ${grant}`))
    await Promise.resolve()
    expect(granted).toEqual(['a granted', 'b granted'])
    throttler.finish('b')
    await Promise.resolve()
    expect(granted.at(-1)).toBe('c granted')
    expect([throttler.runningCount, throttler.waitingCount]).toEqual([2, 1])
  })

  it('knows no limit with 0, and follows a changed one', async () => {
    const throttler = new SyncThrottler(1)
    const all = ['a', 'b', 'c'].map((id) => throttler.start(id))
    throttler.setLimit(0)
    expect(await Promise.all(all)).toEqual(['granted', 'granted', 'granted'])
  })

  it('grants the same one again, for it runs already', async () => {
    const throttler = new SyncThrottler(1)
    expect(await throttler.start('a')).toBe('granted')
    expect(await throttler.start('a')).toBe('granted')
    throttler.finish('a')
    expect(throttler.runningCount).toBe(0)
  })

  it('tells who asked before that another has asked for the same, which keeps the place', async () => {
    const throttler = new SyncThrottler(1)
    await throttler.start('a')
    const first = throttler.start('b')
    void throttler.start('c')
    const second = throttler.start('b')
    expect(await first).toBe('superseded')
    throttler.finish('a')
    expect(await second).toBe('granted')
  })

  it('no longer waits for what is called off', async () => {
    const throttler = new SyncThrottler(1)
    await throttler.start('a')
    const waiting = throttler.start('b')
    throttler.finish('b')
    expect(await waiting).toBe('superseded')
    expect([throttler.runningCount, throttler.waitingCount]).toEqual([1, 0])
  })

  it('forgets one namespace and lets the others go on', async () => {
    const throttler = new SyncThrottler(1)
    await throttler.start('one/a')
    const [refused, next] = [throttler.start('one/b'), throttler.start('two/a')]
    throttler.drain((id) => id.startsWith('one/'))
    expect(await refused).toBe('drained')
    expect(await next).toBe('granted')
  })
})
