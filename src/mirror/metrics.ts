/** What the mirror layer tells the metrics page. Labels are bound when a meter is made; all methods are cheap and never throw. */
export interface ImageMetrics {
  setState(state: 'unknown' | 'error' | 'syncing' | 'starting_replay' | 'replaying' | 'stopping_replay' | 'stopped'): void
  /** Seconds since the epoch of the newest primary state known, and of the newest one that the replica has whole. */
  setTimestamps(timestamps: { primary?: number | undefined; replicated?: number | undefined }): void
  /** bytes written to the replica since the last call */
  addBytes(bytes: number): void
  /** a finished sync of a snapshot (or a first image sync) */
  observeSync(seconds: number, bytes: number): void
  /** 0 … 1 while a sync runs, undefined when none does */
  setSyncProgress(ratio: number | undefined): void
  setName(name: string): void
  /** The image is gone: so are its series. */
  remove(): void
}

export interface PeerMetrics {
  setUp(up: boolean): void
  setLeader(leader: boolean): void
  remove(): void
}

export interface MirrorMetrics {
  image(labels: { pool: string; namespace: string; peer: string; globalImageId: string }): ImageMetrics
  peer(labels: { pool: string; peer: string }): PeerMetrics
  /** images that wait for a sync slot or for their deletion */
  setQueueLength(queue: 'sync' | 'deletion', length: number): void
}

const silentImage: ImageMetrics = {
  setState() {},
  setTimestamps() {},
  addBytes() {},
  observeSync() {},
  setSyncProgress() {},
  setName() {},
  remove() {},
}

export const silentMetrics: MirrorMetrics = {
  image: () => silentImage,
  peer: () => ({ setUp() {}, setLeader() {}, remove() {} }),
  setQueueLength() {},
}
