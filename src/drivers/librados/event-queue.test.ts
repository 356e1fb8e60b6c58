import { expect, test } from 'vitest'
import { afterCallbacks } from './event-queue.ts'

test('events run later, in order, and those that come meanwhile after them', async () => {
  const seen: string[] = []
  await new Promise<void>((resolve) => {
    afterCallbacks(() => {
      seen.push('one')
      afterCallbacks(() => (seen.push('three'), resolve()))
    })
    afterCallbacks(() => seen.push('two'))
    seen.push('zero')
  })
  expect(seen).toEqual(['zero', 'one', 'two', 'three'])
})
