import type { AdminArguments, AdminCommands } from '../observability/admin-commands.ts'
import type { ImageMetrics, Metrics } from '../observability/metrics.ts'
import type { LibrarySocket, Sections } from './library-socket.ts'

interface Counter {
  name: string
  kind: 'counter' | 'gauge' | 'average'
  units: 'none' | 'bytes'
  description: string
  value(row: CounterRow): Value
}

type Value = number | { avgcount: number; sum: number; avgtime: number }

/** What a group of counters counts: all images together, or one of them. */
type CounterRow = Pick<ImageMetrics, 'syncs' | 'syncSeconds' | 'syncBytes' | 'replaySeconds'> & {
  entries?: number | undefined
  bytes: number
  image?: ImageMetrics
}

function average(count: number, sum: number) {
  return { avgcount: count, sum, avgtime: count === 0 ? 0 : sum / count }
}

const snapshotCounters: readonly Counter[] = [
  { name: 'snapshots', kind: 'counter', units: 'none', description: 'snapshots synced', value: (row) => row.syncs },
  {
    name: 'sync_time',
    kind: 'average',
    units: 'none',
    description: 'time that a sync takes',
    value: (row) => average(row.syncs, row.syncSeconds),
  },
  { name: 'sync_bytes', kind: 'counter', units: 'bytes', description: 'bytes synced', value: (row) => row.syncBytes },
]

const imageSnapshotCounters: readonly Counter[] = [
  ...snapshotCounters,
  {
    name: 'remote_timestamp',
    kind: 'gauge',
    units: 'none',
    description: "time of the primary's newest snapshot",
    value: (row) => row.image?.primaryTimestamp ?? 0,
  },
  {
    name: 'local_timestamp',
    kind: 'gauge',
    units: 'none',
    description: 'time of the newest snapshot that the replica has whole',
    value: (row) => row.image?.replicatedTimestamp ?? 0,
  },
  {
    name: 'last_sync_time',
    kind: 'gauge',
    units: 'none',
    description: 'time that the last sync took',
    value: (row) => row.image?.lastSyncSeconds ?? 0,
  },
  {
    name: 'last_sync_bytes',
    kind: 'gauge',
    units: 'bytes',
    description: 'bytes of the last sync',
    value: (row) => row.image?.lastSyncBytes ?? 0,
  },
]

const journalCounters: readonly Counter[] = [
  { name: 'entries', kind: 'counter', units: 'none', description: 'journal entries replayed', value: (row) => row.entries ?? 0 },
  { name: 'replay_bytes', kind: 'counter', units: 'bytes', description: 'bytes replayed', value: (row) => row.bytes },
  {
    name: 'replay_latency',
    kind: 'average',
    units: 'none',
    description: 'time from the fetch of an entry to its being safe',
    value: (row) => average(row.entries ?? 0, row.replaySeconds),
  },
]

interface Group {
  name: string
  labels: Record<string, string> | undefined
  counters: readonly Counter[]
  row: CounterRow
}

/** Sections as the stock daemon names them; an image's are those of its mode. */
function* groups(metrics: Metrics): Iterable<Group> {
  const totals = metrics.totals()
  yield { name: 'rbd_mirror_journal', labels: undefined, counters: journalCounters, row: { ...totals, bytes: totals.bytes - totals.syncBytes } }
  yield { name: 'rbd_mirror_snapshot', labels: undefined, counters: snapshotCounters, row: totals }
  for (const image of metrics.images) {
    if (image.name === '') continue
    const { pool, namespace } = image.labels
    const row = { ...image, image }
    const labels = { image: image.name, namespace, pool }
    if (image.entries === undefined) yield { name: 'rbd_mirror_snapshot_image', labels, counters: imageSnapshotCounters, row }
    else yield { name: 'rbd_mirror_journal_image', labels, counters: journalCounters, row }
  }
}

/** `perf dump` has one section per image, named by it; `counter dump` of newer releases has a list with labels. */
function sectionName({ name, labels }: Group): string {
  if (!labels) return name
  return `${name}_${[labels['pool'], labels['namespace'], labels['image']].filter((part) => part !== '').join('/')}`
}

const types = { counter: 10, gauge: 2, average: 5 } as const

function schemaOf({ name, kind, units, description }: Counter) {
  const metric = kind === 'counter' ? 'counter' : 'gauge'
  const value = kind === 'average' ? 'real-integer-pair' : 'integer'
  return [name, { type: types[kind], metric_type: metric, value_type: value, description, nick: '', priority: 5, units }] as const
}

/** What was counted since `then`; a gauge is what it is. */
function since(then: Value | undefined, { kind }: Counter, now: Value): Value {
  if (then === undefined || kind === 'gauge') return now
  if (typeof now === 'number' || typeof then === 'number') return Number(now) - Number(then)
  return average(now.avgcount - then.avgcount, now.sum - then.sum)
}

function sorted(sections: Sections): Sections {
  return Object.fromEntries(Object.entries(sections).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/**
 * `perf dump|schema|reset|histogram` and `counter dump|schema` of the admin socket, with the sections of the library, if there is one. A reset is
 * for these commands alone: what Prometheus scrapes goes on counting.
 */
export function registerPerfCommands(commands: AdminCommands, metrics: Metrics, library?: LibrarySocket): void {
  const resets = new Map<string, Record<string, Value>>()
  const dump = (group: Group, wanted?: unknown) => {
    const { counters, row } = group
    const then = resets.get(sectionName(group))
    const shown = counters.filter(({ name }) => wanted === undefined || wanted === name)
    return Object.fromEntries(shown.map((counter) => [counter.name, since(then?.[counter.name], counter, counter.value(row))]))
  }
  const ofLibrary = (prefix: string, args?: AdminArguments) => library?.sections(prefix, args) ?? Promise.resolve({})
  const schema = ({ counters }: Group) => Object.fromEntries(counters.map(schemaOf))
  const labelled = (show: (group: Group) => unknown, key: string) => {
    const lists: Record<string, unknown[]> = {}
    for (const group of groups(metrics)) (lists[group.name] ??= []).push({ labels: group.labels ?? {}, [key]: show(group) })
    return lists
  }
  const perfDump = async (args: AdminArguments) => {
    const { logger, counter } = args
    const own = [...groups(metrics)].filter((group) => logger === undefined || logger === sectionName(group))
    const theirs = await ofLibrary('perf dump', { ...(logger !== undefined && { logger }), ...(counter !== undefined && { counter }) })
    return sorted({ ...theirs, ...Object.fromEntries(own.map((group) => [sectionName(group), dump(group, counter)])) })
  }
  const ownSections = (show: (group: Group) => Record<string, unknown>) => Object.fromEntries([...groups(metrics)].map((group) => [sectionName(group), show(group)]))
  const perfSchema = async () => sorted({ ...(await ofLibrary('perf schema')), ...ownSections(schema) })
  const reset = async ({ var: wanted }: AdminArguments) => {
    const own = [...groups(metrics)].filter((group) => wanted === 'all' || wanted === sectionName(group))
    for (const group of own) resets.set(sectionName(group), Object.fromEntries(group.counters.map((counter) => [counter.name, counter.value(group.row)])))
    const theirs = await ofLibrary('perf reset', { var: wanted })
    return wanted === 'all' || own.length > 0 || 'success' in theirs ? { success: `perf reset ${String(wanted)}` } : { error: `Not find: ${String(wanted)}` }
  }

  commands.register({
    words: ['perf', 'dump', 'name=logger,type=CephString,req=false', 'name=counter,type=CephString,req=false'],
    help: 'dump perfcounters value',
    run: perfDump,
  })
  commands.register({ words: ['perf', 'schema'], help: 'dump perfcounters schema', run: perfSchema })
  commands.register({ words: ['perf', 'reset', 'name=var,type=CephString'], help: 'perf reset <name>: perf reset all or one perfcounter name', run: reset })
  // none of ours is a histogram: their sections are there, and empty, as with the stock daemon
  for (const [what, help] of Object.entries({ dump: 'dump perf histogram values', schema: 'dump perf histogram schema' })) {
    commands.register({ words: ['perf', 'histogram', what], help, run: async () => sorted({ ...(await ofLibrary(`perf histogram ${what}`)), ...ownSections(() => ({})) }) })
  }
  commands.register({ words: ['perfcounters_dump'], help: '', run: perfDump })
  commands.register({ words: ['perfcounters_schema'], help: '', run: perfSchema })
  commands.register({ words: ['counter', 'dump'], help: 'dump all labeled and non-labeled counters and their values', run: () => labelled(dump, 'counters') })
  commands.register({ words: ['counter', 'schema'], help: 'dump all labeled and non-labeled counters schemas', run: () => labelled(schema, 'counters') })
}
