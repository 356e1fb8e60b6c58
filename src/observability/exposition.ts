import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { ImageMetrics, Metrics } from './metrics.ts'

const imageLabels = ['pool', 'namespace', 'image', 'peer'] as const

/** A metric whose values are those of the table's rows at the time of the scrape. */
interface PerImage {
  name: string
  help: string
  kind: 'counter' | 'gauge'
  value: (image: ImageMetrics) => number | undefined
}

const perImage: readonly PerImage[] = [
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
  { name: 'rbd_mirror_image_bytes_total', help: 'Bytes written to the replica', kind: 'counter', value: (image) => image.bytes },
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

function labelsOf(image: ImageMetrics): Record<(typeof imageLabels)[number], string> {
  const { pool, namespace, peer } = image.labels
  return { pool, namespace, image: image.name, peer }
}

export interface BuildInfo {
  version: string
  /** of librados, '' when no Ceph cluster is spoken to */
  cephVersion: string
}

/** Prometheus' view of the table. */
export class Exposition {
  private readonly registry = new Registry()

  constructor(metrics: Metrics, build: BuildInfo) {
    const registers = [this.registry]
    collectDefaultMetrics({ register: this.registry })
    new Gauge({ name: 'rbd_mirror_build_info', help: 'Version of this daemon', labelNames: ['version', 'ceph_version'], registers }).set(
      { version: build.version, ceph_version: build.cephVersion },
      1,
    )
    for (const { name, help, kind, value } of perImage) {
      const definition = { name, help, labelNames: imageLabels, registers }
      if (kind === 'gauge') {
        new Gauge({
          ...definition,
          collect() {
            this.reset()
            for (const image of named(metrics)) {
              const now = value(image)
              if (now !== undefined) this.set(labelsOf(image), now)
            }
          },
        })
      } else {
        new Counter({
          ...definition,
          collect() {
            this.reset()
            for (const image of named(metrics)) {
              const now = value(image)
              if (now !== undefined) this.inc(labelsOf(image), now)
            }
          },
        })
      }
    }
    new Gauge({
      name: 'rbd_mirror_image_state',
      help: 'The state that the image is in, as a label',
      labelNames: [...imageLabels, 'state'],
      registers,
      collect() {
        this.reset()
        for (const image of named(metrics)) this.set({ ...labelsOf(image), state: image.state }, 1)
      },
    })
    new Gauge({
      name: 'rbd_mirror_image_info',
      help: 'Ids of the image',
      labelNames: [...imageLabels, 'global_image_id'],
      registers,
      collect() {
        this.reset()
        for (const image of named(metrics)) this.set({ ...labelsOf(image), global_image_id: image.labels.globalImageId }, 1)
      },
    })
    new Gauge({
      name: 'rbd_mirror_peer_up',
      help: "Whether the peer's cluster can be reached",
      labelNames: ['pool', 'peer'],
      registers,
      collect() {
        this.reset()
        for (const { labels, up } of metrics.peers) this.set({ ...labels }, up ? 1 : 0)
      },
    })
    new Counter({
      name: 'rbd_mirror_peer_connection_losses_total',
      help: "How often the connection to the peer's cluster was lost",
      labelNames: ['pool', 'peer'],
      registers,
      collect() {
        this.reset()
        for (const { labels, downs } of metrics.peers) this.inc({ ...labels }, downs)
      },
    })
    new Gauge({
      name: 'rbd_mirror_pool_leader',
      help: 'Whether this daemon leads the mirroring of the pool',
      labelNames: ['pool', 'peer'],
      registers,
      collect() {
        this.reset()
        for (const { labels, leader } of metrics.peers) this.set({ ...labels }, leader ? 1 : 0)
      },
    })
    new Gauge({
      name: 'rbd_mirror_queue_length',
      help: 'Images that wait for a sync slot, or for their deletion',
      labelNames: ['queue'],
      registers,
      collect() {
        for (const [queue, length] of metrics.queues) this.set({ queue }, length)
      },
    })
  }

  get contentType(): string {
    return this.registry.contentType
  }

  text(): Promise<string> {
    return this.registry.metrics()
  }
}

/** Images whose name is known yet. */
function* named(metrics: Metrics): Iterable<ImageMetrics> {
  for (const image of metrics.images) if (image.name !== '') yield image
}
