import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { imageToObjects, layoutOf, objectCount, objectToImage, type Layout } from './striping.ts'

const plain: Layout = { objectSize: 4096, stripeUnit: 4096, stripeCount: 1 }
const fancy: Layout = { objectSize: 4096, stripeUnit: 1024, stripeCount: 3 }
const layouts = fc.record({ order: fc.integer({ min: 3, max: 6 }), units: fc.integer({ min: 0, max: 3 }), stripeCount: fc.integer({ min: 1, max: 5 }) }).map(
  ({ order, units, stripeCount }) => layoutOf({ order, stripeUnit: 2 ** (order - units), stripeCount }),
)

describe('layouts', () => {
  it('without fancy striping are object by object', () => {
    expect(imageToObjects(plain, 4000, 5000)).toEqual([
      { objectNumber: 0, offset: 4000, length: 96, pieces: [[0, 96]] },
      { objectNumber: 1, offset: 0, length: 4096, pieces: [[96, 4096]] },
      { objectNumber: 2, offset: 0, length: 808, pieces: [[4192, 808]] },
    ])
    expect(objectToImage(plain, 3, 100, 50)).toEqual([[3 * 4096 + 100, 50]])
    expect([0, 1, 4096, 4097].map((size) => objectCount(plain, size))).toEqual([0, 1, 1, 2])
  })

  it('with it go round', () => {
    expect(imageToObjects(fancy, 0, 4096)).toEqual([
      { objectNumber: 0, offset: 0, length: 2048, pieces: [[0, 1024], [3072, 1024]] },
      { objectNumber: 1, offset: 0, length: 1024, pieces: [[1024, 1024]] },
      { objectNumber: 2, offset: 0, length: 1024, pieces: [[2048, 1024]] },
    ])
    expect(objectToImage(fancy, 4, 0, 2048)).toEqual([[12288 + 1024, 1024], [12288 + 4096, 1024]])
    // one byte into the second set: the first object of it; all of the first stripe: all three
    expect([1, 1025, 2049, 3072, 12288, 12289, 12288 + 3072].map((size) => objectCount(fancy, size))).toEqual([1, 2, 3, 3, 3, 4, 6])
  })

  it('a stripe of one is no striping, whatever the unit says', () => {
    expect(layoutOf({ order: 12, stripeUnit: 1024, stripeCount: 1 })).toEqual(plain)
  })

  it('map there and back without loss', () => {
    fc.assert(
      fc.property(layouts, fc.nat(500), fc.integer({ min: 1, max: 500 }), (layout, offset, length) => {
        const covered = new Uint8Array(length)
        for (const extent of imageToObjects(layout, offset, length)) {
          const back = objectToImage(layout, extent.objectNumber, extent.offset, extent.length)
          const bytes = back.flatMap(([start, size]) => Array.from({ length: size }, (_, at) => start + at))
          const pieces = extent.pieces.flatMap(([start, size]) => Array.from({ length: size }, (_, at) => offset + start + at))
          expect(bytes).toEqual(pieces)
          for (const at of bytes) covered[at - offset]!++
          expect(extent.objectNumber).toBeLessThan(objectCount(layout, offset + length))
        }
        expect(covered.every((times) => times === 1)).toBe(true)
      }),
    )
  })

  it('have as many objects as are needed for the last byte and those before', () => {
    fc.assert(
      fc.property(layouts, fc.integer({ min: 1, max: 2000 }), (layout, size) => {
        const needed = Math.max(...imageToObjects(layout, 0, size).map(({ objectNumber }) => objectNumber)) + 1
        expect(objectCount(layout, size)).toBe(needed)
      }),
    )
  })
})
