import { afterEach, describe, expect, it } from 'vitest'
import { Cancelled } from '../../src/base/cancelled.ts'
import { silentLog } from '../../src/base/log.ts'
import { SnapIdAllocator } from '../../src/mirror/snap-id-allocator.ts'
import { Errno, RadosError } from '../../src/rados/errors.ts'
import type { IoCtx, SnapId } from '../../src/rados/io-ctx.ts'
import { ManualClock, settle } from './manual-clock.ts'

class FakePool {
  last = 0n
  readonly removed: SnapId[] = []
  failures = 0
  readonly io = {
    createSelfManagedSnap: () => {
      if (this.failures > 0) {
        this.failures--
        return Promise.reject(new RadosError(Errno.ETIMEDOUT, { op: 'create snapshot id' }))
      }
      return Promise.resolve(++this.last)
    },
    removeSelfManagedSnap: (id: SnapId) => {
      this.removed.push(id)
      return Promise.resolve()
    },
  } as unknown as IoCtx
}

describe('SnapIdAllocator', () => {
  const clock = new ManualClock()
  let stop = new AbortController()
  let ended: Promise<void> = Promise.resolve()
  const start = (pool: FakePool) => {
    stop = new AbortController()
    const allocator = new SnapIdAllocator({ io: pool.io, clock, log: silentLog })
    ended = allocator.run(stop.signal).catch(() => undefined)
    return allocator
  }
  const end = async () => {
    stop.abort(new Cancelled())
    await ended
  }
  afterEach(end)

  it('allocates nothing before the first is taken', async () => {
    const pool = new FakePool()
    start(pool)
    await clock.advance(600_000)
    expect(pool.last).toBe(0n)
  })

  it('keeps two ahead and hands them out in ascending order', async () => {
    const pool = new FakePool()
    const allocator = start(pool)
    const taken: SnapId[] = []
    for (let round = 0; round < 5; round++) {
      taken.push(await allocator.take())
      await settle()
      expect(allocator.ahead).toBe(2)
    }
    expect(taken).toEqual([...taken].sort((a, b) => Number(a - b)))
    expect(new Set(taken).size).toBe(5)
  })

  it('gives every unused id back at the end', async () => {
    const pool = new FakePool()
    const allocator = start(pool)
    const taken = await allocator.take()
    await settle()
    await end()
    expect(pool.removed).toHaveLength(Number(pool.last) - 1)
    expect(pool.removed).not.toContain(taken)
  })

  it('gives them back when no snapshots are made any more', async () => {
    const pool = new FakePool()
    const allocator = start(pool)
    await allocator.take()
    await clock.advance(300_000)
    expect(allocator.ahead).toBe(0)
    expect(pool.removed).toHaveLength(2)
    await clock.advance(300_000)
    expect(allocator.ahead).toBe(0)
  })

  it('tries again when the monitors do not answer', async () => {
    const pool = new FakePool()
    const allocator = start(pool)
    await allocator.take()
    pool.failures = 1
    await clock.advance(5000)
    expect(allocator.ahead).toBe(2)
  })
})
