import { parseMonHost } from '../../../config/mon-host.ts'
import type { Cluster } from '../../../rados/cluster.ts'
import { Errno } from '../../../rados/errors.ts'
import { matches } from '../../../rbd/mirror/schedule/level.ts'
import { formatScheduleTime, nextRun, parseItem } from '../../../rbd/mirror/schedule/schedule.ts'
import { InvalidLevel, loadSchedules, resolveLevel, saveSchedule } from '../../../rbd/mirror/schedule/schedule-store.ts'
import { listScheduledImages } from '../../../rbd/mirror/schedule/scheduled-images.ts'
import type { CommandContext } from '../frame/context.ts'

export type ScheduleVerb = 'add' | 'remove' | 'list' | 'status'

export interface ScheduleArguments {
  level_spec: string
  interval?: string
  start_time?: string
}

/** What a schedule command comes to: `code` 0 or a positive errno, JSON for the verbs that read. */
export interface ScheduleAnswer {
  code: number
  output: string
  status: string
}

/** Who keeps the schedules: the manager of a real cluster; an emulated one has none, and they are read and written here. */
export async function askSchedules(context: CommandContext, verb: ScheduleVerb, args: ScheduleArguments): Promise<ScheduleAnswer> {
  const cluster = await context.cluster()
  const monHost = context.configuration.options.get('mon_host')
  if (monHost !== '' && parseMonHost(monHost).driver !== 'ceph') return answer(cluster, verb, args)
  const { code, output, status } = await cluster.mgrCommand({ prefix: `rbd mirror snapshot schedule ${verb}`, ...args })
  return { code, output: output.toString(), status }
}

/** Does what the manager's module does (pybind/mgr/rbd_support/mirror_snapshot_schedule.py). */
export async function answer(cluster: Cluster, verb: ScheduleVerb, args: ScheduleArguments, now: number = Date.now()): Promise<ScheduleAnswer> {
  try {
    const { level } = await resolveLevel(cluster, args.level_spec)
    const schedules = await loadSchedules(cluster)
    switch (verb) {
      case 'list':
        return done(schedules.list(level))
      case 'status': {
        const images = (await listScheduledImages(cluster, schedules)).filter((image) => matches(image, level))
        const due = images.map(({ name, items }) => ({ image: name, schedule_time: formatScheduleTime(nextRun(items, now)!) }))
        return done({ scheduled_images: due.sort((a, b) => (a.schedule_time < b.schedule_time ? -1 : a.schedule_time > b.schedule_time ? 1 : 0)) })
      }
      case 'add':
      case 'remove': {
        const all = verb === 'remove' && args.interval === undefined
        const item = all ? undefined : parseItem(args.interval ?? '', args.start_time ?? '')
        if (item && !item.ok) return refused(item.problem)
        if (item && verb === 'add') await saveSchedule(cluster, level, schedules.withItem(level, item.value))
        else if (schedules.at(level)) await saveSchedule(cluster, level, schedules.withoutItem(level, item?.value))
        return done(undefined)
      }
    }
  } catch (error) {
    if (error instanceof InvalidLevel) return refused(`Invalid level spec ${args.level_spec}: ${error.message}`)
    throw error
  }
}

function done(output: unknown): ScheduleAnswer {
  return { code: 0, output: output === undefined ? '' : JSON.stringify(output), status: '' }
}

function refused(status: string): ScheduleAnswer {
  return { code: Errno.EINVAL, output: '', status }
}
