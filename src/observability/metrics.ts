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
  /** seconds since the epoch: the newest state of the primary, and the newest one that the replica has whole */
  primaryTimestamp: number | undefined
  replicatedTimestamp: number | undefined
  /** of the running sync, 0 to 1 */
  syncProgress: number | undefined
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
    private readonly onRemove: (image: ImageMetrics) => void,
  ) {}

  setName(name: string): void {
    this.name = name
  }

  setState(state: ImageState): void {
    if (state === 'error' && this.state !== 'error') this.errors++
    this.state = state
  }

  /** Seconds since the epoch; what is not named stays as it is. */
  setTimestamps(timestamps: { primary?: number | undefined; replicated?: number | undefined }): void {
    this.primaryTimestamp = timestamps.primary ?? this.primaryTimestamp
    this.replicatedTimestamp = timestamps.replicated ?? this.replicatedTimestamp
  }

  /** bytes written to the replica since the last call */
  addBytes(bytes: number): void {
    this.bytes += bytes
  }

  setSyncProgress(ratio: number | undefined): void {
    this.syncProgress = ratio
  }

  /** A snapshot (or the first image sync) that the replica now has whole. */
  observeSync(seconds: number, bytes: number): void {
    this.syncProgress = undefined
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
    this.onRemove(this)
  }
}

export interface PeerLabels {
  pool: string
  /** name of the peer's site */
  peer: string
}

/** One pool as mirrored from one peer. */
export class PeerMetrics {
  up = false
  leader = false
  /** how often the connection was lost */
  downs = 0

  constructor(
    readonly labels: PeerLabels,
    private readonly onRemove: (peer: PeerMetrics) => void,
  ) {}

  setUp(up: boolean): void {
    if (this.up && !up) this.downs++
    this.up = up
  }

  setLeader(leader: boolean): void {
    this.leader = leader
  }

  remove(): void {
    this.onRemove(this)
  }
}

export type QueueName = 'sync' | 'deletion'

/** The table behind `/metrics` and `perf dump`: cheap to update, read on demand. */
export class Metrics {
  readonly images = new Set<ImageMetrics>()
  readonly peers = new Set<PeerMetrics>()
  private readonly names = new Map<string, ImageMetrics>()
  readonly queues = new Map<QueueName, number>([
    ['sync', 0],
    ['deletion', 0],
  ])
  /** of images that are gone, so that the daemon's totals never go back */
  private readonly gone = { bytes: 0, syncs: 0, syncSeconds: 0, syncBytes: 0, errors: 0, entries: 0, replaySeconds: 0 }

  image(labels: ImageLabels): ImageMetrics {
    const image = new ImageMetrics(labels, (row) => {
      if (this.images.delete(row)) addTotals(this.gone, row)
      if (this.names.get(labels.globalImageId) === row) this.names.delete(labels.globalImageId)
    })
    this.images.add(image)
    this.names.set(labels.globalImageId, image)
    return image
  }

  peer(labels: PeerLabels): PeerMetrics {
    const peer = new PeerMetrics(labels, (row) => this.peers.delete(row))
    this.peers.add(peer)
    return peer
  }

  /** The name of a mirrored image, as soon as it is known. */
  imageName(globalImageId: string): string | undefined {
    return this.names.get(globalImageId)?.name || undefined
  }

  /** images that wait for a sync slot or for their deletion */
  setQueueLength(queue: QueueName, length: number): void {
    this.queues.set(queue, length)
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
