import { beforeEach, describe, expect, it } from 'vitest'
import type { MirrorSnapshotNamespace } from '../../cls/rbd/types.ts'
import type { Clock } from '../../base/clock.ts'
import { Metrics, type ImageMetrics } from '../../observability/metrics.ts'
import { mirrorNamespace, type MirrorSnapshot } from '../../rbd/mirror/mirror-snapshot.ts'
import { ReplayStatus } from './replay-status.ts'

function snapshot(id: number, sec: number, more: Partial<MirrorSnapshotNamespace> = {}): MirrorSnapshot {
  return {
    id: BigInt(id),
    namespace: mirrorNamespace('primary', true, more),
    name: '',
    size: 0,
    flags: 0n,
    protection: 'unprotected',
    timestamp: { sec, nsec: 0 },
    childCount: 0,
    parentOverlap: undefined,
  }
}
const replica = (id: number, sec: number, of: number, complete = true) =>
  snapshot(id, sec, { state: 'non-primary', primaryMirrorUuid: 'them', primarySnapId: BigInt(of), complete })

describe('ReplayStatus', () => {
  let now: number
  let metrics: ImageMetrics
  let status: ReplayStatus
  beforeEach(() => {
    now = 1_000_000
    const clock: Clock = { now: () => now, monotonic: () => now, setTimer: () => () => undefined }
    metrics = new Metrics().image({ pool: 'p', namespace: '', peer: 'a', globalImageId: 'g' })
    status = new ReplayStatus(clock, metrics)
  })

  it('has nothing to tell before the remote has a whole mirror-snapshot', () => {
    expect(status.describe([], [])).toBeUndefined()
    expect(status.describe([], [snapshot(1, 10, { complete: false })])).toBeUndefined()
  })

  it('is idle with the time of the state that the replica has, not of its own snapshot', () => {
    const description = status.describe([replica(11, 99, 5)], [snapshot(5, 50), snapshot(6, 60)])
    expect(description).toEqual({
      bytes_per_second: 0,
      bytes_per_snapshot: 0,
      last_snapshot_bytes: 0,
      last_snapshot_sync_seconds: 0,
      local_snapshot_timestamp: 50,
      remote_snapshot_timestamp: 60,
      replay_state: 'idle',
    })
    expect(metrics).toMatchObject({ primaryTimestamp: 60, replicatedTimestamp: 50 })
  })

  it('tells of a sync under way how far it is, and of finished ones what they took', () => {
    status.begin(6n, 2)
    status.advance(25, 100)
    status.addBytes(3000)
    const local = [replica(11, 98, 5), replica(12, 99, 6, false)]
    const remote = [snapshot(5, 50), snapshot(6, 60), snapshot(7, 70)]
    expect(status.describe(local, remote)).toMatchObject({
      replay_state: 'syncing',
      syncing_percent: 25,
      syncing_snapshot_timestamp: 60,
      local_snapshot_timestamp: 50,
      bytes_per_second: 3000,
      seconds_until_synced: 0,
    })
    expect(metrics.syncProgress).toBe(0.25)
    status.end({ seconds: 2.9, bytes: 3000 })
    status.begin(7n, 1)
    status.end({ seconds: 1, bytes: 1000 })
    const idle = status.describe([replica(12, 99, 7)], remote)
    expect(idle).toMatchObject({ replay_state: 'idle', last_snapshot_bytes: 1000, last_snapshot_sync_seconds: 1, bytes_per_snapshot: 2000 })
    expect(idle).not.toHaveProperty('syncing_percent')
    expect(metrics).toMatchObject({ syncs: 2, syncProgress: undefined })
  })

  it('keeps its keys in the order of the stock daemon', () => {
    status.begin(6n, 1)
    status.addBytes(10)
    const keys = Object.keys(status.describe([replica(11, 98, 5)], [snapshot(5, 50), snapshot(6, 60)])!)
    expect(keys).toEqual([...keys].sort())
  })
})
