import { describe, expect, it } from 'vitest'
import { planImageSet, planVanished } from './image-set.ts'

const listing = (...ids: string[]) => new Map(ids.map((id) => [id, `image of ${id}`]))
const listings = (local: string[], remote: string[]) => ({ local: listing(...local), remote: listing(...remote) })
const ids = (...all: string[]) => new Set(all)

describe('planImageSet', () => {
  it('starts what is assigned and on either side', () => {
    expect(planImageSet(ids('a', 'c', 'd'), ids(), listings(['a', 'b'], ['b', 'c']), undefined)).toEqual({ start: ['a', 'c'], reconsider: [] })
  })

  it('leaves alone what is on neither side: the leader takes it away', () => {
    expect(planImageSet(ids('a'), ids('a'), listings([], []), undefined)).toEqual({ start: [], reconsider: [] })
  })

  it('reconsiders what vanished on the remote and is still here', () => {
    const before = listings(['a', 'b'], ['a', 'b'])
    expect(planImageSet(ids('a', 'b'), ids('a', 'b'), listings(['a', 'b'], ['b']), before).reconsider).toEqual(['a'])
  })

  it('reconsiders what vanished here and is still on the remote', () => {
    expect(planImageSet(ids('a', 'b'), ids('a', 'b'), listings(['a'], ['a', 'b']), listings(['a', 'b'], ['a', 'b'])).reconsider).toEqual(['b'])
  })

  it('does not take a first remote listing for a change', () => {
    expect(planImageSet(ids('a'), ids('a'), listings(['a'], []), undefined).reconsider).toEqual([])
  })
})

describe('planVanished', () => {
  it('tells what is gone from the remote from what is gone altogether', () => {
    const before = listings(['a', 'b', 'c'], ['a', 'b', 'c'])
    expect(planVanished(['a', 'b', 'c'], listings(['a', 'b'], ['b']), before)).toEqual({ fromRemote: ['a'], fromBoth: ['c'] })
  })

  it('takes what a former leader has left for gone, if nobody lists it', () => {
    expect(planVanished(['a', 'b'], listings(['a'], []), undefined)).toEqual({ fromRemote: [], fromBoth: ['b'] })
  })
})
