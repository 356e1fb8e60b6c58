import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { EventLoopDelay } from './event-loop-delay.ts'
import { BadQuery, imageFilter, numberIn } from './image-filter.ts'
import { imageSeries } from './image-series.ts'
import { formatLabels, type BandwidthFigures, type ImageMetrics, type Metrics } from './metrics.ts'
import { summarize, type PoolSummary } from './pool-summary.ts'
import { syncBounds } from './sync-histogram.ts'

export interface BuildInfo {
  version: string
  /** of librados, '' when no Ceph cluster is spoken to */
  cephVersion: string
}

export interface ExpositionOptions {
  metrics: Metrics
  build: BuildInfo
  eventLoop: EventLoopDelay
  /** images whose series are shown unless the query says otherwise */
  imageLimit(): number
  /** whether the names that ceph-exporter gives to the stock daemon's counters are shown too, unless the query says otherwise */
  cephNames(): boolean
}

/** Images in one answer, whatever the query says. */
const MAX_IMAGES = 100_000
const poolLabels = ['pool', 'namespace', 'peer'] as const

/**
 * Prometheus' view of the table: sums over pools through prom-client, then the series of images, streamed. Query parameters: `limit`
 * (images, those in trouble first; 0: none), `ceph_names`, `aggregates=false`, and the filters of {@link imageFilter}.
 */
export class Exposition {
  private readonly registry = new Registry()
  private sums: Promise<string> | undefined
  private summaries: PoolSummary[] = []

  constructor(private readonly options: ExpositionOptions) {
    collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: 20 })
    this.registerProcess()
    this.registerImages()
    this.registerPeers()
    this.registerBandwidth()
  }

  get contentType(): string {
    return this.registry.contentType
  }

  /** The whole page in pieces. @throws BadQuery */
  page(query: URLSearchParams): AsyncGenerator<string> {
    const { options } = this
    const { metrics } = options
    const limit = numberIn(query, 'limit', options.imageLimit(), MAX_IMAGES)
    const filter = imageFilter(query)
    const ceph = flag(query, 'ceph_names', options.cephNames())
    const aggregates = flag(query, 'aggregates', true)
    const wanted = [...metrics.images].filter((image) => image.name !== '' && filter.matches(image))
    return this.stream(inTroubleFirst(wanted, limit), wanted.length - Math.min(limit, wanted.length), { ceph, aggregates })
  }

  /** For tests: the page as one text. */
  async text(query = new URLSearchParams()): Promise<string> {
    let text = ''
    for await (const piece of this.page(query)) text += piece
    return text
  }

  private async *stream(images: readonly ImageMetrics[], omitted: number, { ceph, aggregates }: { ceph: boolean; aggregates: boolean }) {
    if (aggregates) {
      yield `${await this.aggregates()}\n`
      yield this.syncHistogram()
    }
    const name = 'rbd_mirror_images_omitted'
    yield `# HELP ${name} Images that match the query and whose own series are left out by its limit\n# TYPE ${name} gauge\n${name} ${omitted}\n`
    yield* imageSeries(images, { ceph }, this.options.metrics.clock.now() / 1000)
  }

  /** Who scrapes at the same time gets the same sums: they are made once. */
  private aggregates(): Promise<string> {
    const make = async () => {
      this.summaries = await summarize(this.options.metrics)
      return this.registry.metrics()
    }
    this.sums ??= make().finally(() => (this.sums = undefined))
    return this.sums
  }

  private syncHistogram(): string {
    const name = 'rbd_mirror_sync_duration_seconds'
    const lines = [`# HELP ${name} Duration of complete syncs`, `# TYPE ${name} histogram`]
    for (const { pool, namespace, peer, counts, sum } of this.options.metrics.syncDurations.all()) {
      const labels = formatLabels({ pool, namespace, peer })
      let below = 0
      for (const [index, count] of counts.entries()) {
        below += count
        lines.push(`${name}_bucket{${labels},le="${syncBounds[index] ?? '+Inf'}"} ${below}`)
      }
      lines.push(`${name}_sum{${labels}} ${sum}`, `${name}_count{${labels}} ${below}`)
    }
    return `${lines.join('\n')}\n`
  }

  private registerProcess(): void {
    const { build, eventLoop, metrics } = this.options
    const registers = [this.registry]
    new Gauge({ name: 'rbd_mirror_build_info', help: 'Version of this daemon', labelNames: ['version', 'ceph_version'], registers }).set(
      { version: build.version, ceph_version: build.cephVersion },
      1,
    )
    new Gauge({
      name: 'rbd_mirror_event_loop_delay_seconds',
      help: 'How long the event loop made others wait, over the last one to two minutes',
      labelNames: ['stat'],
      registers,
      collect() {
        const { median, p99, max } = eventLoop.quantiles()
        this.set({ stat: 'median' }, median)
        this.set({ stat: 'p99' }, p99)
        this.set({ stat: 'max' }, max)
      },
    })
    new Counter({
      name: 'rbd_mirror_errors_total',
      help: 'How often images went into error, by reason',
      labelNames: ['reason'],
      registers,
      collect() {
        this.reset()
        for (const [reason, count] of metrics.errorsByReason) this.inc({ reason }, count)
      },
    })
    const total = (name: string, help: string, pick: (totals: ReturnType<Metrics['totals']>) => number) =>
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset()
          this.inc(pick(metrics.totals()))
        },
      })
    total('rbd_mirror_bytes_total', 'Bytes written to replicas', ({ bytes }) => bytes)
    total('rbd_mirror_syncs_total', 'Snapshots synced', ({ syncs }) => syncs)
    total('rbd_mirror_journal_entries_total', 'Journal entries replayed', ({ entries }) => entries)
  }

  private registerImages(): void {
    const { metrics } = this.options
    const registers = [this.registry]
    const summaries = () => this.summaries
    new Gauge({
      name: 'rbd_mirror_images',
      help: 'Mirrored images by state',
      labelNames: [...poolLabels, 'state'],
      registers,
      collect() {
        this.reset()
        for (const { labels, states } of summaries()) for (const [state, count] of states) this.set({ ...labels, state }, count)
      },
    })
    new Gauge({
      name: 'rbd_mirror_images_health',
      help: 'Mirrored images by health and its reason',
      labelNames: [...poolLabels, 'health', 'reason'],
      registers,
      collect() {
        this.reset()
        for (const { labels, health } of summaries()) {
          for (const [key, count] of health) {
            const [level, reason] = key.split(' ')
            this.set({ ...labels, health: level!, reason: reason! }, count)
          }
        }
      },
    })
    const perPool = (name: string, help: string, value: (pool: PoolSummary) => number | undefined) =>
      new Gauge({
        name,
        help,
        labelNames: poolLabels,
        registers,
        collect() {
          this.reset()
          for (const summary of summaries()) {
            const now = value(summary)
            if (now !== undefined) this.set({ ...summary.labels }, now)
          }
        },
      })
    const oldest = ({ worstLag }: PoolSummary) => (worstLag === undefined ? undefined : metrics.clock.now() / 1000 - worstLag)
    perPool('rbd_mirror_oldest_replicated_timestamp_seconds', 'The oldest of the replicas: the worst lag is time() minus this', oldest)
    perPool('rbd_mirror_pending_snapshots', 'Mirror-snapshots that replicas have not got yet', ({ pendingSnapshots }) => pendingSnapshots)
    perPool('rbd_mirror_pending_bytes', 'Estimate of the bytes behind the pending snapshots', ({ pendingBytes }) => pendingBytes)
    perPool('rbd_mirror_journal_entries_behind', 'Journal entries that replicas are behind', ({ entriesBehind }) => entriesBehind)
  }

  private registerPeers(): void {
    const { metrics } = this.options
    const registers = [this.registry]
    new Gauge({
      name: 'rbd_mirror_peer_up',
      help: "Whether the peer's cluster can be reached",
      labelNames: ['pool', 'peer'],
      registers,
      collect() {
        this.reset()
        for (const { labels, up } of metrics.peers) if (up !== undefined) this.set({ ...labels }, up ? 1 : 0)
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
    for (const which of ['waiting', 'running'] as const) {
      new Gauge({
        name: `rbd_mirror_queue_${which}`,
        help: which === 'waiting' ? 'Images that wait for a sync slot, or for their deletion' : 'Images that are being synced, or deleted',
        labelNames: ['pool', 'peer', 'queue'],
        registers,
        collect() {
          this.reset()
          for (const { labels, queues } of metrics.peers) {
            for (const [queue, counts] of Object.entries(queues())) this.set({ ...labels, queue }, counts[which])
          }
        },
      })
    }
  }

  private registerBandwidth(): void {
    const { metrics } = this.options
    const registers = [this.registry]
    const of = (Kind: typeof Gauge | typeof Counter, name: string, help: string, value: (figures: BandwidthFigures) => number | undefined) =>
      new Kind({
        name,
        help,
        labelNames: ['scope'],
        registers,
        collect() {
          this.reset()
          for (const figures of metrics.bandwidth()) {
            const now = value(figures)
            if (now !== undefined) this.inc({ scope: figures.scope }, now)
          }
        },
      })
    of(Gauge, 'rbd_mirror_bandwidth_limit_bytes_per_second', 'Limits in force', ({ limit }) => limit)
    of(Counter, 'rbd_mirror_bandwidth_bytes_total', 'Bytes that went through a limit', ({ bytes }) => bytes)
    of(Counter, 'rbd_mirror_bandwidth_wait_seconds_total', 'Time that requests were held back by limits', ({ waitSeconds }) => waitSeconds)
  }
}

/** A limit must not hide trouble. The order is else that of the table, so that series stay from scrape to scrape. */
function inTroubleFirst(images: readonly ImageMetrics[], limit: number): readonly ImageMetrics[] {
  if (images.length <= limit) return images
  const trouble: ImageMetrics[] = []
  const others: ImageMetrics[] = []
  for (const image of images) (image.health().level === 'error' ? trouble : others).push(image)
  return [...trouble, ...others].slice(0, limit)
}

function flag(query: URLSearchParams, name: string, fallback: boolean): boolean {
  const text = query.get(name)
  if (text === null) return fallback
  if (text === '' || text === 'true' || text === '1') return true
  if (text === 'false' || text === '0') return false
  throw new BadQuery(`${name} is either true or false`)
}
