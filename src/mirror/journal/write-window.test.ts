import fc from 'fast-check'
import { expect, test } from 'vitest'
import { objectToImage, type Layout } from '../../rbd/data/striping.ts'
import { WriteWindow } from './write-window.ts'

const layouts: Layout[] = [
  { objectSize: 64, stripeUnit: 64, stripeCount: 1 },
  { objectSize: 64, stripeUnit: 16, stripeCount: 3 },
]
const IMAGE = 512

type Change =
  | { type: 'write'; offset: number; data: Buffer }
  | { type: 'writeSame'; offset: number; times: number; pattern: Buffer }
  | { type: 'discard'; offset: number; length: number; granularity: number }

const bytes = (maxLength: number) => fc.uint8Array({ minLength: 1, maxLength }).map((data) => Buffer.from(data))
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ type: fc.constant('write' as const), offset: fc.nat(IMAGE - 100), data: bytes(100) }),
  fc.record({ type: fc.constant('writeSame' as const), offset: fc.nat(IMAGE - 100), times: fc.integer({ min: 1, max: 10 }), pattern: bytes(10) }),
  fc.record({
    type: fc.constant('discard' as const),
    offset: fc.nat(IMAGE - 200),
    length: fc.integer({ min: 1, max: 200 }),
    granularity: fc.constantFrom(0, 1, 16, 64, 4096),
  }),
)

/** The image's bytes that one object's part of a discard covers, by the rule of librbd, one byte at a time. */
function discarded(layout: Layout, offset: number, length: number, granularity: number): Set<number> {
  const covered = new Set<number>()
  for (let object = 0; object < IMAGE / layout.objectSize + layout.stripeCount; object++) {
    const inside: boolean[] = []
    for (let at = 0; at < layout.objectSize; at++) {
      const position = objectToImage(layout, object, at, 1)[0]![0]
      inside.push(position >= offset && position < offset + length)
    }
    for (let start = inside.indexOf(true); start >= 0; ) {
      let end = start
      while (inside[end]) end++
      const unit = Math.min(granularity, layout.objectSize)
      const exact = unit === 0 || (unit === layout.objectSize && end === layout.objectSize)
      for (let at = start; at < end; at++) {
        const granule = unit === 0 ? 0 : at - (at % unit)
        if (exact || (granule >= start && granule + unit <= end)) covered.add(objectToImage(layout, object, at, 1)[0]![0])
      }
      start = inside.indexOf(true, end)
    }
  }
  return covered
}

test.each(layouts)('a window leaves the same bytes as its changes one by one (%o)', (layout) => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const expected = Buffer.alloc(IMAGE + 512, 0xee)
      const actual = Buffer.alloc(IMAGE + 512, 0xee)
      const window = new WriteWindow(layout)
      for (const one of changes) {
        if (one.type === 'write') {
          one.data.copy(expected, one.offset)
          window.write(one.offset, one.data)
        } else if (one.type === 'writeSame') {
          for (let index = 0; index < one.times; index++) one.pattern.copy(expected, one.offset + index * one.pattern.length)
          window.writeSame(one.offset, one.times * one.pattern.length, one.pattern)
        } else {
          for (const at of discarded(layout, one.offset, one.length, one.granularity)) expected[at] = 0
          window.discard(one.offset, one.length, one.granularity)
        }
      }
      for (const [object, overlay] of window.objects) {
        let last = -1
        let lastWasZero = false
        for (const { start, end, data } of overlay.segments) {
          expect(start).toBeGreaterThanOrEqual(last)
          expect(start === last && lastWasZero && !data).toBe(false)
          last = end
          lastWasZero = !data
          for (let at = start; at < end; at++) actual[objectToImage(layout, object, at, 1)[0]![0]] = data ? data[at - start]! : 0
        }
      }
      expect(actual.equals(expected)).toBe(true)
      expect(window.entries).toBe(changes.length)
    }),
    { numRuns: 300 },
  )
})

test('discards that meet remove the object', () => {
  const window = new WriteWindow(layouts[0]!)
  window.write(10, Buffer.from('gone'))
  window.discard(0, 30, 0)
  window.discard(34, 30, 0)
  expect(window.objects.get(0)!.isZero(64)).toBe(false)
  window.discard(30, 4, 0)
  expect(window.objects.get(0)!.isZero(64)).toBe(true)
})
