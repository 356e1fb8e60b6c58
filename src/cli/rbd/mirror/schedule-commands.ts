import { errnoText } from '../../../rados/errno-text.ts'
import { Errno } from '../../../rados/errors.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, imageOption, namespaceOption, poolOption, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure, invalid } from '../frame/failure.ts'
import type { Formatter } from '../frame/formatter.ts'
import type { PositionalSpec } from '../frame/option-spec.ts'
import { extractSpec } from '../frame/specs.ts'
import { TextTable } from '../frame/text-table.ts'
import { askSchedules, type ScheduleAnswer, type ScheduleArguments, type ScheduleVerb } from './schedule-backend.ts'
import { parseScheduleList, parseScheduleStatus, type ListedSchedule, type ScheduleEntry } from './schedule-json.ts'

const badMessage = Errno.EBADMSG

/** `pool/ns/image` of the options; a missing pool is the default one, which the connection knows. */
function levelOf(context: CommandContext): string {
  const { args } = context
  const image = args.text('image')
  let pool = args.text('pool')
  let namespace = args.text('namespace')
  if (image === undefined) {
    if (namespace !== undefined) return `${pool ?? ''}/${namespace}/`
    return pool === undefined ? '' : `${pool}/`
  }
  const spec = extractSpec(context, image, 'full')
  if (spec.snap !== undefined) throw invalid("snapshot name specified for a command that doesn't use it")
  if (spec.pool !== undefined) {
    if (pool !== undefined) throw invalid('pool is specified both via pool and image options')
    if (namespace !== undefined) throw invalid('namespace is specified both via namespace and image options')
  }
  pool ??= spec.pool ?? ''
  namespace ??= spec.namespace ?? ''
  return namespace === '' ? `${pool}/${spec.name}` : `${pool}/${namespace}/${spec.name}`
}

async function ask(context: CommandContext, verb: ScheduleVerb, level: string, more: Partial<ScheduleArguments> = {}): Promise<ScheduleAnswer & { level: string }> {
  await context.cluster()
  const full = level.startsWith('/') ? `${await context.defaultPool()}${level}` : level
  const answer = await askSchedules(context, verb, { level_spec: full, ...more })
  if (answer.code !== 0) {
    const status = answer.status === '' ? '' : `: ${answer.status}`
    context.complain(`rbd mirror snapshot schedule ${verb} failed: ${errnoText(answer.code)}${status}`)
  }
  return { ...answer, level: full }
}

async function change(context: CommandContext, verb: 'add' | 'remove'): Promise<void> {
  const level = levelOf(context)
  const interval = context.args.take()
  if (interval === '' && verb === 'add') throw invalid("missing 'interval' argument")
  const start = context.args.take()
  const { code } = await ask(context, verb, level, interval === '' ? {} : start === '' ? { interval } : { interval, start_time: start })
  if (code !== 0) throw new CommandFailure(code)
}

async function list(context: CommandContext): Promise<void> {
  const wanted = levelOf(context)
  const formatter = context.formatter()
  const { code, output, level } = await ask(context, 'list', wanted)
  if (code !== 0) throw new CommandFailure(code)
  const schedules = parseScheduleList(output)
  if (!schedules.ok) throw new CommandFailure(badMessage, schedules.problem)
  if (context.args.flag('recursive')) {
    if (formatter) formatSchedules(formatter, schedules.value)
    else context.terminal.out(scheduleTable(schedules.value).toString())
  } else {
    const own = schedules.value.find(({ name }) => name === level)
    if (!own) throw new CommandFailure(Errno.ENOENT)
    if (formatter) formatItems(formatter, own.items)
    else context.line(itemsText(own.items))
  }
  if (formatter) context.terminal.out(formatter.toString())
}

function formatSchedules(formatter: Formatter, schedules: readonly ListedSchedule[]): void {
  formatter.openArray('schedules')
  for (const { pool, namespace, image, items } of schedules) {
    formatter.openObject('schedule').string('pool', pool).string('namespace', namespace).string('image', image)
    formatItems(formatter, items)
    formatter.close()
  }
  formatter.close()
}

function formatItems(formatter: Formatter, items: readonly ScheduleEntry[]): void {
  formatter.openArray('items')
  for (const { interval, start } of items) formatter.openObject('item').string('interval', interval).string('start_time', start).close()
  formatter.close()
}

function scheduleTable(schedules: readonly ListedSchedule[]): TextTable {
  const table = new TextTable(['POOL', 'NAMESPACE', 'IMAGE', 'SCHEDULE'].map((heading) => ({ heading, align: 'left' })))
  for (const { pool, namespace, image, items } of schedules) table.add(pool, namespace, image, itemsText(items))
  return table
}

function itemsText(items: readonly ScheduleEntry[]): string {
  return items.map(({ interval, start }) => `every ${interval}${start === '' ? '' : ` starting at ${start}`}`).join(', ')
}

async function status(context: CommandContext): Promise<void> {
  const level = levelOf(context)
  const formatter = context.formatter()
  const { output } = await ask(context, 'status', level)
  const images = parseScheduleStatus(output)
  if (!images.ok) throw new CommandFailure(badMessage, images.problem)
  if (!formatter) {
    const table = new TextTable(['SCHEDULE TIME', 'IMAGE'].map((heading) => ({ heading, align: 'left' })))
    for (const { time, image } of images.value) table.add(time, image)
    context.terminal.out(table.toString())
    return
  }
  formatter.openArray('scheduled_images')
  for (const { time, image } of images.value) formatter.openObject('image').string('schedule_time', time).string('image', image).close()
  context.terminal.out(formatter.close().toString())
}

const levelOptions = [poolOption(), namespaceOption(), imageOption()]
const startTime: PositionalSpec = { name: 'start-time', optional: true, description: 'schedule start time' }
const interval: PositionalSpec = { name: 'interval', description: 'schedule interval' }

export const scheduleCommands: readonly Command[] = [
  {
    path: ['mirror', 'snapshot', 'schedule', 'add'],
    description: 'Add mirror snapshot schedule.',
    arguments: { positional: [interval, startTime], options: levelOptions },
    execute: (context) => change(context, 'add'),
  },
  {
    path: ['mirror', 'snapshot', 'schedule', 'remove'],
    alias: ['mirror', 'snapshot', 'schedule', 'rm'],
    description: 'Remove mirror snapshot schedule.',
    arguments: { positional: [{ ...interval, optional: true }, startTime], options: levelOptions },
    execute: (context) => change(context, 'remove'),
  },
  {
    path: ['mirror', 'snapshot', 'schedule', 'list'],
    alias: ['mirror', 'snapshot', 'schedule', 'ls'],
    description: 'List mirror snapshot schedule.',
    arguments: together(levelOptions, [{ name: 'recursive', short: 'R', flag: true, description: 'list all schedules' }], formatOptions),
    execute: list,
  },
  {
    path: ['mirror', 'snapshot', 'schedule', 'status'],
    description: 'Show mirror snapshot schedule status.',
    arguments: together(levelOptions, formatOptions),
    execute: status,
  },
]
