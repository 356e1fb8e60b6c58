import { delay, type Clock } from '../base/clock.ts'
import type { MirrorOptions } from './options.ts'

const LOOK_MS = 1_000

/**
 * Rejects when this process has stood still for so long that others may have taken over what it did: whatever it was about to do is
 * called off, and it begins anew.
 */
export async function failOnStall(options: MirrorOptions, clock: Clock, signal: AbortSignal): Promise<void> {
  for (let last = clock.monotonic(); ; last = clock.monotonic()) {
    await delay(clock, LOOK_MS, signal)
    const gapMs = clock.monotonic() - last - LOOK_MS
    const { leaderHeartbeatInterval, leaderMaxMissedHeartbeats, leaderMaxAcquireAttemptsBeforeBreak } = options
    const limitMs = leaderHeartbeatInterval * (leaderMaxMissedHeartbeats * leaderMaxAcquireAttemptsBeforeBreak - 1) * 1000
    if (gapMs >= Math.max(limitMs, LOOK_MS)) throw new Error(`this process stood still for ${Math.round(gapMs / 1000)} s: others may have taken over`)
  }
}
