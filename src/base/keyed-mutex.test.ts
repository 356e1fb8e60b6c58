import { describe, expect, it } from 'vitest'
import { KeyedMutex } from './keyed-mutex.ts'

describe('KeyedMutex', () => {
  it('runs tasks of one key one by one in the order asked, also after a failure, and other keys beside them', async () => {
    const mutex = new KeyedMutex()
    const log: string[] = []
    const task = (name: string, fail = false) => async () => {
      log.push(`${name}+`)
      await new Promise((resolve) => setImmediate(resolve))
      log.push(`${name}-`)
      if (fail) throw new Error(name)
      return name
    }
    const results = await Promise.allSettled([
      mutex.run('x', task('1', true)),
      mutex.run('x', task('2')),
      mutex.run('y', task('other')),
      mutex.run('x', task('3')),
    ])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled', 'fulfilled'])
    expect(log.filter((entry) => !entry.startsWith('other'))).toEqual(['1+', '1-', '2+', '2-', '3+', '3-'])
    expect(log.indexOf('other+')).toBeLessThan(log.indexOf('2+'))
  })

  it('takes a key again after it was idle', async () => {
    const mutex = new KeyedMutex()
    expect(await mutex.run('x', async () => 1)).toBe(1)
    expect(await mutex.run('x', async () => 2)).toBe(2)
  })
})
