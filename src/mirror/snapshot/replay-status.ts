import type { Clock } from '../../base/clock.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import type { MirrorSnapshot } from '../../rbd/mirror/mirror-snapshot.ts'
import { isNonPrimary } from '../../rbd/mirror/mirror-snapshot.ts'
import { Rate } from '../journal/replay-status.ts'
import type { ImageMetrics } from '../../observability/metrics.ts'

/** Syncs over which the bytes per snapshot are averaged. */
const SNAPSHOTS_AVERAGED = 2

const twoPlaces = (value: number): number => Math.round(value * 100) / 100

interface Syncing {
  to: SnapId
  objects: number
  totalObjects: number
}

/** What an operator sees of a snapshot replay (tools/rbd_mirror/image_replayer/snapshot/Replayer.cc, get_replay_status). */
export class ReplayStatus {
  private readonly rate = new Rate()
  private readonly recentBytes: number[] = []
  private lastSeconds = 0
  private lastBytes = 0
  private syncing: Syncing | undefined
  private pending = 0

  constructor(
    private readonly clock: Clock,
    private readonly metrics: ImageMetrics,
  ) {}

  begin(to: SnapId, pending: number): void {
    this.syncing = { to, objects: 0, totalObjects: 0 }
    this.pending = pending
    this.metrics.setSyncProgress(0)
  }

  advance(objects: number, totalObjects: number): void {
    if (!this.syncing) return
    this.syncing = { ...this.syncing, objects, totalObjects }
    this.metrics.setSyncProgress(totalObjects > 0 ? objects / totalObjects : 0)
  }

  addBytes(bytes: number): void {
    this.rate.add(this.clock.monotonic(), bytes)
  }

  /** The sync under way is done, or has been given up (then without an outcome). */
  end(outcome?: { seconds: number; bytes: number }): void {
    this.syncing = undefined
    this.pending = 0
    this.metrics.setSyncProgress(undefined)
    if (!outcome) return
    this.lastSeconds = outcome.seconds
    this.lastBytes = outcome.bytes
    this.recentBytes.push(outcome.bytes)
    if (this.recentBytes.length > SNAPSHOTS_AVERAGED) this.recentBytes.shift()
    this.metrics.observeSync(outcome.seconds, outcome.bytes)
  }

  /**
   * The object behind `replaying, `, its keys in the stock daemon's (alphabetical) order; undefined while the remote image has no
   * mirror-snapshot.
   */
  describe(local: readonly MirrorSnapshot[], remote: readonly MirrorSnapshot[]): Readonly<Record<string, unknown>> | undefined {
    const newest = remote.findLast(({ namespace }) => namespace.complete)
    if (!newest) return undefined
    const synced = local.findLast(({ namespace }) => namespace.complete)
    // the local snapshot's own time is when it was made; what counts is of when its contents are
    const matching =
      synced && isNonPrimary(synced.namespace) ? remote.find(({ id }) => id === synced.namespace.primarySnapId)?.timestamp.sec : undefined
    this.metrics.setTimestamps({ primary: newest.timestamp.sec, replicated: matching })
    const bytesPerSecond = this.rate.perSecond(this.clock.monotonic())
    const bytesPerSnapshot = this.recentBytes.reduce((sum, bytes) => sum + bytes, 0) / Math.max(1, this.recentBytes.length)
    const behind = remote.filter(({ id, namespace }) => namespace.complete && (matching === undefined || id > synced!.namespace.primarySnapId)).length
    this.metrics.setPending({ snapshots: behind, bytes: Math.round(bytesPerSnapshot * behind) })
    const target = this.syncing && remote.find(({ id }) => id === this.syncing!.to)
    return {
      bytes_per_second: twoPlaces(bytesPerSecond),
      bytes_per_snapshot: twoPlaces(bytesPerSnapshot),
      last_snapshot_bytes: this.lastBytes,
      last_snapshot_sync_seconds: Math.floor(this.lastSeconds),
      ...(matching !== undefined && { local_snapshot_timestamp: matching }),
      remote_snapshot_timestamp: newest.timestamp.sec,
      replay_state: this.syncing ? 'syncing' : 'idle',
      ...(bytesPerSecond > 0 && this.pending > 0 && { seconds_until_synced: Math.round((bytesPerSnapshot * this.pending) / bytesPerSecond) }),
      ...(target && { syncing_percent: this.percent(), syncing_snapshot_timestamp: target.timestamp.sec }),
    }
  }

  private percent(): number {
    const { objects, totalObjects } = this.syncing!
    return totalObjects > 0 ? Math.floor((100 * objects) / totalObjects) : 0
  }
}
