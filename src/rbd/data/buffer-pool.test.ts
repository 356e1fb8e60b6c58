import { expect, it } from 'vitest'
import { BufferPool } from './buffer-pool.ts'

it('gives the same buffers again, within its limit', () => {
  const pool = new BufferPool(3 * 2 ** 20)
  const [a, b, c] = [pool.take(2 ** 20), pool.take(2 ** 20 - 5), pool.take(2 * 2 ** 20)]
  expect([a.length, b.length, c.length]).toEqual([2 ** 20, 2 ** 20, 2 * 2 ** 20])
  for (const buffer of [a, c, b]) pool.give(buffer)
  // the third one is too much
  expect(pool.idleBytes).toBe(3 * 2 ** 20)
  expect(pool.take(2 ** 20 - 1) === a).toBe(true)
  expect(pool.take(2 ** 20) === b).toBe(false)
  pool.clear()
  expect(pool.idleBytes).toBe(0)
})

it('rather gives a larger one than a fresh one', () => {
  const pool = new BufferPool(2 ** 20)
  const large = pool.take(2 ** 20)
  pool.give(large)
  expect(pool.take(5000) === large).toBe(true)
  expect(pool.idleBytes).toBe(0)
  pool.give(large)
  expect(pool.take(2 ** 20 + 1).length).toBe(2 ** 21)
  expect(pool.idleBytes).toBe(2 ** 20)
})

it('gives something for nothing', () => {
  expect(new BufferPool(1).take(0).length).toBe(4096)
})
