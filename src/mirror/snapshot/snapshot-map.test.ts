import { describe, expect, it } from 'vitest'
import type { MirrorSnapshotNamespace, SnapshotNamespace } from '../../cls/rbd/types.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import type { ImageSnapshot } from '../../rbd/header.ts'
import { mirrorNamespace } from '../../rbd/mirror/mirror-snapshot.ts'
import { planSnapshotChanges, remoteSnapIdOf, type SnapshotSides } from './snapshot-map.ts'

function snapshot(id: number, namespace: SnapshotNamespace, name = `snap${id}`): ImageSnapshot {
  const timestamp = { sec: 0, nsec: 0 }
  return { id: BigInt(id), namespace, name, size: 0, flags: 0n, protection: 'unprotected', timestamp, childCount: 0, parentOverlap: undefined }
}
const user = (id: number, name?: string) => snapshot(id, { type: 'user' }, name)
const mirror = (id: number, more: Partial<MirrorSnapshotNamespace> = {}) =>
  snapshot(id, mirrorNamespace('primary', true, more))
const seqs = (...pairs: [number, number][]) => new Map<SnapId, SnapId>(pairs.map(([from, to]) => [BigInt(from), BigInt(to)]))
const replica = (id: number, of: number, snapSeqs = seqs(), more: Partial<MirrorSnapshotNamespace> = {}) =>
  mirror(id, { state: 'non-primary', primaryMirrorUuid: 'remote', primarySnapId: BigInt(of), snapSeqs, ...more })
const sides = (local: ImageSnapshot[], remote: ImageSnapshot[]): SnapshotSides => ({ local, remote, localMirrorUuid: 'local', remoteMirrorUuid: 'remote' })
const nothing = { remoteSnapId: 0n, localSnapId: 0n, afterDemotion: false }
const ids = (snapshots: ImageSnapshot[]) => snapshots.map(({ id }) => Number(id))
const base = (remoteSnapId: number, localSnapId: number, afterDemotion = false) => ({
  remoteSnapId: BigInt(remoteSnapId),
  localSnapId: BigInt(localSnapId),
  afterDemotion,
})

describe('planSnapshotChanges', () => {
  it('creates all user snapshots of a first sync, oldest first, up to its target', () => {
    const remote = [user(9), mirror(7), user(5), snapshot(4, { type: 'trash', originalName: 'x', originalType: 'user' }), user(3)]
    const changes = planSnapshotChanges(sides([], remote), nothing, 7n)
    expect(ids(changes.create)).toEqual([3, 5])
    expect(changes).toMatchObject({ remove: [], known: new Map() })
  })

  it('creates only what is new since the base, and knows the others by the base', () => {
    const local = [user(11), user(12), replica(13, 4, seqs([2, 11], [3, 12]))]
    const remote = [user(2), user(3), mirror(4), user(5), mirror(6)]
    const changes = planSnapshotChanges(sides(local, remote), base(4, 13), 6n)
    expect(ids(changes.create)).toEqual([5])
    expect(changes.known).toEqual(seqs([2, 11], [3, 12]))
  })

  it('forgets snapshots that are gone on either side', () => {
    const local = [user(11), replica(13, 4, seqs([2, 11], [3, 12]))]
    const changes = planSnapshotChanges(sides(local, [user(3), mirror(4), mirror(6)]), base(4, 13), 6n)
    expect(changes.known).toEqual(new Map())
  })

  it('removes what an abandoned sync has left', () => {
    const local = [user(11), replica(13, 4, seqs([2, 11])), user(15), user(14)]
    const changes = planSnapshotChanges(sides(local, [user(2), mirror(4), user(5), mirror(6)]), base(4, 13), 6n)
    expect(ids(changes.remove)).toEqual([14, 15])
    expect(ids(changes.create)).toEqual([5])
  })

  describe('after a demotion of the local image', () => {
    const demotion = mirror(13, { state: 'primary-demoted' })
    const takeover = (snapSeqs: Map<SnapId, SnapId>) =>
      mirror(4, { state: 'non-primary-demoted', primaryMirrorUuid: 'local', primarySnapId: 13n, snapSeqs })

    it('knows snapshots by what the remote noted when it took over', () => {
      const local = [user(11, 'one'), user(12, 'two'), demotion]
      const remote = [user(2, 'renamed'), user(3, 'two'), takeover(seqs([11, 2], [12, 3])), mirror(6)]
      expect(planSnapshotChanges(sides(local, remote), base(4, 13, true), 6n).known).toEqual(seqs([2, 11], [3, 12]))
    })

    it('knows them by name where nothing is noted', () => {
      const local = [user(11, 'one'), user(12, 'two'), demotion]
      const remote = [user(2, 'one'), user(3, 'other'), takeover(seqs()), mirror(6)]
      expect(planSnapshotChanges(sides(local, remote), base(4, 13, true), 6n).known).toEqual(seqs([2, 11]))
    })
  })
})

describe('remoteSnapIdOf', () => {
  const local = [user(11), replica(12, 4, seqs([2, 11])), user(13), replica(14, 6, seqs([5, 13], [2, 11])), mirror(15)]
  it('finds it by the next replica snapshot', () => {
    expect(remoteSnapIdOf(sides(local, []), 11n)).toBe(2n)
    expect(remoteSnapIdOf(sides(local, []), 13n)).toBe(5n)
    expect(remoteSnapIdOf(sides(local, []), 14n)).toBe(6n)
  })
  it('finds none for what came later, or from elsewhere', () => {
    expect(remoteSnapIdOf(sides(local, []), 15n)).toBeUndefined()
    expect(remoteSnapIdOf(sides([user(11), replica(12, 4, seqs([2, 11]), { primaryMirrorUuid: 'x' })], []), 11n)).toBeUndefined()
  })
  it('finds it by what the remote noted as a replica of ours', () => {
    const remote = [mirror(5, { state: 'non-primary-demoted', primaryMirrorUuid: 'local', primarySnapId: 15n, snapSeqs: seqs([11, 3]) })]
    expect(remoteSnapIdOf(sides([user(11), mirror(15)], remote), 11n)).toBe(3n)
    expect(remoteSnapIdOf(sides([user(11), mirror(15)], remote), 15n)).toBe(5n)
  })
})
