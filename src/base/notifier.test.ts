import { describe, expect, it } from 'vitest'
import type { Clock } from './clock.ts'
import { Notifier } from './notifier.ts'

/** A clock whose timers fire when the test says so. */
function manualClock(): Clock & { fire(): void; timers: Set<() => void> } {
  const timers = new Set<() => void>()
  return {
    timers,
    now: () => 0,
    monotonic: () => 0,
    setTimer(_ms, callback) {
      timers.add(callback)
      return () => timers.delete(callback)
    },
    fire() {
      for (const timer of [...timers]) {
        timers.delete(timer)
        timer()
      }
    },
  }
}

describe('Notifier', () => {
  it('counts wakes before a wait as one, and loses none', async () => {
    const notifier = new Notifier()
    const clock = manualClock()
    notifier.wake()
    notifier.wake()
    expect(await notifier.wait(clock, undefined)).toBe('woken')
    const second = notifier.wait(clock, 1000)
    clock.fire()
    expect(await second).toBe('timeout')
  })

  it('wakes a waiter and drops its timer', async () => {
    const notifier = new Notifier()
    const clock = manualClock()
    const wait = notifier.wait(clock, 1000)
    expect(clock.timers.size).toBe(1)
    notifier.wake()
    expect(await wait).toBe('woken')
    expect(clock.timers.size).toBe(0)
  })

  it('keeps a wake that comes right after a time-out', async () => {
    const notifier = new Notifier()
    const clock = manualClock()
    const wait = notifier.wait(clock, 1000)
    clock.fire()
    notifier.wake()
    const first = await wait
    const second = first === 'woken' ? 'woken' : await notifier.wait(clock, undefined)
    expect(second).toBe('woken')
  })

  it('rejects when aborted, before and during the wait', async () => {
    const notifier = new Notifier()
    const clock = manualClock()
    const abort = new AbortController()
    const wait = notifier.wait(clock, 1000, abort.signal)
    abort.abort(new Error('enough'))
    await expect(wait).rejects.toThrow('enough')
    await expect(notifier.wait(clock, 1000, abort.signal)).rejects.toThrow('enough')
    expect(clock.timers.size).toBe(0)
  })
})
