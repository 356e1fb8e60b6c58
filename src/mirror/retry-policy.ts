import { Backoff } from '../base/backoff.ts'
import type { Random } from '../base/random.ts'
import type { MirrorOptions } from './options.ts'
import type { ReplayEnd } from './replayer.ts'

const FIRST_RETRY_MS = 1_000
/** A promotion goes on only while the image is left alone (librbd/mirror/snapshot/PromoteRequest.cc). */
const PROMOTION_MS = 4_000

/** An image that was left unfinished longer ago has nothing to do with the one before. */
const UNFINISHED_MEMORY_MS = 60_000
const MAX_ANEW_MS = 30_000

/** What follows from an end: nothing but another look later, or something to be done first. */
export type AfterEnd = 'retry' | 'again' | 'delete' | 'resync' | 'finish'

export function afterEnd(end: ReplayEnd): AfterEnd {
  switch (end.type) {
    case 'remoteGone':
      return 'delete'
    case 'resyncRequested':
      return 'resync'
    case 'localIncomplete':
      return 'resync'
    case 'resyncDue':
      return 'again'
    case 'imageGone':
      return 'finish'
    default:
      return 'retry'
  }
}

/** When an image that ended is looked at again, if nothing wakes it before. */
export class RetryPolicy {
  private backoff: Backoff
  private lastEnd: ReplayEnd['type'] | undefined
  private readonly anew: Backoff
  private unfinishedAt = -Infinity
  private intervalMs: number

  constructor(
    private readonly random: Random,
    private readonly options: MirrorOptions,
  ) {
    this.intervalMs = this.interval()
    this.backoff = new Backoff(random, Math.min(FIRST_RETRY_MS, this.intervalMs), this.intervalMs)
    this.anew = new Backoff(random, FIRST_RETRY_MS, MAX_ANEW_MS)
  }

  /**
   * Milliseconds before an image that was left unfinished is made anew, whoever wakes us: none the first time, then ever more. What has it fail has
   * it fail again, and each try tells all who watch.
   * @param now monotonic
   */
  anewMs(now: number): number {
    const again = now - this.unfinishedAt < UNFINISHED_MEMORY_MS
    if (!again) this.anew.reset()
    const waitMs = again ? this.anew.step() : 0
    this.unfinishedAt = now + waitMs
    return waitMs
  }

  private interval(): number {
    return Math.max(1, this.options.imageStateCheckInterval) * 1000
  }

  /** Milliseconds: from one second, doubling up to `rbd_mirror_image_state_check_interval`; another end begins anew. */
  waitMs(end: ReplayEnd): number {
    if (end.type !== this.lastEnd || this.interval() !== this.intervalMs) this.reset()
    this.lastEnd = end.type
    const waitMs = this.backoff.step()
    return end.type === 'orphan' ? Math.max(waitMs, PROMOTION_MS) : waitMs
  }

  reset(): void {
    this.intervalMs = this.interval()
    this.backoff = new Backoff(this.random, Math.min(FIRST_RETRY_MS, this.intervalMs), this.intervalMs)
  }
}
