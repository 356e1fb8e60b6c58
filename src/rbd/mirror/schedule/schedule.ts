/*
 * When an image is to get a mirror-snapshot: intervals, perhaps with a time of day to count from. Text forms are those of Ceph's manager module
 * (pybind/mgr/rbd_support/schedule.py), which reads and writes the same objects.
 */

/** A time of day. */
export interface StartTime {
  hour: number
  minute: number
  /** minutes east of UTC; undefined: local time of whoever runs the schedule */
  zone: number | undefined
}

export interface ScheduleItem {
  /** minutes */
  interval: number
  start: StartTime | undefined
}

export type Parsed<T> = { ok: true; value: T } | { ok: false; problem: string }

const minutesPerHour = 60
const minutesPerDay = 24 * minutesPerHour
const minuteMs = 60_000
/** longer ones overflow the manager's arithmetic */
const maxInterval = 1_000_000 * minutesPerDay

/** `2h`, `1d`, `90m`, or a number of minutes. */
export function parseInterval(text: string): Parsed<number> {
  const match = /^(\d+)([dhm])?$/.exec(text)
  const minutes = match && Number(match[1]) * (match[2] === 'd' ? minutesPerDay : match[2] === 'h' ? minutesPerHour : 1)
  if (!minutes || minutes > maxInterval) return { ok: false, problem: `Invalid interval (${text})` }
  return { ok: true, value: minutes }
}

export function formatInterval(minutes: number): string {
  if (minutes % minutesPerDay === 0) return `${minutes / minutesPerDay}d`
  return minutes % minutesPerHour === 0 ? `${minutes / minutesPerHour}h` : `${minutes}m`
}

/** ISO 8601: `14:00`, `14:00:00-05:00`, `T1400Z`, or a date and time, of which only the time counts. */
export function parseStartTime(text: string): Parsed<StartTime> {
  const match = /^(?:\d{4}-\d\d-\d\d[T ]|T)?(\d{1,2}):?(\d\d)(?::?\d\d(?:[.,]\d+)?)?\s*(?:(Z)|([+-])(\d\d):?(\d\d)?)?$/i.exec(text.trim())
  const [hour, minute] = [Number(match?.[1]), Number(match?.[2])]
  const [zoneHours, zoneMinutes] = [Number(match?.[5] ?? 0), Number(match?.[6] ?? 0)]
  const compact = /^\d{3,4}$/.test(text.trim()) // that is a year
  if (!match || compact || hour > 23 || minute > 59 || zoneHours > 23 || zoneMinutes > 59) {
    return { ok: false, problem: `Invalid start time ${text}: Unknown string format: ${text}` }
  }
  const offset = zoneHours * minutesPerHour + zoneMinutes
  const zone = match[3] ? 0 : match[4] ? (match[4] === '-' ? -offset || 0 : offset) : undefined
  return { ok: true, value: { hour, minute, zone } }
}

export function formatStartTime({ hour, minute, zone }: StartTime): string {
  const time = `${two(hour)}:${two(minute)}:00`
  if (zone === undefined) return time
  const offset = Math.abs(zone)
  return `${time}${zone < 0 ? '-' : '+'}${two(Math.floor(offset / minutesPerHour))}:${two(offset % minutesPerHour)}`
}

function two(number: number): string {
  return String(number).padStart(2, '0')
}

/** The same moments, however they are written: a schedule has each item once. */
export function sameItem(a: ScheduleItem, b: ScheduleItem): boolean {
  return a.interval === b.interval && (a.start && formatStartTime(a.start)) === (b.start && formatStartTime(b.start))
}

/** As it is stored: JSON, indented. */
export function formatSchedule(items: readonly ScheduleItem[]): string {
  return JSON.stringify(items.map(itemToJson), undefined, 4)
}

export interface ItemJson {
  interval: string
  start_time: string | null
}

export function itemToJson({ interval, start }: ScheduleItem): ItemJson {
  return { interval: formatInterval(interval), start_time: start ? formatStartTime(start) : null }
}

export function parseSchedule(text: string): Parsed<ScheduleItem[]> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return { ok: false, problem: `Invalid JSON (${error instanceof Error ? error.message : String(error)})` }
  }
  if (!Array.isArray(value)) return { ok: false, problem: 'Invalid schedule format (no list)' }
  const items: ScheduleItem[] = []
  for (const entry of value as unknown[]) {
    const { interval, start_time: start } = (entry ?? {}) as Record<string, unknown>
    const item = parseItem(typeof interval === 'string' ? interval : '', typeof start === 'string' ? start : '')
    if (!item.ok) return item
    items.push(item.value)
  }
  return { ok: true, value: items }
}

/** @param start '' for none */
export function parseItem(interval: string, start: string): Parsed<ScheduleItem> {
  const minutes = parseInterval(interval)
  if (!minutes.ok) return minutes
  if (start === '') return { ok: true, value: { interval: minutes.value, start: undefined } }
  const time = parseStartTime(start)
  return time.ok ? { ok: true, value: { interval: minutes.value, start: time.value } } : time
}

/** Minutes that local time is ahead of UTC at a moment. */
export type ZoneOffset = (ms: number) => number

export const systemZoneOffset: ZoneOffset = (ms) => -new Date(ms).getTimezoneOffset()

/**
 * The next moment after `now` at which one of the items is due; undefined for no items. Intervals are counted from the start time on
 * 1 January 1970, in its own time zone; without a zone in local time, so that `1d 14:00` stays at two in the afternoon all year.
 *
 * @param now milliseconds since the epoch, as the result
 */
export function nextRun(items: readonly ScheduleItem[], now: number, offsetAt: ZoneOffset = systemZoneOffset): number | undefined {
  const times = items.map((item) => nextOfItem(item, now, offsetAt))
  return times.length === 0 ? undefined : Math.min(...times)
}

function nextOfItem({ interval, start }: ScheduleItem, now: number, offsetAt: ZoneOffset): number {
  const period = interval * minuteMs
  const anchor = start ? (start.hour * minutesPerHour + start.minute) * minuteMs : 0
  const after = (moment: number) => anchor + (Math.floor((moment - anchor) / period) + 1) * period
  if (start?.zone !== undefined) return after(now + start.zone * minuteMs) - start.zone * minuteMs
  for (let wall = after(now + offsetAt(now) * minuteMs); ; wall += period) {
    const moment = momentOf(wall, offsetAt)
    if (moment > now) return moment
  }
}

/** When clocks show `wall`; one that is skipped when they are put forward is shown as late as they are put forward. */
function momentOf(wall: number, offsetAt: ZoneOffset): number {
  const guess = wall - offsetAt(wall) * minuteMs
  return wall - offsetAt(guess) * minuteMs
}

/** `2026-01-31 14:00:00` in local time, as the manager shows a schedule's next time. */
export function formatScheduleTime(ms: number, offsetAt: ZoneOffset = systemZoneOffset): string {
  return new Date(ms + offsetAt(ms) * minuteMs).toISOString().slice(0, 16).replace('T', ' ') + ':00'
}
