/** States of an image as `rbd mirror image status` spells them. */
export type ImageState = 'unknown' | 'error' | 'syncing' | 'starting_replay' | 'replaying' | 'stopping_replay' | 'stopped'

export interface ImageLabels {
  pool: string
  /** '' is the default namespace */
  namespace: string
  image: string
  /** name of the peer's site; '' while unknown */
  peer: string
}

/**
 * What is known of one mirrored image: plain fields that the mirror layer sets as things happen. They are read when the metrics are
 * scraped; nothing happens on assignment. Fields that stay undefined give no series.
 */
export class ImageMetrics {
  state: ImageState = 'unknown'
  mode: 'snapshot' | 'journal' | undefined
  /** seconds since the epoch: the state of the primary that the replica has */
  replicatedTimestamp: number | undefined
  /** seconds since the epoch: the newest state of the primary that is to be replicated */
  primaryTimestamp: number | undefined
  /** of the running sync, 0 to 1; undefined when none runs */
  syncProgress: number | undefined
  /** of the last complete sync */
  lastSyncSeconds: number | undefined
  /** bytes written by the last complete sync */
  lastSyncBytes: number | undefined
  entriesBehindPrimary: number | undefined

  /** counters, from the daemon's start */
  bytes = 0
  snapshots = 0
  syncs = 0
  syncSeconds = 0
  errors = 0
  entries: number | undefined
  /** sum and number of the times from an entry's fetch to its being safe in the replica */
  replayLatencySeconds = 0
  replayLatencyCount = 0

  constructor(
    public labels: ImageLabels,
    readonly ids: { globalImageId: string; localImageId?: string | undefined; remoteImageId?: string | undefined },
    private readonly onRemove: (image: ImageMetrics) => void,
  ) {}

  /** The name of an image, or of its peer, may change while it lives. */
  relabel(changes: Partial<ImageLabels>): void {
    this.labels = { ...this.labels, ...changes }
  }

  /** A sync that is complete. */
  synced(bytes: number, seconds: number): void {
    this.syncProgress = undefined
    this.lastSyncBytes = bytes
    this.lastSyncSeconds = seconds
    this.syncs++
    this.syncSeconds += seconds
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

/** One pool and one of its peers, from the connection's point of view. */
export class PeerMetrics {
  up = false
  leader = false
  /** callouts and failures of the pool itself, not of its images; from the daemon's start */
  errors = 0

  constructor(
    public labels: PeerLabels,
    readonly ids: { poolId: bigint; peerUuid: string },
    private readonly onRemove: (peer: PeerMetrics) => void,
  ) {}

  relabel(changes: Partial<PeerLabels>): void {
    this.labels = { ...this.labels, ...changes }
  }

  remove(): void {
    this.onRemove(this)
  }
}

export type QueueName = 'image_sync' | 'image_deletion'

export interface QueueMetrics {
  queue: QueueName
  pool: string
  namespace: string
  waiting(): number
  running(): number
}

export interface BuildInfo {
  version: string
  cephVersion: string
}

/** The table behind `/metrics`: whoever knows something keeps its row up to date; the exposition reads it on demand. */
export class Metrics {
  readonly images = new Set<ImageMetrics>()
  readonly peers = new Set<PeerMetrics>()
  readonly queues = new Set<QueueMetrics>()
  build: BuildInfo = { version: 'unknown', cephVersion: 'unknown' }

  addImage(labels: ImageLabels, ids: ImageMetrics['ids']): ImageMetrics {
    const image = new ImageMetrics(labels, ids, (row) => this.images.delete(row))
    this.images.add(image)
    return image
  }

  addPeer(labels: PeerLabels, ids: PeerMetrics['ids']): PeerMetrics {
    const peer = new PeerMetrics(labels, ids, (row) => this.peers.delete(row))
    this.peers.add(peer)
    return peer
  }

  /** Lengths are asked for on each scrape; the returned function takes the queue away. */
  addQueue(queue: QueueMetrics): () => void {
    this.queues.add(queue)
    return () => this.queues.delete(queue)
  }
}
