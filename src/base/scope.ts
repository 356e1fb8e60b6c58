import { setMaxListeners } from 'node:events'
import { Cancelled, isCancelled } from './cancelled.ts'

/**
 * Structured concurrency: tasks live in a scope; closing it aborts its signal and awaits them all.
 *
 *     await using scope = new Scope(parentSignal)
 *     scope.spawn('watch pool', (signal) => …)
 *
 * A task that fails (other than by cancellation) is given to `onError`; without one the scope is closed and its `close` rejects with the error.
 */
export class Scope implements AsyncDisposable {
  private readonly controller = new AbortController()
  private readonly tasks = new Set<Promise<void>>()
  private failure: { error: unknown } | undefined
  private readonly detach: () => void

  constructor(
    parent?: AbortSignal,
    private readonly onError?: (error: unknown, task: string) => void,
  ) {
    setMaxListeners(0, this.signal) // as many as there are tasks and child scopes: a thousand is no leak
    const abort = () => this.controller.abort(parent!.reason)
    if (parent?.aborted) abort()
    else parent?.addEventListener('abort', abort, { once: true })
    this.detach = () => parent?.removeEventListener('abort', abort)
  }

  get signal(): AbortSignal {
    return this.controller.signal
  }

  get size(): number {
    return this.tasks.size
  }

  /** Starts `task` at once; a scope that is closing starts nothing. */
  spawn(name: string, task: (signal: AbortSignal) => Promise<void>): void {
    if (this.signal.aborted) return
    const running = (async () => {
      try {
        await task(this.signal)
      } catch (error) {
        if (isCancelled(error) && this.signal.aborted) return
        if (this.onError) return this.onError(error, name)
        this.failure ??= { error }
        this.cancel()
      }
    })()
    this.tasks.add(running)
    void running.finally(() => this.tasks.delete(running))
  }

  /** Aborts the signal without waiting. */
  cancel(reason = 'scope closed'): void {
    if (!this.signal.aborted) this.controller.abort(new Cancelled(reason))
  }

  /** Aborts, awaits all tasks, and rejects with the first failure that nobody was told of. */
  async close(): Promise<void> {
    this.cancel()
    while (this.tasks.size > 0) await Promise.all(this.tasks)
    this.detach()
    const failure = this.failure
    this.failure = undefined
    if (failure) throw failure.error
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
