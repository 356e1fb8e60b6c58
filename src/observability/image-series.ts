import { setImmediate } from 'node:timers/promises'
import { formatLabels, type ImageMetrics } from './metrics.ts'

/** One metric of an image, read from its row while somebody scrapes. */
interface Family {
  name: string
  help: string
  kind: 'counter' | 'gauge'
  /** a number, or the rest of the labels of a series that is 1, or nothing */
  value: (image: ImageMetrics, now: number) => number | string | undefined
}

const families: readonly Family[] = [
  {
    name: 'rbd_mirror_image_primary_timestamp_seconds',
    help: "Time of the primary's newest state that the daemon knows of",
    kind: 'gauge',
    value: (image) => image.primaryTimestamp,
  },
  {
    name: 'rbd_mirror_image_replicated_timestamp_seconds',
    help: "Time of the primary's newest state that the replica has whole: the lag is time() minus this",
    kind: 'gauge',
    value: (image) => image.replicatedTimestamp,
  },
  {
    name: 'rbd_mirror_image_verified_timestamp_seconds',
    help: 'Time when the replica was last compared with its primary by rbd_mirror_verify_interval',
    kind: 'gauge',
    value: (image) => image.verifiedTimestamp,
  },
  {
    name: 'rbd_mirror_image_differing_bytes',
    help: 'What differed then, in whole chunks',
    kind: 'gauge',
    value: (image) => image.differingBytes,
  },
  { name: 'rbd_mirror_image_rpo_target_seconds', help: 'Lag that is still as it should be', kind: 'gauge', value: (image) => image.rpoSeconds },
  {
    name: 'rbd_mirror_image_state',
    help: 'The state that the image is in, as a label',
    kind: 'gauge',
    value: ({ state }) => `state="${state}"`,
  },
  {
    name: 'rbd_mirror_image_health',
    help: 'Health of the image and why, as labels',
    kind: 'gauge',
    value: (image) => {
      const { level, reason } = image.health()
      return `health="${level}",reason="${reason}"`
    },
  },
  {
    name: 'rbd_mirror_image_split_brain',
    help: 'Whether both sides of the image were written to',
    kind: 'gauge',
    value: (image) => (image.health().reason === 'split_brain' ? 1 : 0),
  },
  {
    name: 'rbd_mirror_image_info',
    help: 'Ids of the image',
    kind: 'gauge',
    value: ({ labels: { globalImageId } }) => formatLabels({ global_image_id: globalImageId }),
  },
  { name: 'rbd_mirror_image_bytes_total', help: 'Bytes written to the replica', kind: 'counter', value: (image) => image.bytes },
  {
    name: 'rbd_mirror_image_pending_snapshots',
    help: 'Mirror-snapshots of the primary that the replica has not got yet',
    kind: 'gauge',
    value: (image) => image.pendingSnapshots,
  },
  {
    name: 'rbd_mirror_image_pending_bytes',
    help: 'Estimate of the bytes behind the pending snapshots, from the last syncs',
    kind: 'gauge',
    value: (image) => image.pendingBytes,
  },
  { name: 'rbd_mirror_image_sync_progress_ratio', help: 'Progress of the running sync', kind: 'gauge', value: (image) => image.syncProgress },
  { name: 'rbd_mirror_image_syncs_total', help: 'Snapshots synced', kind: 'counter', value: (image) => image.syncs },
  { name: 'rbd_mirror_image_sync_seconds_total', help: 'Time spent in complete syncs', kind: 'counter', value: (image) => image.syncSeconds },
  { name: 'rbd_mirror_image_last_sync_seconds', help: 'Duration of the last complete sync', kind: 'gauge', value: (image) => image.lastSyncSeconds },
  { name: 'rbd_mirror_image_last_sync_bytes', help: 'Bytes of the last complete sync', kind: 'gauge', value: (image) => image.lastSyncBytes },
  { name: 'rbd_mirror_image_errors_total', help: 'How often the image went into error', kind: 'counter', value: (image) => image.errors },
  { name: 'rbd_mirror_image_journal_entries_total', help: 'Journal entries replayed', kind: 'counter', value: (image) => image.entries },
  {
    name: 'rbd_mirror_image_journal_replay_seconds_total',
    help: 'Sum of the times from the fetch of an entry to its being safe in the replica',
    kind: 'counter',
    value: (image) => (image.entries === undefined ? undefined : image.replaySeconds),
  },
  {
    name: 'rbd_mirror_image_journal_entries_behind',
    help: 'Journal entries that the replica is behind its primary',
    kind: 'gauge',
    value: (image) => image.entriesBehind,
  },
]

const snapshotMode = (value: (image: ImageMetrics) => number | undefined) => (image: ImageMetrics) =>
  image.entries === undefined ? (value(image) ?? 0) : undefined
const journalMode = (value: (image: ImageMetrics) => number | undefined) => (image: ImageMetrics) =>
  image.entries === undefined ? undefined : (value(image) ?? 0)

/** What ceph-exporter makes of the stock daemon's labelled counters: `ceph_` and group and counter; times in seconds. */
const cephFamilies: readonly Family[] = (
  [
    ['snapshot_image_snapshots', 'counter', 'snapshots synced', snapshotMode((image) => image.syncs)],
    ['snapshot_image_sync_time_count', 'counter', 'average sync time', snapshotMode((image) => image.syncs)],
    ['snapshot_image_sync_time_sum', 'counter', 'average sync time', snapshotMode((image) => image.syncSeconds)],
    ['snapshot_image_sync_bytes', 'counter', 'total bytes synced', snapshotMode((image) => image.syncBytes)],
    ['snapshot_image_remote_timestamp', 'gauge', 'timestamp of the remote snapshot', snapshotMode((image) => image.primaryTimestamp)],
    ['snapshot_image_local_timestamp', 'gauge', 'timestamp of the local snapshot', snapshotMode((image) => image.replicatedTimestamp)],
    ['snapshot_image_last_sync_time', 'gauge', 'duration of the last sync', snapshotMode((image) => image.lastSyncSeconds)],
    ['snapshot_image_last_sync_bytes', 'gauge', 'bytes of the last sync', snapshotMode((image) => image.lastSyncBytes)],
    ['journal_image_entries', 'counter', 'entries replayed', journalMode((image) => image.entries)],
    ['journal_image_replay_bytes', 'counter', 'bytes replayed', journalMode((image) => image.bytes - image.syncBytes)],
    ['journal_image_replay_latency_count', 'counter', 'replay latency', journalMode((image) => image.entries)],
    ['journal_image_replay_latency_sum', 'counter', 'replay latency', journalMode((image) => image.replaySeconds)],
  ] as const
).map(([name, kind, help, value]) => ({ name: `ceph_rbd_mirror_${name}`, kind, help, value }))

/** Lines between two breaths of the event loop: about half a millisecond. */
const LINES_PER_CHUNK = 400

/**
 * The series of `images` in Prometheus' text format, in pieces: between two of them others have their turn. Images are read as they are
 * when their line is made. Those without a name yet have no series.
 */
export async function* imageSeries(images: readonly ImageMetrics[], names: { ceph: boolean }, now: number): AsyncGenerator<string> {
  let lines = 0
  let text = ''
  for (const { name, help, kind, value } of names.ceph ? [...families, ...cephFamilies] : families) {
    let any = false
    for (const image of images) {
      if (image.name === '') continue
      const current = value(image, now)
      if (current === undefined) continue
      if (!any) text += `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n`
      any = true
      text += typeof current === 'number' ? `${name}{${image.seriesLabels}} ${current}\n` : `${name}{${image.seriesLabels},${current}} 1\n`
      if (++lines % LINES_PER_CHUNK > 0) continue
      yield text
      text = ''
      await setImmediate()
    }
  }
  if (text !== '') yield text
}
