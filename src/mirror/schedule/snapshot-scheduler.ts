import { forEachBounded } from '../../base/bounded.ts'
import { isCancelled } from '../../base/cancelled.ts'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import { lock } from '../../cls/lock/client.ts'
import { LockFlag } from '../../cls/lock/types.ts'
import { utimeFromMs } from '../../encoding/codec.ts'
import type { Cluster } from '../../rados/cluster.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../../rados/errors.ts'
import { Image } from '../../rbd/image.ts'
import { guestLockPolicy } from '../../rbd/lock-policy.ts'
import { loadMirrorInfo } from '../../rbd/mirror/mirror-info.ts'
import { createPrimarySnapshot } from '../../rbd/mirror/primary-snapshot.ts'
import { Refusal } from '../../rbd/mirror/refusal.ts'
import { nextRun } from '../../rbd/mirror/schedule/schedule.ts'
import { loadSchedules } from '../../rbd/mirror/schedule/schedule-store.ts'
import { listScheduledImages, type ScheduledImage } from '../../rbd/mirror/schedule/scheduled-images.ts'
import { RBD_MIRRORING } from '../../rbd/names.ts'

/** Mirror-snapshots made at once (MAX_IN_FLIGHT of the manager's module is the same order). */
const SNAPSHOTS_AT_ONCE = 8
/** Whoever has run a pool's schedules runs them as long as it comes back within this time; then another daemon may. */
const LEASE_MS = 150_000
const LOCK_NAME = 'rbd_mirror_snapshot_schedule'
/** Until when a pool's schedules were run, milliseconds since the epoch: in the config-key store, by pool id. */
const ranUntilKey = (poolId: bigint) => `rbd/mirror/snapshot_schedule/ran_until/${poolId}`
/** More missed runs than this are not counted. */
const MAX_COUNTED = 1_000

export interface SchedulerOptions {
  cluster: Cluster
  clock: Clock
  random: Random
  log: Log
}

/** What is due of one image between two moments. */
export interface Due {
  /** at least one run is due: one mirror-snapshot is made, however many there were */
  due: boolean
  /** runs of which nothing can come any more: all but the newest, and that too if it is older than `lateMs` */
  missed: number
}

/** Runs in (from, to]. Later than `lateMs` after its time a run is missed. */
export function dueRuns(items: ScheduledImage['items'], from: number, to: number, lateMs: number): Due {
  let newest: number | undefined
  let count = 0
  for (let at = nextRun(items, from); at !== undefined && at <= to && count < MAX_COUNTED; at = nextRun(items, at)) {
    newest = at
    count++
  }
  if (newest === undefined) return { due: false, missed: 0 }
  return { due: true, missed: to - newest > lateMs ? count : count - 1 }
}

/**
 * Makes the mirror-snapshots that schedules ask for, on clusters that have no manager to do it (pybind/mgr/rbd_support/mirror_snapshot_schedule.py
 * does on Ceph's). Of several daemons one runs a pool's schedules, as long as it renews its lease on the pool's `rbd_mirroring`.
 */
export class SnapshotScheduler {
  private readonly cookie: string
  private running: Promise<void> | undefined
  /** whose schedules were run here */
  private readonly pools = new Set<bigint>()

  constructor(private readonly options: SchedulerOptions) {
    this.cookie = options.random.uuid()
  }

  /** To be called every minute. A round that is still going on is not started again: what it leaves is due in the next. */
  tick(signal: AbortSignal): Promise<void> {
    this.running ??= this.round(signal).finally(() => (this.running = undefined))
    return this.running
  }

  private async round(signal: AbortSignal): Promise<void> {
    const { cluster, clock, log } = this.options
    try {
      const schedules = await loadSchedules(cluster)
      const byPool = new Map<bigint, ScheduledImage[]>()
      for (const image of await listScheduledImages(cluster, schedules)) {
        const images = byPool.get(image.poolId)
        if (images) images.push(image)
        else byPool.set(image.poolId, [image])
      }
      for (const [poolId, images] of byPool) {
        signal.throwIfAborted()
        if (await this.lease(poolId)) await this.runPool(poolId, images, clock.now(), signal)
      }
      // nothing is missed while nothing is scheduled
      for (const poolId of [...this.pools].filter((id) => !byPool.has(id))) {
        await cluster.configKeyRemove(ranUntilKey(poolId))
        this.pools.delete(poolId)
      }
    } catch (error) {
      if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
      log.error({ err: error }, 'scheduled mirror-snapshots not made: tried again in a minute')
    }
  }

  private async runPool(poolId: bigint, images: readonly ScheduledImage[], now: number, signal: AbortSignal): Promise<void> {
    const { cluster, log } = this.options
    const noted = Number((await cluster.configKeyGet(ranUntilKey(poolId))) ?? NaN)
    // schedules begin with the first daemon that runs them; a clock that was set back does not stop them
    const from = Number.isFinite(noted) && noted <= now ? noted : now - 60_000
    await forEachBounded(images, SNAPSHOTS_AT_ONCE, async (image) => {
      const { due, missed } = dueRuns(image.items, from, now, LEASE_MS)
      if (missed > 0) {
        log.warn({ image: image.name, missed, since: new Date(from).toISOString() }, 'scheduled mirror-snapshots were missed: no daemon ran, or it was too slow')
      }
      if (due) await this.snapshot(image, signal)
    })
    await cluster.configKeySet(ranUntilKey(poolId), String(now))
    this.pools.add(poolId)
  }

  private async snapshot({ poolId, namespace, imageId, name }: ScheduledImage, signal: AbortSignal): Promise<void> {
    const { cluster, clock, random, log } = this.options
    const pool = await cluster.openPoolById(poolId)
    const io = pool.duplicate({ namespace })
    try {
      const image = await Image.open(io, { id: imageId }, { cluster, access: 'write', clock, random, log, lockPolicy: guestLockPolicy, signal })
      try {
        const { globalImageId } = (await loadMirrorInfo(io, imageId, { signal })).image
        const snapshot = await createPrimarySnapshot(image, { globalImageId, signal }).catch(async (error: unknown) => {
          if (error instanceof Refusal && (await loadMirrorInfo(io, imageId, { signal })).promotion.state !== 'primary') return undefined
          throw error
        })
        if (snapshot !== undefined) log.info({ image: name, snapshot: String(snapshot) }, 'scheduled mirror-snapshot made')
        else log.info({ image: name }, 'scheduled mirror-snapshot left out: the image was demoted meanwhile')
      } finally {
        await image.close()
      }
    } catch (error) {
      if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
      log.error({ err: error, image: name }, 'scheduled mirror-snapshot not made')
    } finally {
      io.close()
      pool.close()
    }
  }

  /** Whether this daemon is the one that runs the pool's schedules. */
  private async lease(poolId: bigint): Promise<boolean> {
    const pool = await this.options.cluster.openPoolById(poolId)
    try {
      await lock.call(pool, RBD_MIRRORING, {
        name: LOCK_NAME,
        type: 'exclusive',
        cookie: this.cookie,
        tag: 'schedule',
        description: 'runs the snapshot schedules of this pool',
        duration: utimeFromMs(LEASE_MS),
        flags: LockFlag.mayRenew,
      })
      return true
    } catch (error) {
      if (isErrno(error, Errno.EBUSY)) return false
      throw error
    } finally {
      pool.close()
    }
  }
}
