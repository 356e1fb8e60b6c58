import { describe, expect, it } from 'vitest'
import { ManualClock } from '../../test/unit/manual-clock.ts'
import { throttledUntil } from '../base/throttle.ts'
import { parseBandwidthRules } from '../config/bandwidth-rules.ts'
import { Bandwidth, type Flow } from './bandwidth.ts'

const KIB = 1024

function setUp(rules: string) {
  const clock = new ManualClock()
  const bandwidth = new Bandwidth(clock)
  bandwidth.setRules(parseBandwidthRules(rules))
  const flow = (image: string, { pool = 'volumes', peer = 'site-a' } = {}) => bandwidth.flow({ pool, peer, image: () => `${pool}/${image}` })
  /** Moves pieces through `flow` until told to stop, several at a time. */
  const pump = (of: Flow, bytes: number, width = 1) => {
    const moved = { bytes: 0, stop: false }
    const one = async () => {
      while (!moved.stop) {
        await (of.take(bytes) ?? Promise.resolve())
        moved.bytes += bytes
      }
    }
    for (let index = 0; index < width; index++) void one()
    return moved
  }
  return { clock, bandwidth, flow, pump }
}

describe('Bandwidth', () => {
  it('holds nobody back without a limit, nor for whom there is none', () => {
    const { flow, bandwidth } = setUp('')
    expect(flow('a').take(1e12)).toBeUndefined()
    expect(bandwidth.figures()).toEqual([])
    const other = setUp('1K pool=other, 1K image=volumes/x')
    for (let index = 0; index < 100; index++) expect(other.flow('a').take(1e9)).toBeUndefined()
  })

  it('keeps to the rate over time, whatever the pieces', async () => {
    for (const piece of [100, 4 * KIB, 512 * KIB]) {
      const { clock, flow, pump } = setUp('100K')
      const moved = pump(flow('a'), piece, 4)
      await clock.advance(60_000)
      moved.stop = true
      expect(moved.bytes).toBeGreaterThan(60 * 100 * KIB * 0.99 - piece)
      expect(moved.bytes).toBeLessThan(60.3 * 100 * KIB + piece)
    }
  })

  it('shares evenly between images, however much each of them asks for', async () => {
    const { clock, flow, pump } = setUp('100K')
    const greedy = pump(flow('a'), 64 * KIB, 16)
    const modest = pump(flow('b'), 4 * KIB, 1)
    const big = pump(flow('c'), 256 * KIB, 2)
    await clock.advance(120_000)
    const third = (120 * 100 * KIB) / 3
    for (const { bytes } of [greedy, modest, big]) expect(Math.abs(bytes - third) / third).toBeLessThan(0.15)
  })

  it('has limits within limits', async () => {
    const { clock, bandwidth, flow, pump } = setUp('100K, 60K peer=site-a, 30K pool=volumes, 10K image=volumes/db-*')
    const db = pump(flow('db-1'), KIB)
    const other = pump(flow('x'), KIB)
    const elsewhere = pump(flow('y', { pool: 'rbd' }), KIB)
    const otherPeer = pump(flow('z', { pool: 'rbd', peer: 'site-c' }), KIB)
    await clock.advance(60_000)
    const rate = ({ bytes }: { bytes: number }) => Math.round(bytes / KIB / 60)
    expect([db, other, elsewhere, otherPeer].map(rate)).toEqual([10, 20, 30, 40])
    const figures = bandwidth.figures()
    expect(figures.map(({ scope, limit }) => [scope, limit])).toEqual([
      ['daemon', 100 * KIB],
      ['peer=site-a', 60 * KIB],
      ['pool=volumes', 30 * KIB],
      ['image=volumes/db-1', 10 * KIB],
    ])
    for (const { waitSeconds } of figures) expect(waitSeconds).toBeGreaterThan(1)
    expect(figures[0]!.bytes).toBe(db.bytes + other.bytes + elsewhere.bytes + otherPeer.bytes)
  })

  it('gives each image that a pattern fits the limit for itself', async () => {
    const { clock, flow, pump } = setUp('10K image=volumes/*')
    const moved = ['a', 'b', 'c'].map((name) => pump(flow(name), KIB))
    await clock.advance(30_000)
    for (const { bytes } of moved) expect(Math.round(bytes / KIB / 30)).toBe(10)
  })

  it('can be changed while some wait, and windows open and close', async () => {
    const { clock, bandwidth, flow, pump } = setUp('1K')
    const moved = pump(flow('a'), 100 * KIB)
    await clock.advance(1_000)
    expect(moved.bytes).toBe(100 * KIB) // in debt for a hundred seconds
    bandwidth.setRules(parseBandwidthRules('100K, 10K during=[1 * * * *]'))
    const until = async (minute: number) => {
      const before = moved.bytes
      await clock.advance(minute * 60_000 - clock.now())
      return Math.round((moved.bytes - before) / KIB)
    }
    expect(await until(1)).toBeGreaterThan(5_800)
    expect(await until(2)).toBeLessThan(900)
    expect(await until(3)).toBeGreaterThan(5_800)
    bandwidth.setRules([])
    moved.stop = true
    await clock.advance(0)
    expect(clock.pending).toBeLessThanOrEqual(1)
    expect(bandwidth.figures()).toEqual([])
  })

  it('takes back what was not moved', () => {
    const { flow } = setUp('100K')
    const one = flow('a')
    for (let index = 0; index < 50; index++) {
      expect(one.take(4096 * KIB)).toBeUndefined()
      one.giveBack(4096 * KIB - 10)
    }
  })

  it('lets go of whoever no longer wants to wait', async () => {
    const { clock, flow } = setUp('1K')
    const one = flow('a')
    expect(one.take(10 * KIB)).toBeUndefined()
    const gone = new AbortController()
    const waiting = [one.take(KIB, gone.signal)!, one.take(KIB, gone.signal)!]
    const patient = flow('b').take(KIB)!
    gone.abort(new Error('no more'))
    for (const wait of waiting) await expect(wait).rejects.toThrow('no more')
    await expect(one.take(KIB, gone.signal)).rejects.toThrow('no more')
    await clock.advance(11_000)
    await patient
    expect(clock.pending).toBe(0)
  })

  it('does not keep work that has to be finished from its end', async () => {
    const { flow } = setUp('1K')
    const ending = new AbortController()
    const throttle = throttledUntil(flow('a'), ending.signal)
    expect(throttle.take(100 * KIB)).toBeUndefined()
    const waiting = throttle.take(KIB)
    ending.abort(new Error('stop'))
    await waiting
    expect(throttle.take(KIB)).toBeUndefined()
  })

  it('forgets an image that goes, and follows one that is renamed', () => {
    const { bandwidth } = setUp('10K image=volumes/*')
    let name = 'volumes/a'
    const flow = bandwidth.flow({ pool: 'volumes', peer: 'p', image: () => name })
    const shown = () => bandwidth.figures().map(({ scope }) => scope)
    void flow.take(1)
    expect(shown()).toEqual(['image=volumes/a'])
    name = 'volumes/b'
    void flow.take(1)
    expect(shown()).toEqual(['image=volumes/b'])
    flow.close()
    expect(shown()).toEqual([])
  })
})

describe('the limits as they are written', () => {
  it.each([
    ['x', 'the rate is not a size'],
    ['0', 'nothing would ever move'],
    ['-5M', 'the rate is not a size'],
    ['10M pool=', 'which pool?'],
    ['10M foo=1', '"foo=1" is none of'],
    ['10M pool=a image=b', 'two things at once'],
    ['10M during=[* 25 * * *]', '25 is a'],
    ['10M during=[* *]', 'five fields'],
    ['10M during=8-18', 'during=[* 8-18 * * 1-5]'],
    ['10M during=[* * * * *', 'during=[* 8-18 * * 1-5]'],
    [Array.from({ length: 201 }, () => '1M').join(','), 'more than 200'],
  ])('say what is wrong with "%s"', (text, problem) => {
    expect(() => parseBandwidthRules(text)).toThrow(problem)
  })

  it('have windows in local time, with lists in them', () => {
    const [, evening] = parseBandwidthRules('1M, unlimited during=[* 20-23,0-6 * * 1-5]')
    expect(evening).toMatchObject({ scope: 'daemon', rate: undefined })
    expect(evening!.during!(new Date(2026, 10, 23, 21, 30))).toBe(true)
    expect(evening!.during!(new Date(2026, 10, 23, 12, 30))).toBe(false)
    expect(evening!.during!(new Date(2026, 10, 22, 21, 30))).toBe(false)
  })
})
