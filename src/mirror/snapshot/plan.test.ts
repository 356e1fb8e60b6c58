import { describe, expect, it } from 'vitest'
import type { MirrorSnapshotNamespace } from '../../cls/rbd/types.ts'
import { isNonPrimary, isOrphan, isPrimary, mirrorNamespace, READS_AS_SYNCED, type MirrorSnapshot } from '../../rbd/mirror/mirror-snapshot.ts'
import { MAX_UNTIDY, planNext, type Observation, type Step } from './plan.ts'

const HERE = 'local-uuid'
const THERE = 'remote-uuid'
const US = 'our-peer-uuid'

function snapshot(id: number, namespace: Partial<MirrorSnapshotNamespace>): MirrorSnapshot {
  return {
    id: BigInt(id),
    namespace: mirrorNamespace('primary', true, namespace),
    name: `.mirror.${id}`,
    size: 0,
    flags: 0n,
    protection: 'unprotected',
    timestamp: { sec: id, nsec: 0 },
    childCount: 0,
    parentOverlap: undefined,
  }
}

const primary = (id: number, more: Partial<MirrorSnapshotNamespace> = {}) => snapshot(id, { mirrorPeerUuids: new Set([US]), ...more })
const demoted = (id: number, more: Partial<MirrorSnapshotNamespace> = {}) => primary(id, { state: 'primary-demoted', ...more })
const replica = (id: number, of: number, more: Partial<MirrorSnapshotNamespace> = {}) =>
  snapshot(id, {
    state: 'non-primary',
    primaryMirrorUuid: THERE,
    primarySnapId: BigInt(of),
    lastCopiedObjectNumber: READS_AS_SYNCED,
    ...more,
  })
const copying = (id: number, of: number, objects: number, more: Partial<MirrorSnapshotNamespace> = {}) =>
  replica(id, of, { complete: false, lastCopiedObjectNumber: objects, ...more })
const orphan = (id: number) => snapshot(id, { state: 'non-primary' })
const linked = { mirrorPeerUuids: new Set([US]) }

function plan(local: MirrorSnapshot[], remote: MirrorSnapshot[], more: Partial<Observation> = {}): Step {
  return planNext({ resyncRequested: false, local, remote, remoteIds: new Set(remote.map(({ id }) => id)), localMirrorUuid: HERE, remoteMirrorUuid: THERE, mirrorPeerUuid: US, ...more })
}

/** A step in a word, with the ids it is about. */
function short(step: Step): string {
  switch (step.type) {
    case 'sync':
      return `sync ${step.compares ? `${step.compares}` : step.base.remoteSnapId}→${step.to.id}${step.copies ? '' : ' clean'}`
    case 'resume':
      return `resume ${step.into.id}: ${step.base.remoteSnapId}→${step.to.id}`
    case 'tidy':
      return `tidy prune ${step.prune.map(({ id }) => id).join()} unlink ${step.unlink.map(({ id }) => id).join()}`
    case 'checkpoint':
      return `checkpoint ${step.snapshot.id}`
    case 'splitBrain':
    case 'invalid':
      return `${step.type} ${step.reason}`
    case 'resyncWaits':
      return `${step.type} ${step.for}`
    default:
      return step.type
  }
}

describe('planNext', () => {
  const rows: [title: string, local: MirrorSnapshot[], remote: MirrorSnapshot[], step: string][] = [
    ['nothing anywhere', [], [], 'idle'],
    ['a first snapshot', [], [primary(5)], 'sync 0→5'],
    ['the newest of many that the primary leaves alone', [], [primary(5), primary(6), primary(7)], 'sync 0→6'],
    ['older ones that are not for us do not count', [], [snapshot(4, {}), primary(5), primary(6)], 'sync 0→6'],
    ['a snapshot that is not for us', [], [snapshot(5, {})], 'idle'],
    ['a snapshot that is being made', [], [primary(5, { complete: false })], 'idle'],
    ['one being made behind a whole one', [], [primary(5), primary(6, { complete: false })], 'sync 0→5'],
    ['an image that was created clean', [], [primary(5, { primarySnapId: 0n })], 'sync 0→5 clean'],
    ['all synced', [replica(15, 5)], [primary(5)], 'idle'],
    ['a delta', [replica(15, 5)], [primary(5), primary(6)], 'sync 5→6'],
    ['a delta over several', [replica(15, 5)], [snapshot(5, {}), primary(6), primary(9)], 'sync 5→9'],
    ['a delta without changes', [replica(15, 5)], [primary(5), primary(6, { primarySnapId: 5n })], 'sync 5→6 clean'],
    ['clean since one that we have not', [replica(15, 5)], [snapshot(5, {}), primary(6), primary(7, { primarySnapId: 6n })], 'sync 5→7'],
    ['older remote snapshots wait for us', [replica(15, 6)], [primary(4), primary(5), primary(6)], 'tidy prune  unlink 4,5'],
    ['old replicas are left', [replica(14, 4), replica(15, 5)], [primary(5)], 'tidy prune 14 unlink '],
    ['both', [replica(14, 4), replica(15, 5)], [primary(4), primary(5)], 'tidy prune 14 unlink 4'],
    ['a little to tidy does not delay a sync', [replica(14, 4), replica(15, 5)], [primary(4), primary(5), primary(6)], 'sync 5→6'],
    ['an old replica that another peer follows', [replica(14, 4, { mirrorPeerUuids: new Set(['x']) }), replica(15, 5)], [primary(5)], 'idle'],
    ['the base has gone, an older one is there', [replica(15, 5)], [primary(4), primary(6)], 'sync baseLost→6'],
    ['the base has gone', [replica(15, 5)], [primary(6)], 'sync baseLost→6'],
    ['the base has gone and there is nothing new', [replica(15, 5)], [], 'idle'],
    ['a sync without an object copied', [replica(15, 5), copying(16, 6, 0)], [primary(5), primary(6)], 'sync 5→6'],
    ['a first sync without an object copied', [copying(16, 6, 0)], [primary(6)], 'resume 16: 0→6'],
    ['a first sync under way', [copying(16, 6, 7)], [primary(6), primary(7)], 'resume 16: 0→6'],
    ['a delta under way', [replica(15, 5), copying(16, 6, 7)], [primary(5), primary(6), primary(7)], 'resume 16: 5→6'],
    ['a sync whose target has gone', [replica(15, 5), copying(16, 6, 7)], [primary(5), primary(7)], 'sync targetLost→7'],
    ['the same without an object copied, as far as is noted', [replica(15, 5), copying(16, 6, 0)], [primary(5), primary(7)], 'sync targetLost→7'],
    ['the same, nothing to sync', [replica(15, 5), copying(16, 6, 7)], [primary(5)], 'idle'],
    ['a sync begun anew', [replica(15, 5), copying(16, 6, 7), copying(17, 7, 7)], [primary(5), primary(7)], 'sync targetLost→7'],
    ['a sync begun anew, and finished', [replica(15, 5), copying(16, 6, 7), replica(17, 7)], [primary(5), primary(7)], 'tidy prune 15,16 unlink 5'],
    ['the same, of a demotion', [replica(15, 5), copying(16, 6, 0, { state: 'non-primary-demoted', ...linked }), replica(17, 7)], [primary(5), primary(7)], 'tidy prune 15,16 unlink 5'],
    ['a sync that the C++ daemon has begun', [replica(15, 5, { lastCopiedObjectNumber: 32 }), copying(16, 6, 0)], [primary(5), primary(6)], 'sync 5→6'],
    ['a first sync whose target has gone', [copying(16, 6, 7)], [primary(7)], 'startOver'],
    ['what was synced by the C++ daemon', [replica(15, 5, { lastCopiedObjectNumber: 32 })], [primary(5), primary(6)], 'checkpoint 15'],
    ['the same, nothing to sync', [replica(15, 5, { lastCopiedObjectNumber: 32 })], [primary(5)], 'idle'],
    ['promoted', [snapshot(15, {})], [primary(5)], 'localPromoted'],
    ['being promoted', [replica(14, 5), snapshot(15, { complete: false })], [primary(5)], 'localPromoted'],
    ['being force promoted', [replica(14, 5), orphan(15)], [primary(5)], 'orphan'],
    ['force promoted in mid-sync', [replica(14, 5), copying(15, 6, 2), orphan(16)], [primary(5), primary(6)], 'orphan'],
    ['promoted in mid-sync', [replica(14, 5), copying(15, 6, 2), snapshot(16, {})], [primary(5), primary(6)], 'localPromoted'],
    ['being demoted', [snapshot(15, { state: 'primary-demoted', complete: false })], [], 'invalid incomplete local primary snapshot'],
    ['the replica of somebody else', [replica(15, 5, { primaryMirrorUuid: 'x' })], [primary(5)], 'splitBrain local image linked to unknown peer'],
    ['the remote was demoted, not synced yet', [replica(15, 5)], [primary(5), demoted(6)], 'sync 5→6'],
    ['the remote was demoted, all synced', [replica(15, 6, { state: 'non-primary-demoted', ...linked })], [demoted(6)], 'remoteDemoted'],
    ['the remote demotes', [replica(15, 5)], [primary(5), demoted(6, { complete: false })], 'idle'],
  ]
  it.each(rows)('%s', (_, local, remote, step) => expect(short(plan(local, remote))).toBe(step))

  describe('after the local image was demoted', () => {
    const demotion = snapshot(15, { state: 'primary-demoted', mirrorPeerUuids: new Set(['them']) })
    const takeover = (more: Partial<MirrorSnapshotNamespace> = {}) =>
      snapshot(5, { state: 'non-primary-demoted', primaryMirrorUuid: HERE, primarySnapId: 15n, ...linked, ...more })

    it('waits for the other side', () => expect(short(plan([demotion], []))).toBe('idle'))
    it('waits while the other side has the demotion, but is not promoted', () => expect(short(plan([demotion], [takeover()]))).toBe('remoteDemoted'))
    it('follows the other side', () => {
      const step = plan([demotion], [takeover(), primary(6)])
      expect(step).toMatchObject({ type: 'sync', base: { remoteSnapId: 5n, localSnapId: 15n, afterDemotion: true }, to: { id: 6n } })
    })
    it('follows also when it has been unlinked there', () =>
      expect(short(plan([demotion], [takeover({ mirrorPeerUuids: new Set() }), primary(6)]))).toBe('sync 5→6'))
    it('does not follow a takeover that was broken off', () =>
      expect(short(plan([demotion], [takeover({ complete: false }), primary(6)]))).toBe('splitBrain split-brain'))
    it('does not follow a forced promotion', () =>
      expect(short(plan([demotion], [snapshot(3, { state: 'non-primary', primaryMirrorUuid: HERE, primarySnapId: 14n }), orphan(4), primary(6)]))).toBe(
        'splitBrain split-brain',
      ))
    it('goes on with an interrupted sync', () =>
      expect(short(plan([demotion, copying(16, 6, 3)], [takeover(), primary(6)]))).toBe('resume 16: 5→6'))
    it('comes back and forth', () => {
      // demoted here (15), taken over and demoted there (5, 6), taken over here (16), demoted here (17), taken over there (7), written (8)
      const local = [demotion, replica(16, 6, { state: 'non-primary-demoted' }), snapshot(17, { state: 'primary-demoted' })]
      const remote = [takeover(), demoted(6), snapshot(7, { state: 'non-primary-demoted', primaryMirrorUuid: HERE, primarySnapId: 17n }), primary(8)]
      expect(short(plan(local, remote))).toBe('sync 7→8')
    })
  })

  it('tidies first when much has piled up', () => {
    const remote = [1, 2, 3, 4, 5, 6, 7, 8].map((id) => primary(id))
    expect(short(plan([replica(20, 7)], remote))).toBe('tidy prune  unlink 1,2,3,4,5,6')
    expect(remote.length).toBeGreaterThan(MAX_UNTIDY)
  })

  describe('a requested resync', () => {
    const resync = { resyncRequested: true }
    const demotion = snapshot(15, { state: 'primary-demoted' })
    const rows: [title: string, local: MirrorSnapshot[], remote: MirrorSnapshot[], step: string][] = [
      ['of a promoted image', [snapshot(15, {})], [primary(5)], 'localPromoted'],
      ['of an image that is being promoted', [orphan(15)], [primary(5)], 'orphan'],
      ['of a split-brained image', [replica(13, 4), orphan(14), demotion], [primary(4), primary(6)], 'sync resync→6'],
      ['begun anew after a crash', [demotion, copying(16, 6, 7)], [primary(6)], 'sync resync→6'],
      ['of a healthy replica', [replica(15, 5)], [primary(5)], 'sync resync→5'],
      ['of what the C++ daemon has synced', [replica(15, 5, { lastCopiedObjectNumber: 3 })], [primary(5)], 'checkpoint 15'],
      ['of the replica of somebody else', [replica(15, 5, { primaryMirrorUuid: 'x' })], [primary(5)], 'sync resync→5'],
      ['while the remote is demoted', [replica(15, 5)], [primary(5), demoted(6)], 'resyncWaits primary'],
      ['while the remote is a replica', [demotion], [replica(5, 1)], 'resyncWaits primary'],
      ['without a snapshot for us', [demotion], [snapshot(5, {})], 'resyncWaits snapshot'],
    ]
    it.each(rows)('%s', (_, local, remote, step) => expect(short(plan(local, remote, resync))).toBe(step))

    it('may be done by making the image anew, but then too only if there is something to make it from', () => {
      const recreate = { ...resync, resyncMode: 'recreate' } as const
      expect(short(plan([demotion], [primary(6)], recreate))).toBe('resyncRequested')
      expect(short(plan([demotion], [demoted(6)], recreate))).toBe('resyncWaits primary')
      expect(short(plan([demotion], [snapshot(5, {})], recreate))).toBe('resyncWaits snapshot')
    })
  })

  describe('a replica whose base the primary has removed', () => {
    it('is no split-brain: it is compared', () => expect(short(plan([replica(15, 5)], [primary(6), primary(7)]))).toBe('sync baseLost→7'))
    it('waits for a snapshot', () => expect(short(plan([replica(15, 5)], [snapshot(6, {})]))).toBe('idle'))
    it('begins anew after a crash', () => expect(short(plan([replica(15, 5), copying(16, 6, 3)], [primary(6)]))).toBe('sync baseLost→6'))
  })
})

/** Every list of up to `length` of these kinds of snapshots, with ascending ids. */
function* lists(kinds: ((id: number) => MirrorSnapshot)[], length: number, firstId: number): Generator<MirrorSnapshot[]> {
  yield []
  if (length === 0) return
  for (const rest of lists(kinds, length - 1, firstId)) {
    if (rest.length < length - 1) continue
    for (const kind of kinds) yield [...rest, kind(firstId + rest.length)]
  }
  if (length > 1) for (const shorter of lists(kinds, length - 1, firstId)) if (shorter.length > 0) yield shorter
}

describe('any state', () => {
  const localKinds = [
    (id: number) => snapshot(id, {}),
    (id: number) => snapshot(id, { complete: false }),
    (id: number) => snapshot(id, { state: 'primary-demoted' }),
    (id: number) => orphan(id),
    ...[1, 2, 3].flatMap((of) => [
      (id: number) => replica(id, of),
      (id: number) => replica(id, of, { lastCopiedObjectNumber: 9 }),
      (id: number) => copying(id, of, 0),
      (id: number) => copying(id, of, 4),
    ]),
    (id: number) => replica(id, 1, { primaryMirrorUuid: 'x' }),
  ]
  const remoteKinds = [
    (id: number) => primary(id),
    (id: number) => primary(id, { complete: false }),
    (id: number) => snapshot(id, {}),
    (id: number) => demoted(id),
    (id: number) => orphan(id),
    ...[11, 12].map((of) => (id: number) => snapshot(id, { state: 'non-primary-demoted', primaryMirrorUuid: HERE, primarySnapId: BigInt(of), ...linked })),
  ]

  it('has a step that harms nothing', () => {
    let states = 0
    for (const local of lists(localKinds, 3, 11)) {
      for (const remote of lists(remoteKinds, 3, 1)) {
        states++
        check(local, remote, plan(local, remote))
      }
    }
    expect(states).toBeGreaterThan(100_000)
  }, 60_000)

  it('comes to rest, with nothing left to tidy', () => {
    for (const local of lists(localKinds, 2, 11)) for (const remote of lists(remoteKinds, 3, 1)) settle(local, remote)
  }, 60_000)

  function check(local: MirrorSnapshot[], remote: MirrorSnapshot[], step: Step): void {
    const describeState = () => JSON.stringify({ local, remote, step }, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value))
    const demand = (condition: boolean, what: string) => {
      if (!condition) throw new Error(`${what}: ${describeState()}`)
    }
    const newest = local.at(-1)
    if (step.type === 'sync' || step.type === 'resume') {
      demand(step.to.namespace.complete && isPrimary(step.to.namespace), 'target is a whole primary snapshot')
      demand(step.base.remoteSnapId < step.to.id, 'goes forward')
      demand(step.base.remoteSnapId === 0n || remote.some(({ id }) => id === step.base.remoteSnapId), 'base exists at the remote')
      const compares = step.type === 'sync' && step.compares !== undefined
      demand(compares || (step.base.remoteSnapId === 0n) === (step.base.localSnapId === 0n), 'base on both sides or on none')
      const local0 = local.find(({ id }) => id === step.base.localSnapId)
      demand(step.base.localSnapId === 0n || local0?.namespace.complete === true, 'base is whole')
      if (local0 && isNonPrimary(local0.namespace)) demand(step.base.remoteSnapId <= local0.namespace.primarySnapId, 'base is not newer than what we have')
      if (step.base.localSnapId === 0n) demand(!local.some(({ namespace }) => namespace.complete && !isOrphan(namespace)), 'nothing known is forgotten')
      demand(newest?.namespace.state !== 'primary' && !(newest && isOrphan(newest.namespace)), 'a promoted image is not written')
      if (step.type === 'resume') demand(step.into === newest && step.to.id === step.into.namespace.primarySnapId, 'resumes towards the same snapshot')
      else if (newest && !newest.namespace.complete) {
        const { lastCopiedObjectNumber, primarySnapId } = newest.namespace
        const target = remote.find(({ id }) => id === primarySnapId)
        const resumable = lastCopiedObjectNumber > 0 && target?.namespace.complete && isPrimary(target.namespace) && target.id > step.base.remoteSnapId
        demand(compares || !resumable, 'what can be gone on with is')
        demand(local0 !== undefined, 'what a promotion can go back to stays')
      }
    }
    if (step.type === 'tidy') {
      demand(step.prune.length + step.unlink.length > 0, 'something to tidy')
      const whole = local.findLast(({ namespace }) => namespace.complete && !isOrphan(namespace))
      demand(!whole || !newest || newest.namespace.complete || !step.prune.includes(newest), 'as long as data of an unfinished sync may be there, its snapshot says so')
      const doubtful = local.filter(({ id, namespace }) => whole && id > whole.id && isNonPrimary(namespace) && !isOrphan(namespace) && !remote.some((snap) => snap.id === namespace.primarySnapId))
      demand(!whole || !doubtful.some((snap) => step.prune.includes(snap)), 'as long as data of a snapshot that is gone may be there, too')
      for (const pruned of step.prune) {
        demand(isNonPrimary(pruned.namespace) && pruned !== whole, 'prunes replicas only, never the base')
      }
      for (const { id, namespace } of step.unlink) {
        demand(namespace.mirrorPeerUuids.has(US), 'unlinks what is linked')
        demand(whole !== undefined, 'unlinks only after a sync')
        if (whole && isNonPrimary(whole.namespace)) demand(id < whole.namespace.primarySnapId, 'never unlinks the base or what is not synced')
      }
    }
  }

  /** Does as the steps say, to a model of the images. */
  function settle(local: MirrorSnapshot[], remote: MirrorSnapshot[]): void {
    for (let steps = 0; steps < 12; steps++) {
      const step = plan(local, remote)
      check(local, remote, step)
      const nextId = Number((local.at(-1)?.id ?? 20n) + 1n)
      switch (step.type) {
        case 'sync':
          local = [...local, replica(nextId, Number(step.to.id))]
          break
        case 'resume':
          local = local.map((snap) => (snap === step.into ? replica(Number(snap.id), Number(step.to.id)) : snap))
          break
        case 'checkpoint':
          local = [...local, replica(nextId, Number(step.snapshot.namespace.primarySnapId))]
          break
        case 'tidy':
          local = local.filter((snap) => !step.prune.includes(snap))
          remote = remote.map((snap) =>
            step.unlink.includes(snap) ? { ...snap, namespace: { ...snap.namespace, mirrorPeerUuids: new Set<string>() } } : snap,
          )
          break
        default:
          if (step.type === 'idle' && local.filter((snap) => isNonPrimary(snap.namespace) && (snap.namespace.complete || snap !== local.at(-1))).length > 1) {
            throw new Error('not tidy')
          }
          return
      }
    }
    throw new Error('does not settle')
  }
})
