import { describe, expect, it } from 'vitest'
import type { MirrorSnapshotNamespace } from '../../cls/rbd/types.ts'
import { zeroTime } from '../../encoding/codec.ts'
import type { ImageSnapshot } from '../header.ts'
import { GIVEN_UP_PREFIX } from './given-up.ts'
import { mirrorNamespace, READS_AS_SYNCED } from './mirror-snapshot.ts'
import { nextUnlink, planPromotion, primarySnapshotRefusal, unsyncedSnapshots } from './primary-plan.ts'

type Short = 'primary' | 'demoted' | 'replica' | 'partial' | 'replica-demoted' | 'partial-demoted' | 'orphan' | 'user'

const states: Record<Exclude<Short, 'user'>, [MirrorSnapshotNamespace['state'], boolean]> = {
  primary: ['primary', true],
  demoted: ['primary-demoted', true],
  replica: ['non-primary', true],
  partial: ['non-primary', false],
  'replica-demoted': ['non-primary-demoted', true],
  'partial-demoted': ['non-primary-demoted', false],
  orphan: ['non-primary', true],
}

/** Oldest first; ids count from 1. */
function snapshots(...shorts: Short[]): ImageSnapshot[] {
  return shorts.map((short, index): ImageSnapshot => {
    const rest = { id: BigInt(index + 1), name: `s${index}`, size: 0, flags: 0n, protection: 'unprotected' as const, timestamp: zeroTime, childCount: 0, parentOverlap: undefined }
    if (short === 'user') return { ...rest, namespace: { type: 'user' } }
    const [state, complete] = states[short]
    const namespace = mirrorNamespace(state, complete, { primaryMirrorUuid: state.startsWith('non') && short !== 'orphan' ? 'them' : '' })
    return { ...rest, namespace }
  }).reverse()
}

describe('what a promotion has to do', () => {
  it.each<[Short[], ReturnType<typeof planPromotion>]>([
    [[], { type: 'promote' }],
    [['user'], { type: 'promote' }],
    [['demoted'], { type: 'promote' }],
    [['replica', 'replica-demoted'], { type: 'promote' }],
    [['replica'], { type: 'forcePromote', orphaned: false, rollBackTo: undefined }],
    [['replica', 'user'], { type: 'forcePromote', orphaned: false, rollBackTo: undefined }],
    [['replica', 'partial'], { type: 'forcePromote', orphaned: false, rollBackTo: 1n }],
    [['demoted', 'user', 'partial'], { type: 'forcePromote', orphaned: false, rollBackTo: 1n }],
    [['replica', 'partial', 'partial'], { type: 'forcePromote', orphaned: false, rollBackTo: 1n }],
    [['replica', 'partial-demoted'], { type: 'forcePromote', orphaned: false, rollBackTo: 1n }],
    [['replica', 'partial-demoted', 'partial'], { type: 'forcePromote', orphaned: false, rollBackTo: 1n }],
    [['replica', 'orphan'], { type: 'forcePromote', orphaned: true, rollBackTo: undefined }],
    [['replica', 'partial', 'orphan'], { type: 'forcePromote', orphaned: true, rollBackTo: 1n }],
    [['replica', 'orphan', 'partial'], { type: 'forcePromote', orphaned: false, rollBackTo: 1n }],
    [['replica', 'orphan', 'partial', 'orphan'], { type: 'forcePromote', orphaned: true, rollBackTo: 1n }],
    [['orphan', 'partial'], { type: 'refuse', reason: 'cannot rollback' }],
    [['replica', 'orphan', 'primary', 'demoted'], { type: 'promote' }],
    [['partial', 'orphan'], { type: 'refuse', reason: 'cannot rollback' }],
    [['partial-demoted'], { type: 'refuse', reason: 'cannot rollback' }],
    [['partial'], { type: 'refuse', reason: 'cannot rollback' }],
    [['user', 'partial'], { type: 'refuse', reason: 'cannot rollback' }],
  ])('%j', (shorts, plan) => expect(planPromotion(snapshots(...shorts), 0)).toEqual(plan))

  it('goes back to a snapshot of another size than the head, unless that reads as the head did before', () => {
    const [synced] = snapshots('replica')
    const reading = { ...synced!, namespace: { ...(synced!.namespace as MirrorSnapshotNamespace), lastCopiedObjectNumber: READS_AS_SYNCED } }
    expect(planPromotion([reading], 1)).toEqual({ type: 'forcePromote', orphaned: false, rollBackTo: 1n })
    expect(planPromotion([synced!], 1)).toEqual({ type: 'forcePromote', orphaned: false, rollBackTo: undefined })
    expect(planPromotion(snapshots('demoted', 'orphan'), 1)).toEqual({ type: 'forcePromote', orphaned: true, rollBackTo: 1n })
  })

  it.each<[Short[], number | undefined, number[]]>([
    [['user', 'replica', 'user'], undefined, [3]],
    [['user', 'replica', 'user', 'orphan'], undefined, [3]],
    [['replica', 'user', 'partial', 'orphan'], 1, [2]],
    [['demoted', 'user', 'partial'], 1, [2]],
    [['demoted', 'user', 'orphan'], undefined, []],
  ])('%j rolled back to %s: removes the user snapshots %j', (shorts, rollBackTo, removed) => {
    const plan = { type: 'forcePromote' as const, orphaned: false, rollBackTo: rollBackTo === undefined ? undefined : BigInt(rollBackTo) }
    expect(unsyncedSnapshots(snapshots(...shorts), plan).map(({ id }) => Number(id))).toEqual(removed)
  })

  it('removes what the sync has begun to remove, but not what has children', () => {
    const [newest, trashed, used] = snapshots('user', 'user', 'replica')
    const trash = { type: 'trash' as const, originalType: 'user' as const, originalName: 's' }
    const all = [newest!, { ...trashed!, namespace: trash }, { ...used!, namespace: trash, childCount: 1 }]
    expect(unsyncedSnapshots(all, { type: 'forcePromote', orphaned: false, rollBackTo: undefined })).toEqual([all[1]])
  })

  it('leaves what a resync has kept', () => {
    const [kept, ...others] = snapshots('demoted', 'partial', 'user')
    const named = { ...kept!, name: `${GIVEN_UP_PREFIX}now` }
    expect(unsyncedSnapshots([named, ...others], { type: 'forcePromote', orphaned: false, rollBackTo: 1n })).toEqual([])
  })
})

describe('whether the head may get a primary snapshot', () => {
  const plain = { demoted: false, force: false }
  it.each<[Short[], typeof plain, RegExp | undefined]>([
    [[], plain, undefined],
    [['primary'], plain, undefined],
    [['primary'], { demoted: true, force: false }, undefined],
    [['demoted'], plain, /previous primary snapshot is demoted/],
    [['demoted'], { demoted: false, force: true }, undefined],
    [['replica'], plain, /previous snapshot is non-primary/],
    [['replica'], { demoted: false, force: true }, undefined],
    [['replica'], { demoted: true, force: true }, /primary demoted snapshot/],
    [['partial'], { demoted: false, force: true }, /not copied yet/],
  ])('%j %o', (shorts, options, refusal) => {
    const answer = primarySnapshotRefusal(snapshots(...shorts), options)
    if (refusal) expect(answer).toMatch(refusal)
    else expect(answer).toBeUndefined()
  })
})

describe('pruning', () => {
  const linked = (all: ImageSnapshot[], ...peers: string[]) => {
    return all.map((snapshot) => {
      const { namespace } = snapshot
      return namespace.type === 'mirror' && namespace.state === 'primary' ? { ...snapshot, namespace: { ...namespace, mirrorPeerUuids: new Set(peers) } } : snapshot
    })
  }
  it('leaves as many as may be', () => {
    const five = linked(snapshots('primary', 'primary', 'primary', 'primary', 'primary'), 'p')
    expect(nextUnlink(five, ['p'], 5)).toBeUndefined()
    expect(nextUnlink(linked(snapshots('primary', 'primary', 'primary', 'primary', 'primary', 'primary'), 'p'), ['p'], 5)).toEqual({ snapId: 5n, peerUuid: 'p' })
    expect(nextUnlink(five, ['p'], 3)).toEqual({ snapId: 3n, peerUuid: 'p' })
    expect(nextUnlink(five, [], 3)).toBeUndefined()
  })
  it('counts from the last promotion on', () => {
    expect(nextUnlink(linked(snapshots('primary', 'primary', 'primary', 'demoted', 'primary'), 'p').filter(({ id }) => id !== 4n), ['p'], 3)).toEqual({ snapId: 3n, peerUuid: 'p' })
  })
  it('begins with what nobody follows', () => {
    const all = linked(snapshots('replica', 'primary', 'primary'), 'p')
    expect(nextUnlink(all, ['p'], 5)).toEqual({ snapId: 1n, peerUuid: 'p' })
  })
  it('drops primaries that were never finished', () => {
    const unfinished = ({ namespace, ...rest }: ImageSnapshot): ImageSnapshot => ({ ...rest, namespace: { ...namespace, complete: false } as MirrorSnapshotNamespace })
    const all = linked(snapshots('primary', 'primary'), 'p', 'q').map((snapshot) => (snapshot.id === 1n ? unfinished(snapshot) : snapshot))
    expect(nextUnlink(all, ['q', 'p'], 5)).toEqual({ snapId: 1n, peerUuid: 'p' })
  })
})
