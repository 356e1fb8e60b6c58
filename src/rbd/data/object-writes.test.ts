import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Extents } from '../../base/extents.ts'
import type { WriteOperation } from '../../rados/operation.ts'
import { coalesce, readPieces, writeParts, writeWhole } from './object-writes.ts'
import { nonZeroRuns } from './zero-runs.ts'

const block = 4096

describe('nonZeroRuns', () => {
  it('finds what is not zero, to the block', () => {
    const buffer = Buffer.alloc(10 * block)
    buffer[2 * block] = 1
    buffer[3 * block - 1] = 1
    buffer[7 * block + 5] = 1
    expect(nonZeroRuns(buffer, 0, block)).toEqual([[2 * block, 3 * block], [7 * block, 8 * block]])
    expect(nonZeroRuns(buffer, 0, 4 * block + 1)).toEqual([[2 * block, 8 * block]])
    expect(nonZeroRuns(Buffer.alloc(3 * block), 0, block)).toEqual([])
    expect(nonZeroRuns(Buffer.alloc(0), 0, block)).toEqual([])
  })

  it('never leaves out data', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9 * block - 1), { maxLength: 6 }), fc.nat(block), fc.integer({ min: 1, max: 5 * block }), (at, phase, hole) => {
        const buffer = Buffer.alloc(9 * block)
        for (const position of at) buffer[position] = 7
        const rest = Buffer.from(buffer)
        for (const [start, end] of nonZeroRuns(buffer, phase, hole)) rest.fill(0, start, end)
        expect(rest.every((byte) => byte === 0)).toBe(true)
      }),
    )
  })
})

const kinds = (operation: WriteOperation | undefined) =>
  operation?.steps.map((step) => ('data' in step && 'offset' in step ? [step.type, step.offset, step.data.length] : 'offset' in step && 'length' in step ? [step.type, step.offset, step.length] : [step.type]))

describe('writes', () => {
  it('of a whole object leave holes', () => {
    const data = Buffer.alloc(20 * block)
    expect(writeWhole(data, false)).toEqual({ operation: undefined, bytes: 0 })
    expect(kinds(writeWhole(data, true).operation)).toEqual([['create'], ['truncate']])
    data.fill(1, 0, 2 * block)
    expect(writeWhole(data, false).operation!.steps).toEqual([{ type: 'writeFull', data: data.subarray(0, 2 * block) }])
    data.fill(1, 19 * block)
    expect(kinds(writeWhole(data, false).operation)).toEqual([['truncate'], ['write', 0, 2 * block], ['write', 19 * block, block]])
  })

  it('of parts set zeros where there are zeros', () => {
    const read = Buffer.alloc(12 * block, 1).fill(0, 4 * block, 9 * block)
    const extents = Extents.of([0, 3 * block], [3 * block + 5, 12 * block], [20 * block, 21 * block])
    const parts = [
      { offset: 0, data: read },
      { offset: 20 * block, data: Buffer.alloc(block) },
    ]
    const write = writeParts(parts, extents, 30 * block, true)
    expect(write.bytes).toBe(3 * block + (block - 5) + 3 * block)
    expect(kinds(write.operation)).toEqual([
      ['assertExists'],
      ['truncate'],
      ['write', 0, 3 * block],
      ['write', 3 * block + 5, block - 5],
      ['zero', 4 * block, 5 * block],
      ['write', 9 * block, 3 * block],
      ['zero', 20 * block, block],
    ])
  })

  it('read neighbours in one piece and do not grow without bounds', () => {
    expect(readPieces(Extents.of([0, 100], [4000, 5000], [20000, 20001]))).toEqual([[0, 5000], [20000, 1]])
    const many = new Extents()
    for (let at = 0; at < 4 * 2 ** 20; at += 4096) many.add(at, at + 512)
    const few = coalesce(many)
    expect(few.toArray().length).toBeLessThanOrEqual(512)
    expect(Extents.of(...many.toArray()).subtract(few).empty).toBe(true)
  })
})
