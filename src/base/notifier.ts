import type { Clock } from './clock.ts'

/** A level-triggered wake-up: any number of `wake` calls before a `wait` count as one, and none is lost. */
export class Notifier {
  private pending = false
  private waiter: (() => void) | undefined

  wake(): void {
    this.pending = true
    this.waiter?.()
  }

  /** Resolves with 'woken' at the next (or an unseen earlier) wake, or with 'timeout' after `timeoutMs`. One waiter at a time. */
  async wait(clock: Clock, timeoutMs: number | undefined, signal?: AbortSignal): Promise<'woken' | 'timeout'> {
    signal?.throwIfAborted()
    if (!this.pending) {
      await new Promise<void>((resolve, reject) => {
        const stop = () => {
          this.waiter = undefined
          cancelTimer?.()
          signal?.removeEventListener('abort', onAbort)
        }
        const end = () => {
          stop()
          resolve()
        }
        const onAbort = () => {
          stop()
          reject(signal!.reason as Error)
        }
        const cancelTimer = timeoutMs === undefined ? undefined : clock.setTimer(timeoutMs, end)
        this.waiter = end
        signal?.addEventListener('abort', onAbort, { once: true })
      })
    }
    if (!this.pending) return 'timeout'
    this.pending = false
    return 'woken'
  }
}
