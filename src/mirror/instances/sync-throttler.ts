/** Whether a sync may begin: `superseded` when it was asked for again meanwhile, `drained` when we no longer lead. */
export type SyncGrant = 'granted' | 'superseded' | 'drained'

/**
 * How many images are synced at once, by all daemons of a pool together (tools/rbd_mirror/Throttler.cc): the leader's is the one that counts.
 * First come, first served. An operation that runs already is granted again, for it is the same one.
 */
export class SyncThrottler {
  private readonly running = new Set<string>()
  private readonly queue = new Map<string, (grant: SyncGrant) => void>()

  /** @param max how many may run; 0 for no limit */
  constructor(private max: number) {}

  get limit(): number {
    return this.max
  }

  get runningCount(): number {
    return this.running.size
  }

  get waitingCount(): number {
    return this.queue.size
  }

  setLimit(max: number): void {
    this.max = max
    this.pump()
  }

  start(id: string): Promise<SyncGrant> {
    if (this.running.has(id)) return Promise.resolve('granted')
    const before = this.queue.get(id)
    const granted = new Promise<SyncGrant>((resolve) => this.queue.set(id, resolve)) // keeps its place if it had one
    before?.('superseded')
    this.pump()
    return granted
  }

  /** It is over, or is no longer waited for. */
  finish(id: string): void {
    this.running.delete(id)
    const waiting = this.queue.get(id)
    this.queue.delete(id)
    waiting?.('superseded')
    this.pump()
  }

  /** Forgets what others were granted, and refuses what waits. @param id which of them */
  drain(matches: (id: string) => boolean): void {
    for (const id of this.running) if (matches(id)) this.running.delete(id)
    for (const [id, resolve] of this.queue) {
      if (!matches(id)) continue
      this.queue.delete(id)
      resolve('drained')
    }
    this.pump()
  }

  private pump(): void {
    for (const [id, resolve] of this.queue) {
      if (this.max > 0 && this.running.size >= this.max) return
      this.queue.delete(id)
      this.running.add(id)
      resolve('granted')
    }
  }
}
