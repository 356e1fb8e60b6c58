import { systemClock, type Clock } from '../base/clock.ts'
import { EventLog } from './event-log.ts'
import { healthOfImage, reasonOf, type ImageHealth, type Reason } from './image-health.ts'
import { LagHistory } from './lag-history.ts'
import { redact } from './redact.ts'
import { SyncHistogram } from './sync-histogram.ts'

/** States of an image as `rbd mirror image status` spells them. */
export type ImageState = 'unknown' | 'error' | 'syncing' | 'starting_replay' | 'replaying' | 'stopping_replay' | 'stopped'

export interface ImageLabels {
  pool: string
  /** '' is the default namespace */
  namespace: string
  /** name of the peer's site */
  peer: string
  globalImageId: string
}

/**
 * One mirrored image as the mirror layer tells it: each call sets a field and nothing more; the fields are read when someone scrapes
 * or asks. A field that stays undefined gives no series.
 */
export class ImageMetrics {
  name = ''
  state: ImageState = 'unknown'
  /** as `rbd mirror image status` shows it */
  description = ''
  /** milliseconds since the epoch */
  stateSince: number
  /** seconds since the epoch: the newest state of the primary, and the newest one that the replica has whole */
  primaryTimestamp: number | undefined
  replicatedTimestamp: number | undefined
  /** of the running sync, 0 to 1 */
  syncProgress: number | undefined
  private syncBegan: { progress: number; at: number } | undefined
  /** moving average over the last seconds */
  bytesPerSecond = 0
  private sampledBytes = 0
  /** snapshots that the replica has not got yet, and an estimate of the bytes behind them */
  pendingSnapshots: number | undefined
  pendingBytes: number | undefined
  private scheduledRpo: number | undefined
  readonly lagHistory = new LagHistory()
  /** the same for all images of a pool, namespace and peer */
  readonly poolKey: string
  /** seconds since the epoch: when the replica was compared with its primary last, and what differed then */
  verifiedTimestamp: number | undefined
  differingBytes: number | undefined
  lastSyncSeconds: number | undefined
  lastSyncBytes: number | undefined
  /** counters from the daemon's start */
  bytes = 0
  syncs = 0
  syncSeconds = 0
  syncBytes = 0
  errors = 0
  /** of the journal; undefined for an image mirrored by snapshots */
  entries: number | undefined
  entriesBehind: number | undefined
  replaySeconds = 0

  constructor(
    readonly labels: ImageLabels,
    private readonly table: ImageTable,
  ) {
    this.stateSince = table.clock.now()
    this.poolKey = `${labels.pool}\n${labels.namespace}\n${labels.peer}`
  }

  setName(name: string): void {
    this.name = name
    this.cachedLabels = undefined
  }

  /** @param description as it is shown to operators */
  setState(state: ImageState, description = ''): void {
    const { state: before, description: said } = this
    this.state = state
    this.description = redact(description)
    if (state === 'error' && before !== 'error') {
      this.errors++
      this.table.onError(this, reasonOf(this))
    }
    if (state !== before) this.stateSince = this.table.clock.now()
    if (state !== before || (state !== 'replaying' && state !== 'syncing' && this.description !== said)) this.table.onChange(this, before)
  }

  /** Whether no writes are to be had here: this side's image is the one that is written to. */
  get isPrimary(): boolean {
    return this.state === 'stopped' && (this.description === 'local image is primary' || this.description === 'force promoted')
  }

  health(): ImageHealth {
    return healthOfImage(this, this.table.clock.now() / 1000)
  }

  /** Seconds by which the replica is behind its primary at most; undefined while that is not known. */
  lagSeconds(nowSeconds: number): number | undefined {
    if (this.isPrimary) return undefined
    if (this.entriesBehind === 0 && this.state === 'replaying') return 0
    return this.replicatedTimestamp === undefined ? undefined : Math.max(0, nowSeconds - this.replicatedTimestamp)
  }

  /** Seconds until the running sync is done, at its pace so far. */
  secondsLeft(): number | undefined {
    const { syncProgress: progress, syncBegan: began } = this
    if (progress === undefined || !began || progress <= began.progress) return undefined
    return ((1 - progress) * ((this.table.clock.monotonic() - began.at) / 1000)) / (progress - began.progress)
  }

  /** Called every {@link SAMPLE_SECONDS}. */
  sample(): void {
    const delta = this.bytes - this.sampledBytes
    if (delta === 0 && this.bytesPerSecond === 0) return
    this.sampledBytes = this.bytes
    const smoothed = this.bytesPerSecond * (1 - SMOOTHING) + (delta / SAMPLE_SECONDS) * SMOOTHING
    this.bytesPerSecond = smoothed < 1 ? 0 : smoothed
  }

  /** `pool="…",namespace="…",image="…",peer="…"` as Prometheus wants it. */
  get seriesLabels(): string {
    const { pool, namespace, peer } = this.labels
    return (this.cachedLabels ??= formatLabels({ pool, namespace, image: this.name, peer }))
  }

  private cachedLabels: string | undefined

  /** Seconds since the epoch; what is not named stays as it is. */
  setTimestamps(timestamps: { primary?: number | undefined; replicated?: number | undefined }): void {
    this.primaryTimestamp = timestamps.primary ?? this.primaryTimestamp
    this.replicatedTimestamp = timestamps.replicated ?? this.replicatedTimestamp
  }

  setVerified({ at, differingBytes }: { at: number; differingBytes: number }): void {
    this.verifiedTimestamp = at
    this.differingBytes = differingBytes
  }

  /** bytes written to the replica since the last call */
  addBytes(bytes: number): void {
    this.bytes += bytes
  }

  setSyncProgress(ratio: number | undefined): void {
    if (ratio === undefined) this.syncBegan = undefined
    else if (this.syncBegan === undefined || ratio < this.syncBegan.progress) this.syncBegan = { progress: ratio, at: this.table.clock.monotonic() }
    this.syncProgress = ratio
  }

  setPending(pending: { snapshots: number; bytes: number }): void {
    this.pendingSnapshots = pending.snapshots
    this.pendingBytes = pending.bytes
  }

  /** Seconds by which the replica may lag, by the primary's snapshot schedule; undefined for none. */
  setRpo(seconds: number | undefined): void {
    this.scheduledRpo = seconds
  }

  /** Seconds by which the replica may lag: by the schedule, or what holds for all others. */
  get rpoSeconds(): number | undefined {
    // schedules are of snapshots
    return (this.entriesBehind === undefined ? this.scheduledRpo : undefined) ?? this.table.defaultRpo()
  }

  /** A snapshot (or the first image sync) that the replica now has whole. */
  observeSync(seconds: number, bytes: number): void {
    this.setSyncProgress(undefined)
    this.table.onSync(this, seconds)
    this.lastSyncSeconds = seconds
    this.lastSyncBytes = bytes
    this.syncs++
    this.syncSeconds += seconds
    this.syncBytes += bytes
  }

  /** Journal entries that are safe in the replica, and the sum of the times from their fetch to that moment. */
  addEntries(entries: number, seconds: number): void {
    this.entries = (this.entries ?? 0) + entries
    this.replaySeconds += seconds
  }

  setEntriesBehind(entries: number): void {
    this.entriesBehind = entries
  }

  /** The image is gone: so are its series. An image in error keeps them. */
  remove(): void {
    this.table.onRemove(this)
  }
}

/** What an image tells the table it stands in. */
interface ImageTable {
  readonly clock: Clock
  defaultRpo(): number | undefined
  onRemove(image: ImageMetrics): void
  onChange(image: ImageMetrics, before: ImageState): void
  onError(image: ImageMetrics, reason: Reason): void
  onSync(image: ImageMetrics, seconds: number): void
}

/** How the daemon's traffic is held back by one limit. */
export interface BandwidthFigures {
  /** what the limit is for: `daemon`, `peer=site-a`, `pool=volumes`, `image=volumes/one` */
  scope: string
  /** bytes per second; undefined when none is in force now */
  limit: number | undefined
  bytes: number
  /** seconds that requests were held back, summed up */
  waitSeconds: number
}

export interface PeerLabels {
  pool: string
  /** name of the peer's site */
  peer: string
}

/** One pool as mirrored from one peer. */
export class PeerMetrics {
  /** undefined as long as it was not tried to reach the peer */
  up: boolean | undefined
  leader = false
  /** how often the connection was lost */
  downs = 0
  /** asked for when somebody looks */
  queues: () => PeerQueues = () => noQueues

  constructor(
    readonly labels: PeerLabels,
    private readonly table: { onRemove(peer: PeerMetrics): void; onUp(peer: PeerMetrics): void },
  ) {}

  setUp(up: boolean): void {
    if (this.up === up) return
    if (this.up && !up) this.downs++
    this.up = up
    this.table.onUp(this)
  }

  setLeader(leader: boolean): void {
    this.leader = leader
  }

  remove(): void {
    this.table.onRemove(this)
  }
}

export type QueueName = 'sync' | 'deletion'
/** Images of a pool that wait for a slot, and those that have one. */
export type PeerQueues = Readonly<Record<QueueName, { waiting: number; running: number }>>
const noQueues: PeerQueues = { sync: { waiting: 0, running: 0 }, deletion: { waiting: 0, running: 0 } }

/** The table behind `/metrics`, the status page and `perf dump`: cheap to update, read on demand. */
export class Metrics {
  readonly images = new Set<ImageMetrics>()
  readonly peers = new Set<PeerMetrics>()
  readonly events: EventLog
  readonly syncDurations = new SyncHistogram()
  /** of images without a schedule; undefined for none */
  defaultRpoSeconds: number | undefined
  /** what bandwidth limits are in force, and what they did; asked for when somebody looks */
  bandwidth: () => readonly BandwidthFigures[] = () => []
  readonly errorsByReason = new Map<Reason, number>()
  private readonly names = new Map<string, ImageMetrics>()
  /** of images that are gone, so that the daemon's totals never go back */
  private readonly gone = { bytes: 0, syncs: 0, syncSeconds: 0, syncBytes: 0, errors: 0, entries: 0, replaySeconds: 0 }

  constructor(readonly clock: Clock = systemClock) {
    this.events = new EventLog(clock)
  }

  image(labels: ImageLabels): ImageMetrics {
    const image: ImageMetrics = new ImageMetrics(labels, {
      clock: this.clock,
      defaultRpo: () => this.defaultRpoSeconds,
      onRemove: (row) => {
        if (this.images.delete(row)) addTotals(this.gone, row)
        if (this.names.get(labels.globalImageId) === row) this.names.delete(labels.globalImageId)
      },
      onChange: (row, before) => this.events.imageChanged(row, before),
      onError: (_, reason) => this.errorsByReason.set(reason, (this.errorsByReason.get(reason) ?? 0) + 1),
      onSync: (row, seconds) => this.syncDurations.observe(row.labels, seconds),
    })
    this.images.add(image)
    this.names.set(labels.globalImageId, image)
    return image
  }

  peer(labels: PeerLabels): PeerMetrics {
    const peer = new PeerMetrics(labels, {
      onRemove: (row) => this.peers.delete(row),
      onUp: (row) => this.events.peerChanged(row),
    })
    this.peers.add(peer)
    return peer
  }

  /** The name of a mirrored image, as soon as it is known. */
  imageName(globalImageId: string): string | undefined {
    return this.names.get(globalImageId)?.name || undefined
  }

  byId(globalImageId: string): ImageMetrics | undefined {
    return this.names.get(globalImageId)
  }

  /** Keeps rates and histories until the returned function is called. */
  startSampling(): () => void {
    let samples = 0
    let cancel = () => undefined as void
    const sample = () => {
      const lagToo = samples++ % LAG_EVERY === 0
      const now = this.clock.now() / 1000
      for (const image of this.images) {
        image.sample()
        if (lagToo) image.lagHistory.add(image.lagSeconds(now))
      }
      cancel = this.clock.setTimer(SAMPLE_SECONDS * 1000, sample)
    }
    sample()
    return () => cancel()
  }

  /** Counters of all images since the start, those included that are gone. */
  totals(): Totals {
    const sum = { ...this.gone }
    for (const image of this.images) addTotals(sum, image)
    return sum
  }
}

export interface Totals {
  bytes: number
  syncs: number
  syncSeconds: number
  syncBytes: number
  errors: number
  entries: number
  replaySeconds: number
}

function addTotals(sum: Totals, image: ImageMetrics): void {
  sum.bytes += image.bytes
  sum.syncs += image.syncs
  sum.syncSeconds += image.syncSeconds
  sum.syncBytes += image.syncBytes
  sum.errors += image.errors
  sum.entries += image.entries ?? 0
  sum.replaySeconds += image.replaySeconds
}

const SAMPLE_SECONDS = 2
/** Weight of the newest sample in a rate. */
const SMOOTHING = 0.3
/** Every so many samples the lag is noted: once a minute. */
const LAG_EVERY = 30

/** Labels in Prometheus' text format, without the braces. */
export function formatLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, (special) => (special === '\n' ? '\\n' : `\\${special}`))}"`)
    .join(',')
}
