import { describe, expect, it } from 'vitest'
import { planImageSet } from './image-set.ts'

const listing = (...ids: string[]) => new Map(ids.map((id) => [id, `image of ${id}`]))

describe('planImageSet', () => {
  it('starts what either side has', () => {
    const plan = planImageSet(new Set(), listing('a', 'b'), listing('b', 'c'), undefined)
    expect(plan).toEqual({ start: ['a', 'b', 'c'], stop: [], reconsider: [] })
  })

  it('stops what neither side has', () => {
    const plan = planImageSet(new Set(['a', 'b', 'c']), listing('a'), listing('b'), undefined)
    expect(plan).toEqual({ start: [], stop: ['c'], reconsider: [] })
  })

  it('reconsiders what vanished on the remote and is still here', () => {
    const before = { local: listing('a', 'b', 'c'), remote: listing('a', 'b', 'c') }
    const plan = planImageSet(new Set(['a', 'b', 'c']), listing('a', 'b'), listing('b'), before)
    expect(plan).toEqual({ start: [], stop: ['c'], reconsider: ['a'] })
  })

  it('reconsiders what vanished here and is still on the remote', () => {
    const before = { local: listing('a', 'b'), remote: listing('a', 'b') }
    expect(planImageSet(new Set(['a', 'b']), listing('a'), listing('a', 'b'), before).reconsider).toEqual(['b'])
  })

  it('does not take a first remote listing for a change', () => {
    expect(planImageSet(new Set(['a']), listing('a'), listing(), undefined).reconsider).toEqual([])
  })
})
