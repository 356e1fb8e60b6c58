import { describe, expect, it } from 'vitest'
import { NO_SNAP, type CloneInfo, type SnapSet } from '../../rados/io-ctx.ts'
import { changeBetween, cloneAt } from './extent-diff.ts'

const head = (size: number): CloneInfo => ({ id: NO_SNAP, snaps: [], overlap: [], size })
const clone = (snaps: bigint[], size: number, overlap: CloneInfo['overlap'], id = snaps.at(-1)!): CloneInfo => ({ id, snaps, size, overlap })

describe('cloneAt', () => {
  const set: SnapSet = { seq: 20n, clones: [clone([4n, 6n], 10, []), clone([14n], 10, [], 16n), head(10)] }
  it.each([
    [0n, undefined],
    // made after this snapshot
    [3n, undefined],
    [4n, 0],
    [5n, 0],
    [6n, 0],
    // removed, and made again
    [10n, undefined],
    [14n, 1],
    [16n, 1],
    // the head was made under a newer context
    [18n, undefined],
    [20n, undefined],
    [21n, 2],
    [NO_SNAP, 2],
  ])('at %s', (snap, expected) => expect(cloneAt(set, snap)).toBe(expected))

  it('tells of a head that is gone', () => {
    expect(cloneAt({ seq: 20n, clones: [clone([4n], 10, [])] }, 21n)).toBeUndefined()
  })
})

describe('changeBetween', () => {
  const set: SnapSet = {
    seq: 20n,
    clones: [
      clone([4n], 100, [[0, 10], [20, 80]]),
      clone([8n], 150, [[0, 50]]),
      head(60),
    ],
  }
  const between = (from: number | undefined, to: number | undefined) => {
    const change = changeBetween(set, from, to)
    return change.type === 'changed' ? { ...change, extents: change.extents.toArray() } : change
  }

  it('is what the older one does not share, and what was added', () => {
    expect(between(0, 1)).toEqual({ type: 'changed', extents: [[10, 20], [100, 150]], size: 150 })
  })
  it('ends where the newer one ends', () => {
    expect(between(1, 2)).toEqual({ type: 'changed', extents: [[50, 60]], size: 60 })
  })
  it('adds up over several', () => {
    expect(between(0, 2)).toEqual({ type: 'changed', extents: [[10, 20], [50, 60]], size: 60 })
  })
  it('tells of what came and went', () => {
    expect(between(undefined, 1)).toEqual({ type: 'created', size: 150 })
    expect(between(1, undefined)).toEqual({ type: 'removed' })
    expect(between(undefined, undefined)).toEqual({ type: 'none' })
    expect(between(1, 1)).toEqual({ type: 'none' })
  })
  it('shares nothing with an object made anew', () => {
    const renewed: SnapSet = { seq: 9n, clones: [clone([4n], 30, []), head(30)] }
    expect(changeBetween(renewed, 0, 1)).toMatchObject({ type: 'changed', size: 30 })
  })
})
