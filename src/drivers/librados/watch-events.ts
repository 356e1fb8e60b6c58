import { copyFrom } from './memory.ts'
import { afterCallbacks } from './event-queue.ts'
import type { Pointer } from './native.ts'

/** Who hears what librados tells about a watch. */
export interface WatchListener {
  notified(notifyId: bigint, cookie: bigint, notifierId: bigint, payload: Buffer): void
  /** `errno` is positive */
  failed(errno: number): void
}

/** Listeners by the index that librados hands back; indexes are not used again, so that a late callback meets nobody. */
const listeners = new Map<number, WatchListener>()
let nextIndex = 1

export function addWatchListener(listener: WatchListener): number {
  const index = nextIndex++
  listeners.set(index, listener)
  return index
}

export function removeWatchListener(index: number): void {
  listeners.delete(index)
}

/** Runs inside librados' callback: the data is copied because it is gone afterwards. */
export function dispatchNotify(index: number, notifyId: number | bigint, cookie: number | bigint, notifierId: number | bigint, data: Pointer, length: number): void {
  if (!listeners.has(index)) return
  const payload = copyFrom(data, length)
  afterCallbacks(() => listeners.get(index)?.notified(BigInt(notifyId), BigInt(cookie), BigInt(notifierId), payload))
}

export function dispatchWatchError(index: number, _cookie: number | bigint, error: number): void {
  afterCallbacks(() => listeners.get(index)?.failed(Math.abs(error)))
}
