import { delay, type Clock } from './clock.ts'
import { Scope } from './scope.ts'

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
      await using timer = new Scope(signal)
      const woken = new Promise<void>((resolve) => (this.waiter = resolve))
      const aborted = new Promise<never>((_, reject) => {
        timer.signal.addEventListener('abort', () => reject(timer.signal.reason as Error), { once: true })
      })
      aborted.catch(() => undefined) // settles at the scope's end in any case
      const waits: Promise<void>[] = [woken, aborted]
      if (timeoutMs !== undefined) {
        const timeout = delay(clock, timeoutMs, timer.signal)
        timeout.catch(() => undefined) // the race below hears of a real abort through `aborted`
        waits.push(timeout)
      }
      try {
        await Promise.race(waits)
      } finally {
        this.waiter = undefined
      }
    }
    if (!this.pending) return 'timeout'
    this.pending = false
    return 'woken'
  }
}
