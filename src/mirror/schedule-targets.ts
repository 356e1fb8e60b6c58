import { isCancelled } from '../base/cancelled.ts'
import { delay, type Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { parseLevelId } from '../rbd/mirror/schedule/level.ts'
import { parseSchedule } from '../rbd/mirror/schedule/schedule.ts'
import { Schedules, type LevelSchedule } from '../rbd/mirror/schedule/schedules.ts'

/** What Ceph's manager keeps a pool's schedules in, by level id (pybind/mgr/rbd_support/mirror_snapshot_schedule.py). */
const SCHEDULE_OBJECT = 'rbd_mirror_snapshot_schedule'
const PAGE = 128
const POLL_MS = 60_000
/** A snapshot is to be whole here before the next but one is made. */
const INTERVALS = 2

export interface ScheduleTargets {
  /** remote, of the pool's default namespace */
  io: IoCtx
  namespace: string
  /** global image id → image id on the remote */
  images: () => ReadonlyMap<string, string> | undefined
  /** seconds; undefined when no schedule holds for the image */
  setTarget: (globalImageId: string, seconds: number | undefined) => void
  clock: Clock
  log: Log
}

/** Tells again and again how far each image may lag by the primary's snapshot schedule, until the signal is aborted. */
export async function followScheduleTargets(options: ScheduleTargets, signal: AbortSignal): Promise<void> {
  const { io, namespace, images, setTarget, clock, log } = options
  for (;;) {
    try {
      const schedules = await readSchedules(io)
      for (const [globalImageId, imageId] of images() ?? []) {
        const minutes = schedules.find({ poolId: io.poolId, namespace, imageId })?.items.map(({ interval }) => interval)
        setTarget(globalImageId, minutes && minutes.length > 0 ? Math.min(...minutes) * 60 * INTERVALS : undefined)
      }
    } catch (error) {
      if (isCancelled(error) && signal.aborted) throw error
      // nothing is mirrored the worse for it
      log.debug({ err: error }, 'cannot read the snapshot schedules of the primary')
    }
    await delay(clock, images() ? POLL_MS : 1_000, signal)
  }
}

async function readSchedules(io: IoCtx): Promise<Schedules> {
  const found: LevelSchedule[] = []
  try {
    for (let after = ''; ; ) {
      const { entries, more } = await io.omapGet(SCHEDULE_OBJECT, after, '', PAGE)
      for (const [key, value] of entries) {
        after = key
        const level = parseLevelId(key)
        const items = parseSchedule(value.toString())
        if (level && items.ok) found.push({ level, name: key, items: items.value })
      }
      if (!more || entries.size === 0) break
    }
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  return new Schedules(found)
}
