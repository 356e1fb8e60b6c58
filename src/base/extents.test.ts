import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Extents } from './extents.ts'

const SPAN = 64
const range = fc.tuple(fc.nat(SPAN - 1), fc.nat(SPAN - 1))
const change = fc.record({ verb: fc.constantFrom('add' as const, 'remove' as const), range })
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never

function build(changes: readonly Change[]): { extents: Extents; model: boolean[] } {
  const extents = new Extents()
  const model = new Array<boolean>(SPAN).fill(false)
  for (const { verb, range: [start, end] } of changes) {
    extents[verb](start, end)
    if (start < end) model.fill(verb === 'add', start, end)
  }
  return { extents, model }
}

function bytes(extents: Extents): boolean[] {
  const set = new Array<boolean>(SPAN).fill(false)
  for (const [start, end] of extents) set.fill(true, start, end)
  return set
}

const changes = fc.array(change, { maxLength: 20 })

describe('Extents', () => {
  it('holds exactly the bytes added and not removed, as sorted, disjoint, non-adjacent ranges', () => {
    fc.assert(
      fc.property(changes, (steps) => {
        const { extents, model } = build(steps)
        expect(bytes(extents)).toEqual(model)
        expect(extents.total).toBe(model.filter(Boolean).length)
        expect(extents.empty).toBe(!model.includes(true))
        const list = extents.toArray()
        list.forEach(([start, end], index) => {
          expect(start).toBeLessThan(end)
          if (index > 0) expect(list[index - 1]![1]).toBeLessThan(start)
        })
      }),
    )
  })

  it('unites, subtracts and intersects as sets do', () => {
    fc.assert(
      fc.property(changes, changes, (left, right) => {
        const a = build(left)
        const b = build(right)
        expect(bytes(a.extents.intersection(b.extents))).toEqual(a.model.map((set, index) => set && b.model[index]))
        expect(bytes(Extents.of(...a.extents.toArray()).union(b.extents))).toEqual(a.model.map((set, index) => set || b.model[index]))
        expect(bytes(Extents.of(...a.extents.toArray()).subtract(b.extents))).toEqual(a.model.map((set, index) => set && !b.model[index]))
      }),
    )
  })

  it('knows whether a range is touched', () => {
    fc.assert(
      fc.property(changes, range, (steps, [start, end]) => {
        const { extents, model } = build(steps)
        expect(extents.intersects(start, end)).toBe(start < end && model.slice(start, end).includes(true))
      }),
    )
  })

  it('works beyond 32 bits', () => {
    const far = 2 ** 50
    expect(Extents.of([far, far + 10], [far + 10, far + 20]).remove(far + 5, far + 7).toArray()).toEqual([
      [far, far + 5],
      [far + 7, far + 20],
    ])
  })
})
