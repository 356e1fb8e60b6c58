import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { vectors } from '../../../test/support/vectors.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { crc32c } from '../../encoding/crc32c.ts'
import { decodeObjectStates, encodeObjectStates, ObjectState } from './object-states.ts'
import { TwoBitVector } from './two-bit-vector.ts'

describe('object maps', () => {
  // maps of a real image: 20480 objects (two blocks of sums) before and after a snapshot, and a small one
  const recorded = new Map(vectors('object-map').map(({ name, bytes }) => [name.slice(name.indexOf('-') + 1), bytes]))

  it.each([...recorded.keys()])('are read and written as the OSD wrote them: %s', (name) => {
    const bytes = recorded.get(name)!
    expect(encodeObjectStates(decodeObjectStates(bytes), true).equals(bytes)).toBe(true)
  })

  it('tell what was written before and since a snapshot', () => {
    const count = (map: TwoBitVector, state: number) => map.count(1 << state)
    const head = decodeObjectStates(recorded.get('head')!)
    const snapshot = decodeObjectStates(recorded.get('snapshot')!)
    expect([head.length, snapshot.length]).toEqual([20480, 20480])
    expect(count(snapshot, ObjectState.exists)).toBeGreaterThan(100)
    expect(count(snapshot, ObjectState.existsClean)).toBe(0)
    expect(count(head, ObjectState.existsClean)).toBeGreaterThan(100)
    expect(count(head, ObjectState.exists)).toBeGreaterThan(100)
    for (let object = 0; object < head.length; object++) {
      const before = snapshot.get(object) !== ObjectState.nonexistent
      expect(before).toBe(before && head.get(object) !== ObjectState.nonexistent)
      if (head.get(object) === ObjectState.existsClean) expect(before).toBe(true)
    }
  })

  it('without sums, as class methods give and take them', () => {
    const map = decodeObjectStates(recorded.get('head')!)
    expect(decodeObjectStates(encodeObjectStates(map, false))).toEqual(map)
  })

  it('are malformed when cut anywhere, or with a flipped bit', () => {
    const bytes = recorded.get('head')!
    for (const length of [0, 1, 4, 17, 18, 100, 5137, 5138, 5141, 5150, bytes.length - 1]) {
      expect(() => decodeObjectStates(bytes.subarray(0, length)), `${length} bytes`).toThrow(MalformedInput)
    }
    for (const at of [10, 18, 4000, 5000, 5143, 5151, 5155]) {
      const flipped = Buffer.from(bytes)
      flipped[at]! ^= 4
      expect(() => decodeObjectStates(flipped), `byte ${at}`).toThrow(MalformedInput)
    }
  })

  it('refuse a size that would take all memory', () => {
    const bytes = encodeObjectStates(new TwoBitVector(4), true)
    bytes.writeBigUInt64LE(1n << 45n, 10)
    expect(() => decodeObjectStates(bytes)).toThrow(MalformedInput)
  })
})

it('crc32c agrees with the published check value', () => {
  // the usual form inverts before and after; "123456789" gives e3069283
  expect((~crc32c(0xffffffff, Buffer.from('123456789')) >>> 0).toString(16)).toBe('e3069283')
})

describe('TwoBitVector', () => {
  const values = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 50 })
  const fill = (list: number[]) => {
    const vector = new TwoBitVector(list.length)
    for (const [index, value] of list.entries()) vector.set(index, value)
    return vector
  }

  it('keeps what was set', () => {
    fc.assert(
      fc.property(values, (list) => {
        expect(Array.from(list, (_, index) => fill(list).get(index))).toEqual(list)
      }),
    )
  })

  it('finds and counts', () => {
    fc.assert(
      fc.property(values, fc.nat(60), fc.integer({ min: 1, max: 15 }), (list, from, wanted) => {
        const found = list.findIndex((value, index) => index >= from && (wanted >> value) & 1)
        expect(fill(list).next(from, wanted)).toBe(found < 0 ? list.length : found)
        expect(fill(list).count(wanted)).toBe(list.filter((value) => (wanted >> value) & 1).length)
      }),
    )
  })

  it('grows with zeros, whatever lay behind its end', () => {
    fc.assert(
      fc.property(values, fc.nat(60), (list, length) => {
        const vector = fill(list)
        vector.bytes[vector.bytes.length - 1]! |= (1 << (2 * ((4 - (list.length & 3)) & 3))) - 1
        const resized = vector.resized(length)
        expect(Array.from({ length }, (_, index) => resized.get(index))).toEqual(Array.from({ length }, (_, index) => list[index] ?? 0))
        expect(resized.resized(length + 8).next(length, 14)).toBe(length + 8)
      }),
    )
  })
})
