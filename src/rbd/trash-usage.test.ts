import { describe, expect, it } from 'vitest'
import { chooseToFree, type PoolUsage } from './trash-usage.ts'

const usage = (used: number): PoolUsage => ({ used, bytesUsed: used * 1000, bytesAvailable: (1 - used) * 1000 })
const images = ['a', 'b', 'c'].map((id) => ({ id, dataPool: 'p' }))

describe('images in the trash of a pool that is too full', () => {
  const bytes: Record<string, number | undefined> = { a: 100, b: 50, c: 100, d: 0, e: undefined }
  const choose = async (used: Record<string, number>, threshold: number, all: readonly { id: string; dataPool: string }[] = images) => {
    const pools = new Map(Object.entries(used).map(([name, share]) => [name, usage(share)]))
    const chosen = await chooseToFree(all, pools, threshold, (id) => Promise.resolve(bytes[id]))
    return chosen && [...chosen]
  }

  it('go one after another until it is no fuller than wanted', async () => {
    expect(await choose({ p: 0.5 }, 0.5)).toBeUndefined()
    expect(await choose({ p: 0.5 }, 0.45)).toEqual(['a'])
    expect(await choose({ p: 0.5 }, 0.35)).toEqual(['a', 'b'])
    expect(await choose({ p: 0.5 }, 0.34)).toEqual(['a', 'b', 'c'])
    expect(await choose({ p: 0.5 }, 0)).toEqual(['a', 'b', 'c'])
  })

  it('count for the pool of their data, and those that can not be looked into not at all', async () => {
    const all = [{ id: 'e', dataPool: 'p' }, ...images, { id: 'd', dataPool: 'q' }]
    expect(await choose({ p: 0.5, q: 0.9 }, 0.45, all)).toEqual(['a', 'd'])
    expect(await choose({ q: 0.9 }, 0.45, all)).toBeUndefined()
    expect(await choose({ other: 0.9 }, 0.45, all)).toBeUndefined()
  })
})
