import type { AdminArguments, AdminCommands } from '../observability/admin-commands.ts'
import type { ImageMetrics, Metrics } from '../observability/metrics.ts'

interface Counter {
  name: string
  kind: 'counter' | 'gauge' | 'average'
  units: 'none' | 'bytes'
  description: string
  value(row: CounterRow): number | { avgcount: number; sum: number; avgtime: number }
}

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

/** `perf dump|schema` and `counter dump|schema` of the admin socket. */
export function registerPerfCommands(commands: AdminCommands, metrics: Metrics): void {
  const dump = ({ counters, row }: Group, wanted?: unknown) =>
    Object.fromEntries(
      counters.filter(({ name }) => wanted === undefined || wanted === name).map((counter) => [counter.name, counter.value(row)]),
    )
  const schema = ({ counters }: Group) => Object.fromEntries(counters.map(schemaOf))
  const labelled = (show: (group: Group) => unknown, key: string) => {
    const lists: Record<string, unknown[]> = {}
    for (const group of groups(metrics)) (lists[group.name] ??= []).push({ labels: group.labels ?? {}, [key]: show(group) })
    return lists
  }
  const perfDump = (args: AdminArguments) =>
    Object.fromEntries(
      [...groups(metrics)]
        .filter((group) => args['logger'] === undefined || args['logger'] === sectionName(group))
        .map((group) => [sectionName(group), dump(group, args['counter'])]),
    )
  const perfSchema = () => Object.fromEntries([...groups(metrics)].map((group) => [sectionName(group), schema(group)]))

  commands.register({
    words: ['perf', 'dump', 'name=logger,type=CephString,req=false', 'name=counter,type=CephString,req=false'],
    help: 'dump perfcounters value',
    run: perfDump,
  })
  commands.register({ words: ['perf', 'schema'], help: 'dump perfcounters schema', run: perfSchema })
  commands.register({ words: ['perfcounters_dump'], help: '', run: perfDump })
  commands.register({ words: ['perfcounters_schema'], help: '', run: perfSchema })
  commands.register({ words: ['counter', 'dump'], help: 'dump all labeled and non-labeled counters and their values', run: () => labelled(dump, 'counters') })
  commands.register({ words: ['counter', 'schema'], help: 'dump all labeled and non-labeled counters schemas', run: () => labelled(schema, 'counters') })
}
