import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { SnapId } from '../../rados/io-ctx.ts'
import { FEATURE_EXCLUSIVE_LOCK, FEATURE_FAST_DIFF, FEATURE_LAYERING, FEATURE_NON_PRIMARY, FEATURE_OBJECT_MAP } from '../../rbd/features.ts'
import type { ImageHeader, ImageSnapshot, Protection } from '../../rbd/header.ts'
import type { ImageState } from '../../rbd/mirror/image-state.ts'
import { orderRenames, planImageState } from './apply-plan.ts'

const user = (id: number, name: string, protection: Protection = 'unprotected') =>
  ({ id: BigInt(id), namespace: { type: 'user' }, name, protection }) as ImageSnapshot
const header = (more: Partial<ImageHeader>) => ({ name: 'image', features: FEATURE_LAYERING | FEATURE_NON_PRIMARY, snapshots: [], ...more }) as unknown as ImageHeader
const state = (more: Partial<ImageState> = {}): ImageState => ({
  name: 'image',
  features: FEATURE_LAYERING,
  snapLimit: 9n,
  snapshots: new Map(),
  metadata: new Map(),
  ...more,
})
const text = (entries: Record<string, string>) => new Map(Object.entries(entries).map(([key, value]) => [key, Buffer.from(value)]))
const plan = (image: Partial<ImageHeader>, to: ImageState, metadata = new Map<string, Buffer>(), remoteIds: Record<number, number> = {}) =>
  planImageState({ header: header(image), metadata, snapLimit: 9n }, to, (id) => {
    const remote = remoteIds[Number(id)]
    return remote === undefined ? undefined : BigInt(remote)
  })

describe('planImageState', () => {
  it('changes nothing where nothing differs', () => {
    expect(plan({}, state())).toEqual({
      rename: undefined,
      disableFeatures: 0n,
      enableFeatures: 0n,
      metadata: { set: new Map(), remove: [] },
      unprotect: [],
      remove: [],
      protect: [],
      renameSnapshots: [],
      snapLimit: undefined,
    })
  })

  it('renames, switches features but the implicit ones, sets the limit', () => {
    const changes = plan({ features: FEATURE_LAYERING | FEATURE_OBJECT_MAP | FEATURE_FAST_DIFF | FEATURE_NON_PRIMARY }, state({ name: 'new', features: FEATURE_LAYERING | FEATURE_EXCLUSIVE_LOCK, snapLimit: 3n }))
    expect(changes).toMatchObject({ rename: 'new', disableFeatures: FEATURE_OBJECT_MAP, enableFeatures: FEATURE_EXCLUSIVE_LOCK, snapLimit: 3n })
  })

  it('makes metadata equal, leaving librbd its own', () => {
    const changes = plan({}, state({ metadata: text({ kept: '1', changed: 'b', added: 'c' }) }), text({ kept: '1', changed: 'a', gone: 'x', '.rbd_mirror.uuid': '{}' }))
    expect(changes.metadata.set).toEqual(text({ changed: 'b', added: 'c' }))
    expect(changes.metadata.remove).toEqual(['gone'])
  })

  it('removes, protects, unprotects and renames user snapshots as the remote ones are', () => {
    const snapshots = [user(11, 'gone', 'protected'), user(12, 'old'), user(13, 'p'), user(14, 'u', 'protected'), user(15, 'unknown')]
    const to = state({
      snapshots: new Map([
        [2n, { namespace: { type: 'user' }, name: 'new', protection: 'unprotected' as const }],
        [3n, { namespace: { type: 'user' }, name: 'p', protection: 'protected' as const }],
        [4n, { namespace: { type: 'user' }, name: 'u', protection: 'unprotected' as const }],
      ]),
    })
    expect(plan({ snapshots }, to, new Map(), { 11: 1, 12: 2, 13: 3, 14: 4 })).toMatchObject({
      unprotect: [11n, 14n],
      remove: [11n, 15n],
      protect: [13n],
      renameSnapshots: [{ id: 12n, name: 'new' }],
    })
  })
})

describe('orderRenames', () => {
  it('never has two of the same name, and ends with the names wanted', () => {
    const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(names, names, (before, after) => {
        const current = new Map<SnapId, string>(before.map((name, index) => [BigInt(index + 1), name]))
        const wanted = [...current.keys()].flatMap((id, index) => {
          const name = after[index]
          return name === undefined || name === current.get(id) ? [] : [{ id, name }]
        })
        const untouched = new Set([...current].filter(([id]) => !wanted.some((rename) => rename.id === id)).map(([, name]) => name))
        fc.pre(wanted.every(({ name }) => !untouched.has(name)))
        for (const { id, name } of orderRenames(wanted, current)) {
          expect([...current.values()]).not.toContain(name)
          current.set(id, name)
        }
        for (const { id, name } of wanted) expect(current.get(id)).toBe(name)
      }),
    )
  })
  it('leaves it to the cluster to refuse a name that stays taken', () => {
    const taken = new Map([
      [1n, 'a'],
      [2n, 'b'],
    ])
    expect(orderRenames([{ id: 1n, name: 'b' }], taken).at(-1)).toEqual({ id: 1n, name: 'b' })
  })
})
