import { describe, expect, it } from 'vitest'
import { mapAhead } from './map-ahead.ts'

async function* numbers(end: number, taken: number[] = []): AsyncGenerator<number> {
  for (let number = 0; number < end; number++) {
    taken.push(number)
    yield await Promise.resolve(number)
  }
}

describe('mapAhead', () => {
  it('keeps the order, with no more under way than it may', async () => {
    let running = 0
    let most = 0
    const results: number[] = []
    const task = async (number: number) => {
      most = Math.max(most, ++running)
      for (let turn = 0; turn < 10 - number; turn++) await Promise.resolve()
      running--
      return number * 2
    }
    for await (const result of mapAhead(numbers(10), 3, task)) results.push(result)
    expect(results).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18])
    expect(most).toBe(3)
  })

  it('throws a failure when its turn comes, and takes no more', async () => {
    const taken: number[] = []
    const results: number[] = []
    const all = async () => {
      for await (const result of mapAhead(numbers(10, taken), 3, (number) => (number === 1 ? Promise.reject(new Error('one')) : Promise.resolve(number)))) results.push(result)
    }
    await expect(all()).rejects.toThrow('one')
    expect(results).toEqual([0])
    expect(taken.length).toBeLessThan(6)
  })
})
