import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatInterval, formatSchedule, formatScheduleTime, formatStartTime, nextRun, parseInterval, parseItem, parseSchedule, parseStartTime } from './schedule.ts'

const utc = () => 0
const at = (text: string) => Date.parse(`${text}Z`)
const item = (interval: string, start = '') => {
  const parsed = parseItem(interval, start)
  if (!parsed.ok) throw new Error(parsed.problem)
  return parsed.value
}

describe('intervals', () => {
  it.each([['1d', 1440], ['2h', 120], ['90m', 90], ['90', 90], ['24h', 1440]])('%s', (text, minutes) => expect(parseInterval(text)).toEqual({ ok: true, value: minutes }))
  it.each(['', '1x', 'h', '-1h', '1.5h', '0m', '0', '1h2m', '99999999999999999999d'])('%j is none', (text) => {
    expect(parseInterval(text)).toEqual({ ok: false, problem: `Invalid interval (${text})` })
  })
  it('are written in the largest unit', () => {
    expect([1440, 2880, 120, 1500, 90].map(formatInterval)).toEqual(['1d', '2d', '2h', '25h', '90m'])
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000_000 }), (minutes) => {
        expect(parseInterval(formatInterval(minutes))).toEqual({ ok: true, value: minutes })
      }),
    )
  })
})

describe('start times', () => {
  it.each([
    ['14:00', '14:00:00'],
    ['3:05', '03:05:00'],
    ['14:00:00-05:00', '14:00:00-05:00'],
    ['14:00Z', '14:00:00+00:00'],
    ['T1430+0530', '14:30:00+05:30'],
    ['2026-03-01T23:59:59.5+01', '23:59:00+01:00'],
  ])('%s', (text, written) => {
    const parsed = parseStartTime(text)
    expect(parsed.ok && formatStartTime(parsed.value)).toBe(written)
    expect(parseStartTime(written)).toEqual(parsed)
  })
  it.each(['bad', '24:00', '12:60', '1400', '12', '12:00+25:00', ''])('%j is none', (text) => expect(parseStartTime(text).ok).toBe(false))
  it('complains as the manager does', () => expect(parseStartTime('bad')).toEqual({ ok: false, problem: 'Invalid start time bad: Unknown string format: bad' }))
})

describe('stored schedules', () => {
  it("are the manager's JSON", () => {
    expect(formatSchedule([item('2h', '14:00:00-05:00'), item('1d')])).toBe(
      '[\n    {\n        "interval": "2h",\n        "start_time": "14:00:00-05:00"\n    },\n    {\n        "interval": "1d",\n        "start_time": null\n    }\n]',
    )
    expect(parseSchedule(formatSchedule([item('90m', '3:00')]))).toEqual({ ok: true, value: [item('90m', '03:00')] })
  })
  it.each(['', '{}', '[1]', '[{"start_time":null}]', '[{"interval":"1x"}]', '[{"interval":"1h","start_time":"x"}]'])('%j is none', (text) => {
    expect(parseSchedule(text).ok).toBe(false)
  })
})

describe('the next run', () => {
  const next = (now: string, ...items: ReturnType<typeof item>[]) => {
    const run = nextRun(items, at(now), utc)
    return run === undefined ? undefined : formatScheduleTime(run, utc)
  }
  it('is counted from midnight', () => {
    expect(next('2026-01-01T10:20:30', item('1h'))).toBe('2026-01-01 11:00:00')
    expect(next('2026-01-01T10:20:30', item('1d'))).toBe('2026-01-02 00:00:00')
    expect(next('2026-01-01T10:20:30', item('15m'))).toBe('2026-01-01 10:30:00')
  })
  it('comes after now, not at it', () => expect(next('2026-01-01T10:00:00', item('1h'))).toBe('2026-01-01 11:00:00'))
  it('is counted from the start time', () => {
    expect(next('2026-01-01T10:20:30', item('1d', '14:00'))).toBe('2026-01-01 14:00:00')
    expect(next('2026-01-01T14:20:30', item('1d', '14:00'))).toBe('2026-01-02 14:00:00')
    expect(next('2026-01-01T10:20:30', item('1h', '14:15'))).toBe('2026-01-01 11:15:00')
  })
  it('heeds the zone of the start time', () => {
    expect(next('2026-01-01T10:20:30', item('1d', '14:00:00-05:00'))).toBe('2026-01-01 19:00:00')
    expect(next('2026-01-01T10:20:30', item('1d', '14:00:00+05:30'))).toBe('2026-01-02 08:30:00')
  })
  it('is the earliest of all items', () => {
    expect(next('2026-01-01T10:20:30', item('1d'), item('1h', '0:45'))).toBe('2026-01-01 10:45:00')
    expect(next('2026-01-01T10:20:30')).toBeUndefined()
  })
  it('stays at its hour when clocks are put forward or back', () => {
    // Berlin in 2026: +1 until 29 March 1:00 UTC, +2 until 25 October 1:00 UTC
    const berlin = (ms: number) => (ms >= at('2026-03-29T01:00:00') && ms < at('2026-10-25T01:00:00') ? 120 : 60)
    const run = (now: string, ...rest: Parameters<typeof item>) => new Date(nextRun([item(...rest)], at(now), berlin)!).toISOString().slice(0, 16)
    expect(run('2026-03-28T14:00:00', '1d', '14:00')).toBe('2026-03-29T12:00')
    expect(run('2026-10-24T13:00:00', '1d', '14:00')).toBe('2026-10-25T13:00')
    expect(run('2026-03-28T14:00:00', '1d', '2:30')).toBe('2026-03-29T01:30') // 2:30 is not shown that day: 3:30 is
    expect(run('2026-06-01T12:30:00', '1d', '14:00:00+02:00')).toBe('2026-06-02T12:00')
  })
  it('always lies within one interval from now', () => {
    const items = fc.record({ interval: fc.integer({ min: 1, max: 5000 }), start: fc.option(fc.record({ hour: fc.nat(23), minute: fc.nat(59), zone: fc.option(fc.integer({ min: -840, max: 840 }), { nil: undefined }) }), { nil: undefined }) })
    fc.assert(
      fc.property(items, fc.integer({ min: 1_500_000_000_000, max: 2_500_000_000_000 }), fc.integer({ min: -840, max: 840 }), (one, now, zone) => {
        const run = nextRun([one], now, () => zone)!
        expect(run).toBeGreaterThan(now)
        expect(run - now).toBeLessThanOrEqual(one.interval * 60_000)
        expect(nextRun([one], run - 1, () => zone)).toBe(run)
      }),
    )
  })
})
