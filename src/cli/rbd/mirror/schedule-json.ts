import type { Parsed } from '../../../rbd/mirror/schedule/schedule.ts'

/* What the manager answers about schedules (tools/rbd/Schedule.cc, action/MirrorSnapshotSchedule.cc). */

export interface ScheduleEntry {
  interval: string
  /** '' for none */
  start: string
}

/** `-` stands for all of it. */
export interface ListedSchedule {
  name: string
  pool: string
  namespace: string
  image: string
  items: ScheduleEntry[]
}

/** By name. */
export function parseScheduleList(text: string): Parsed<ListedSchedule[]> {
  const root = parseObject(text)
  if (!root) return { ok: false, problem: 'invalid schedule list JSON received' }
  const listed: ListedSchedule[] = []
  for (const entry of Object.values(root)) {
    const unexpected = (what: string): Parsed<never> => ({ ok: false, problem: `unexpected schedule list JSON received: ${what}` })
    if (!isObject(entry)) return unexpected('schedule_val is not object')
    const { name, schedule } = entry
    if (typeof name !== 'string') return unexpected('schedule name is not string')
    if (!Array.isArray(schedule)) return unexpected('schedule is not array')
    const items = schedule.map(parseEntry)
    if (items.includes(undefined)) return { ok: false, problem: 'unexpected schedule JSON received: interval is not string' }
    const level = parseName(name)
    if (level) listed.push({ name, ...level, items: items.filter((item) => item !== undefined) })
  }
  return { ok: true, value: listed.sort((a, b) => (a.name < b.name ? -1 : 1)) }
}

function parseEntry(value: unknown): ScheduleEntry | undefined {
  if (!isObject(value) || typeof value['interval'] !== 'string') return undefined
  const start = value['start_time']
  return { interval: value['interval'], start: typeof start === 'string' ? start : '' }
}

function parseName(name: string): Pick<ListedSchedule, 'pool' | 'namespace' | 'image'> | undefined {
  const match = /^(?:([^/]+)\/(?:(?:([^/]+)\/|)(?:([^/@]+))?)?)?$/.exec(name)
  if (!match) return undefined
  const [, pool = '-', namespace, image] = match
  return { pool, namespace: namespace ?? (image === undefined ? '-' : ''), image: image ?? '-' }
}

export function parseScheduleStatus(text: string): Parsed<{ time: string; image: string }[]> {
  const root = parseObject(text)
  if (!root) return { ok: false, problem: 'invalid schedule status JSON received' }
  const unexpected = (what: string): Parsed<never> => ({ ok: false, problem: `unexpected schedule JSON received: ${what}` })
  const images = root['scheduled_images']
  if (!Array.isArray(images)) return unexpected('scheduled_images is not array')
  const found: { time: string; image: string }[] = []
  for (const entry of images as unknown[]) {
    if (!isObject(entry)) return { ok: false, problem: 'unexpected schedule status JSON received: schedule item is not object' }
    const { schedule_time: time, image } = entry
    if (typeof time !== 'string') return unexpected('schedule_time is not string')
    if (typeof image !== 'string') return unexpected('image is not string')
    found.push({ time, image })
  }
  return { ok: true, value: found }
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined // no JSON
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
