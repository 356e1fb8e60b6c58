import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/base/log.ts'
import { ManualClock, settle } from './manual-clock.ts'
import { closeAfterAbort } from '../../src/mirror/late-close.ts'

function harness(probe?: () => Promise<unknown>) {
  const clock = new ManualClock()
  const stop = new AbortController()
  let closed = 0
  const cluster = { name: 'site-a', close: async () => void closed++ }
  const callOff = closeAfterAbort({ cluster, limitMs: 1000, graceMs: 500, clock, log: silentLog, ...(probe && { probe }) }, stop.signal)
  return { clock, stop, callOff, closed: () => closed }
}

describe('closeAfterAbort', () => {
  it('closes nothing before the abort', async () => {
    const { clock, closed } = harness()
    await clock.advance(10_000)
    expect(closed()).toBe(0)
  })

  it('closes after the limit', async () => {
    const { clock, stop, closed } = harness()
    stop.abort()
    await clock.advance(999)
    expect(closed()).toBe(0)
    await clock.advance(1)
    expect(closed()).toBe(1)
  })

  it('gives a cluster that answers more time', async () => {
    const { clock, stop, closed } = harness(() => Promise.resolve())
    stop.abort()
    await clock.advance(1499)
    expect(closed()).toBe(0)
    await clock.advance(1)
    expect(closed()).toBe(1)
  })

  it.each([['never answers', () => new Promise(() => undefined)] as const, ['fails', () => Promise.reject(new Error('dead'))] as const])(
    'gives no more time to one that %s',
    async (_, probe) => {
      const { clock, stop, closed } = harness(probe)
      stop.abort()
      await clock.advance(1000)
      expect(closed()).toBe(1)
    },
  )

  it('is called off when everything ended in time', async () => {
    const { clock, stop, callOff, closed } = harness(() => Promise.resolve())
    stop.abort()
    await settle()
    callOff()
    await clock.advance(10_000)
    expect([closed(), clock.pending]).toEqual([0, 0])
  })
})
