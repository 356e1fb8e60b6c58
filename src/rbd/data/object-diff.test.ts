import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DiffState, mergeMap } from './object-diff.ts'
import { ObjectState } from './object-states.ts'
import { TwoBitVector } from './two-bit-vector.ts'

const { hole, data, holeUpdated, dataUpdated } = DiffState
const { nonexistent, exists, pending, existsClean } = ObjectState

function vector(values: readonly number[]): TwoBitVector {
  const result = new TwoBitVector(values.length)
  for (const [index, value] of values.entries()) result.set(index, value)
  return result
}

function values(vector: TwoBitVector): number[] {
  return Array.from({ length: vector.length }, (_, index) => vector.get(index))
}

describe('mergeMap', () => {
  const merged = (diff: number[], map: number[], merge: Parameters<typeof mergeMap>[2] = 'fast-diff') => {
    const result = vector(diff)
    mergeMap(result, vector(map), merge)
    return values(result)
  }

  it('begins with what exists', () => {
    expect(merged([0, 0, 0, 0], [nonexistent, exists, pending, existsClean], 'start')).toEqual([hole, data, dataUpdated, data])
  })

  it.each([
    ['hole', hole, [hole, dataUpdated, dataUpdated, dataUpdated]],
    ['data', data, [holeUpdated, dataUpdated, dataUpdated, data]],
    // removed before: even a clean object is a new one
    ['updated hole', holeUpdated, [holeUpdated, dataUpdated, dataUpdated, dataUpdated]],
    ['updated data', dataUpdated, [holeUpdated, dataUpdated, dataUpdated, dataUpdated]],
  ])('goes on from a %s', (_, before, after) => {
    expect(merged([before, before, before, before], [nonexistent, exists, pending, existsClean])).toEqual(after)
  })

  it('without fast-diff takes everything that exists for written', () => {
    expect(merged([data, data, data], [nonexistent, exists, existsClean], 'existence')).toEqual([holeUpdated, dataUpdated, dataUpdated])
  })

  it('takes what lies behind a smaller map for gone', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 40 }), fc.nat(40), (diff, length) => {
        const map = diff.slice(0, length).map(() => existsClean as number)
        const padded = diff.map((_, index) => map[index] ?? nonexistent)
        expect(merged(diff, map)).toEqual(merged(diff, padded))
        expect(merged(diff, padded)).toEqual(diff.map((state, index) => merged([state], [padded[index]!])[0]))
      }),
    )
  })
})
