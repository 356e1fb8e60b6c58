import { describe, expect, it } from 'vitest'
import { ManualClock } from '../../test/unit/manual-clock.ts'
import { Cancelled } from '../base/cancelled.ts'
import { silentLog } from '../base/log.ts'
import { Errno, RadosError } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { followScheduleTargets } from './schedule-targets.ts'

function setUp(read: () => Map<string, string>, namespace = '') {
  const clock = new ManualClock()
  const targets = new Map<string, number | undefined>()
  const stop = new AbortController()
  const omapGet = async (_oid: string, after: string) => {
    const entries = new Map([...read()].sort().filter(([key]) => key > after).slice(0, 2).map(([key, value]) => [key, Buffer.from(value)]))
    return { entries, more: entries.size === 2 }
  }
  const running = followScheduleTargets(
    {
      io: { poolId: 7n, omapGet } as unknown as IoCtx,
      namespace,
      images: () => new Map([['gid-a', 'a'], ['gid-b', 'b']]),
      setTarget: (id, seconds) => targets.set(id, seconds),
      clock,
      log: silentLog,
    },
    stop.signal,
  )
  const end = () => {
    stop.abort(new Cancelled('done'))
    return running.catch(() => undefined)
  }
  return { clock, targets, end }
}
const every = (...intervals: string[]) => JSON.stringify(intervals.map((interval) => ({ interval, start_time: null })))

describe('the targets of the snapshot schedule', () => {
  it('are twice the shortest interval of the most specific schedule, and follow it', async () => {
    const stored = new Map([
      ['7', every('1h')],
      ['7//a', every('10m', '5m')],
      ['7/ns', every('1d')],
      ['8', every('1m')],
      ['nonsense//', 'x'],
    ])
    const { clock, targets, end } = setUp(() => stored)
    await clock.advance(0)
    expect([...targets]).toEqual([['gid-a', 600], ['gid-b', 7200]])
    stored.clear()
    await clock.advance(60_000)
    expect([...targets]).toEqual([['gid-a', undefined], ['gid-b', undefined]])
    await end()
    const inner = setUp(() => new Map([['7', every('1h')], ['7/ns', every('1d')]]), 'ns')
    await inner.clock.advance(0)
    expect(inner.targets.get('gid-a')).toBe(2 * 86_400)
    await inner.end()
  })

  it('are none where there is no schedule, and stay as they are where it can not be read', async () => {
    let errno: number = Errno.ENOENT
    const { clock, targets, end } = setUp(() => {
      throw new RadosError(errno, { op: 'omapGet' })
    })
    await clock.advance(0)
    expect(targets.get('gid-a')).toBeUndefined()
    expect(targets.has('gid-a')).toBe(true)
    targets.clear()
    errno = Errno.EPERM
    await clock.advance(120_000)
    expect(targets.size).toBe(0)
    await end()
  })
})
