import { describe, expect, it } from 'vitest'
import type { MirrorSnapshotNamespace, SnapshotNamespace } from '../../cls/rbd/types.ts'
import { promotionOf } from './mirror-info.ts'
import { isOrphan, mirrorNamespace, READS_AS_SYNCED, readsAsSynced } from './mirror-snapshot.ts'

const mirror = (state: MirrorSnapshotNamespace['state'], primaryMirrorUuid = '', more: Partial<MirrorSnapshotNamespace> = {}) =>
  mirrorNamespace(state, true, { primaryMirrorUuid, ...more })

describe('promotionOf', () => {
  const rows: [string, SnapshotNamespace[], string][] = [
    ['no snapshots', [], 'unknown'],
    ['user snapshots only', [{ type: 'user' }], 'unknown'],
    ['a primary one', [mirror('primary'), { type: 'user' }], 'primary'],
    ['a replica', [mirror('non-primary', 'them')], 'non-primary'],
    ['demoted', [mirror('primary'), mirror('primary-demoted')], 'orphan'],
    ['demoted there', [mirror('non-primary', 'them'), mirror('non-primary-demoted', 'them')], 'orphan'],
    ['promoted again', [mirror('primary-demoted'), mirror('primary')], 'primary'],
  ]
  it.each(rows)('%s', (_, namespaces, state) => {
    const snapshots = namespaces.map((namespace, index) => ({ id: BigInt(index + 1), namespace }))
    expect(promotionOf(snapshots).state).toBe(state)
    expect(promotionOf(snapshots.toReversed()).state).toBe(state)
  })
  it('tells whom a replica follows', () => expect(promotionOf([{ id: 1n, namespace: mirror('non-primary', 'them') }]).primaryMirrorUuid).toBe('them'))
})

it('knows an orphan by what it lacks', () => {
  expect(isOrphan(mirror('non-primary'))).toBe(true)
  expect(isOrphan(mirror('non-primary', 'them'))).toBe(false)
  expect(isOrphan(mirror('non-primary', '', { primarySnapId: 4n }))).toBe(false)
  expect(isOrphan(mirror('primary'))).toBe(false)
})

it('trusts only complete replicas with the mark to be rolled back to', () => {
  const marked = { lastCopiedObjectNumber: READS_AS_SYNCED }
  expect(readsAsSynced(mirror('non-primary', 'them', marked))).toBe(true)
  expect(readsAsSynced(mirror('non-primary-demoted', 'them', marked))).toBe(true)
  expect(readsAsSynced(mirror('non-primary', 'them', { ...marked, complete: false }))).toBe(false)
  expect(readsAsSynced(mirror('non-primary', 'them', { lastCopiedObjectNumber: 10 }))).toBe(false)
  expect(readsAsSynced(mirror('primary', '', marked))).toBe(false)
})
