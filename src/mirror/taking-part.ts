import { delay, type Clock } from '../base/clock.ts'
import { Notifier } from '../base/notifier.ts'
import { EBLOCKLISTED, ifThere, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { findLocker } from '../rbd/managed-lock.ts'
import { RBD_MIRROR_LEADER } from '../rbd/names.ts'
import type { MirrorOptions } from './options.ts'

const LOOK_MS = 1_000

/** Whether, and since when, this daemon reaches the remote cluster of a pool. */
export class RemoteReach {
  private lostAt: number | undefined
  private readonly changed = new Notifier()

  constructor(private readonly clock: Clock) {
    this.lostAt = clock.monotonic()
  }

  set(reached: boolean): void {
    this.lostAt = reached ? undefined : (this.lostAt ?? this.clock.monotonic())
    this.changed.wake()
  }

  get reached(): boolean {
    return this.lostAt === undefined
  }

  /** milliseconds; 0 while it is reached */
  get lostFor(): number {
    return this.lostAt === undefined ? 0 : this.clock.monotonic() - this.lostAt
  }

  /** Resolves with the next change, or after `ms`. One waiter at a time. */
  async wait(ms: number, signal: AbortSignal): Promise<void> {
    await this.changed.wait(this.clock, ms, signal)
  }
}

/**
 * Resolves when this daemon is to share in a pool's images: it reaches the remote cluster, or nobody leads the pool.
 * @param io local, default namespace
 */
export async function untilNeeded(reach: RemoteReach, io: IoCtx, signal: AbortSignal): Promise<void> {
  // whoever has just given the lead away leaves others the time to take it
  for (let free = 0; !reach.reached && free < 2; ) {
    free = (await isLed(io)) ? 0 : free + 1
    await reach.wait(LOOK_MS, signal)
  }
}

async function isLed(io: IoCtx): Promise<boolean> {
  try {
    const found = await ifThere(findLocker(io, RBD_MIRROR_LEADER))
    if (found === undefined || found === 'free') return false
    if (found === 'foreign') return true
    const watchers = (await ifThere(io.listWatchers(RBD_MIRROR_LEADER))) ?? []
    return watchers.some(({ cookie, clientId }) => cookie === found.handle && clientId === found.clientId)
  } catch (error) {
    if (isErrno(error, EBLOCKLISTED)) throw error
    return true // the local cluster does not answer: nothing is to be led
  }
}

/**
 * Resolves when the images are better off with the other daemons: this one has not reached the remote cluster for as long as a leader may be
 * silent, and they go on to share in the images, which they do not without reaching it.
 */
export async function untilUnfit(reach: RemoteReach, options: MirrorOptions, clock: Clock, others: () => boolean, signal: AbortSignal): Promise<void> {
  const { leaderHeartbeatInterval, leaderMaxMissedHeartbeats, leaderMaxAcquireAttemptsBeforeBreak } = options
  const limitMs = leaderHeartbeatInterval * leaderMaxMissedHeartbeats * leaderMaxAcquireAttemptsBeforeBreak * 1000
  while (reach.lostFor < limitMs || !others()) await delay(clock, LOOK_MS, signal)
}
