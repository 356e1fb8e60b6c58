import { Cancelled } from '../base/cancelled.ts'
import type { Clock } from '../base/clock.ts'
import type { ExclusiveLock } from '../rbd/exclusive-lock.ts'
import type { ReplayEnd } from './replayer.ts'

/** A lock that a living client keeps for longer is waited for between the tries of the image, not within one. */
const LOCK_WAIT_MS = 10_000

/** Takes the local image's exclusive lock; undefined when it is ours, else how the replay ends. */
export async function takeImageLock(lock: ExclusiveLock, clock: Clock, signal: AbortSignal): Promise<ReplayEnd | undefined> {
  const tooLong = new AbortController()
  const cancel = clock.setTimer(LOCK_WAIT_MS, () => tooLong.abort(new Cancelled('the lock is not to be had')))
  try {
    if ((await lock.acquire({ signal: AbortSignal.any([signal, tooLong.signal]) })) === 'acquired') return undefined
  } catch (error) {
    if (!tooLong.signal.aborted || signal.aborted) throw error
  } finally {
    cancel()
  }
  return { type: 'transient', reason: 'the exclusive lock is held by another client' }
}
