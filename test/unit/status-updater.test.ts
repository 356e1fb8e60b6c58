import { afterEach, describe, expect, it } from 'vitest'
import { Cancelled } from '../../src/base/cancelled.ts'
import { silentLog } from '../../src/base/log.ts'
import type { ImageStatus } from '../../src/mirror/image-status.ts'
import { planBatches, StatusUpdater } from '../../src/mirror/status-updater.ts'
import { EBLOCKLISTED, Errno, RadosError } from '../../src/rados/errors.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import type { WriteOperation } from '../../src/rados/operation.ts'
import { ManualClock, settle } from './manual-clock.ts'

const replaying: ImageStatus = { state: 'replaying', description: 'replaying, {}' }

/** A pool that notes the methods called on rbd_mirroring. */
class FakePool {
  readonly writes: string[][] = []
  failure: Error | undefined
  readonly io = {
    write: (_: string, operation: WriteOperation) => {
      if (this.failure) return Promise.reject(this.failure)
      this.writes.push(operation.steps.map((step) => (step.type === 'exec' ? step.method : step.type)))
      return Promise.resolve(1n)
    },
  } as unknown as IoCtx
}

describe('planBatches', () => {
  it('sets what has a status, removes what has none, and bounds each operation', () => {
    const ids = Array.from({ length: 150 }, (_, index) => `image ${index}`)
    const batches = planBatches(ids, new Map(ids.slice(0, 120).map((id) => [id, replaying])))
    expect(batches.map(({ set, remove }) => [set.length, remove.length])).toEqual([
      [100, 0],
      [20, 30],
    ])
  })

  it('plans nothing for nothing', () => {
    expect(planBatches([], new Map())).toEqual([])
  })
})

describe('StatusUpdater', () => {
  const clock = new ManualClock()
  let stop = new AbortController()
  let ended: Promise<unknown> = Promise.resolve()
  const start = (pool: FakePool) => {
    stop = new AbortController()
    const updater = new StatusUpdater({ io: pool.io, mirrorUuid: '', clock, log: silentLog })
    ended = updater.run(stop.signal).then(
      () => 'stopped',
      (error: unknown) => error,
    )
    return updater
  }
  afterEach(async () => {
    stop.abort(new Cancelled())
    await ended
  })

  it('clears what dead daemons left, then writes changes at once and gathers what follows', async () => {
    const pool = new FakePool()
    const updater = start(pool)
    await settle()
    updater.set('a', replaying)
    await settle()
    updater.set('b', replaying)
    updater.set('c', replaying)
    updater.set('b', { ...replaying })
    await clock.advance(249)
    expect(pool.writes).toEqual([['mirror_image_status_remove_down'], ['mirror_image_status_set']])
    await clock.advance(1)
    expect(pool.writes[2]).toEqual(['mirror_image_status_set', 'mirror_image_status_set'])
  })

  it('does not write what has not changed, but all of it every 25 seconds', async () => {
    const pool = new FakePool()
    const updater = start(pool)
    updater.set('a', replaying)
    await clock.advance(1000)
    const before = pool.writes.length
    updater.set('a', { ...replaying })
    await clock.advance(20_000)
    expect(pool.writes).toHaveLength(before)
    await clock.advance(5000)
    expect(pool.writes.slice(before)).toEqual([['mirror_image_status_set']])
  })

  it('removes statuses', async () => {
    const pool = new FakePool()
    const updater = start(pool)
    updater.set('a', replaying)
    await clock.advance(1000)
    updater.remove('a')
    await clock.advance(1000)
    expect(pool.writes.at(-1)).toEqual(['mirror_image_status_remove'])
  })

  it('tries again what failed', async () => {
    const pool = new FakePool()
    const updater = start(pool)
    await settle()
    pool.failure = new RadosError(Errno.ETIMEDOUT, { op: 'write' })
    updater.set('a', replaying)
    await clock.advance(1000)
    pool.failure = undefined
    await clock.advance(1000)
    expect(pool.writes.at(-1)).toEqual(['mirror_image_status_set'])
  })

  it('writes the last statuses before it stops', async () => {
    const pool = new FakePool()
    const updater = start(pool)
    updater.set('a', replaying)
    await clock.advance(100)
    updater.set('a', { state: 'stopped', description: 'stopped' })
    stop.abort(new Cancelled())
    expect(await ended).toBe('stopped')
    expect(pool.writes.at(-1)).toEqual(['mirror_image_status_set'])
    expect(clock.pending).toBe(0)
  })

  it('ends with its connection', async () => {
    const pool = new FakePool()
    pool.failure = new RadosError(EBLOCKLISTED, { op: 'write' })
    start(pool)
    expect(await ended).toBe(pool.failure)
  })
})
