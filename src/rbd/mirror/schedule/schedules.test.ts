import { describe, expect, it } from 'vitest'
import { formatLevelName, isBelow, levelId, matches, parseLevelId, parseLevelName, type Level } from './level.ts'
import type { ScheduleItem } from './schedule.ts'
import { Schedules } from './schedules.ts'

const everywhere: Level = { poolId: undefined, namespace: undefined, imageId: undefined }
const pool: Level = { poolId: 2n, namespace: undefined, imageId: undefined }
const inner: Level = { poolId: 2n, namespace: 'ns', imageId: undefined }
const image = { poolId: 2n, namespace: 'ns', imageId: 'abc' }
const hourly: ScheduleItem = { interval: 60, start: undefined }
const daily: ScheduleItem = { interval: 1440, start: undefined }
const at = (level: Level, name: string, ...items: ScheduleItem[]) => ({ level, name, items })

describe('levels', () => {
  it.each([['', everywhere], ['2', pool], ['2/ns', inner], ['2/ns/abc', image], ['2//abc', { ...image, namespace: '' }], ['2/', { ...inner, namespace: '' }]])(
    'key %j',
    (key, level) => {
      expect(parseLevelId(key)).toEqual(level)
      expect(levelId(level)).toBe(key)
    },
  )
  it.each(['x', '2/ns/', '2/ns/a/b', '2/ns/a@b'])('key %j means nothing', (key) => expect(parseLevelId(key)).toBeUndefined())
  it.each([
    ['', '', undefined, undefined, undefined],
    ['p/', 'p/', 'p', undefined, undefined],
    ['p/ns/', 'p/ns/', 'p', 'ns', undefined],
    ['p/i', 'p/i', 'p', '', 'i'],
    ['p//i', 'p/i', 'p', '', 'i'],
    ['p/ns/i', 'p/ns/i', 'p', 'ns', 'i'],
  ])('name %j', (text, written, poolName, namespace, imageName) => {
    const name = parseLevelName(text)!
    expect(name).toEqual({ pool: poolName, namespace, image: imageName })
    expect(formatLevelName(name)).toBe(written)
  })
  it.each(['p', 'p/ns/i/x', 'p/i@s'])('name %j means nothing', (text) => expect(parseLevelName(text)).toBeUndefined())
  it('lie below one another', () => {
    const chain = [everywhere, pool, inner, image]
    for (const [low, level] of chain.entries()) {
      for (const [high, other] of chain.entries()) {
        expect(isBelow(level, other)).toBe(low > high)
        expect(matches(level, other)).toBe(low >= high)
      }
    }
    expect(isBelow(image, { ...pool, poolId: 3n })).toBe(false)
    expect(isBelow(image, { ...inner, namespace: '' })).toBe(false)
  })
})

describe('schedules', () => {
  it('hold for what they are for, the most specific winning', () => {
    const all = [at(everywhere, '', daily), at(pool, 'p/', hourly), at(inner, 'p/ns/', daily), at(image, 'p/ns/i', hourly)]
    expect(new Schedules(all).find(image)?.name).toBe('p/ns/i')
    expect(new Schedules(all.slice(0, 3)).find(image)?.name).toBe('p/ns/')
    expect(new Schedules(all.slice(0, 2)).find(image)?.name).toBe('p/')
    expect(new Schedules(all.slice(0, 1)).find(image)?.name).toBe('')
    expect(new Schedules().find(image)).toBeUndefined()
    expect(new Schedules(all.slice(1)).find({ ...image, poolId: 3n })).toBeUndefined()
  })
  it('are listed with what is below, and the nearest above where a level has none', () => {
    const schedules = new Schedules([at(everywhere, '', daily), at(pool, 'p/', hourly), at(image, 'p/ns/i', hourly), at({ ...pool, poolId: 3n }, 'q/', daily)])
    expect(Object.keys(schedules.list(everywhere)).sort()).toEqual(['', '2', '2/ns/abc', '3'])
    expect(Object.keys(schedules.list(pool)).sort()).toEqual(['2', '2/ns/abc'])
    expect(Object.keys(schedules.list(inner)).sort()).toEqual(['2', '2/ns/abc'])
    expect(schedules.list(image)).toEqual({ '2/ns/abc': { name: 'p/ns/i', schedule: [{ interval: '1h', start_time: null }] } })
  })
  it('have each item once', () => {
    const schedules = new Schedules([at(pool, 'p/', hourly)])
    expect(schedules.withItem(pool, hourly)).toEqual([hourly])
    expect(schedules.withItem(pool, daily)).toEqual([hourly, daily])
    expect(schedules.withItem(image, daily)).toEqual([daily])
    expect(schedules.withoutItem(pool, daily)).toEqual([hourly])
    expect(schedules.withoutItem(pool, hourly)).toBeUndefined()
    expect(schedules.withoutItem(pool, undefined)).toBeUndefined()
  })
  it('touch what they are for, and what that is part of', () => {
    const schedules = new Schedules([at(image, 'p/ns/i', hourly)])
    expect([everywhere, pool, inner, image].map((level) => schedules.touches(level))).toEqual([true, true, true, true])
    expect(schedules.touches({ ...pool, poolId: 3n })).toBe(false)
  })
})
