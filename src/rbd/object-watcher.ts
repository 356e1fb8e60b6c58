import { Backoff } from '../base/backoff.ts'
import { abortable, isCancelled } from '../base/cancelled.ts'
import { delay, type Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import { Scope } from '../base/scope.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx, Notification, Watch } from '../rados/io-ctx.ts'

/** How long peers have to answer a notification (librbd/watcher/Notifier.cc). */
export const NOTIFY_TIMEOUT_MS = 5000

const firstRetryMs = 200
const maxRetryMs = 5000

export interface ObjectWatcherHandlers {
  /** Has to acknowledge, also when it throws away the message. */
  onNotify(notification: Notification): void
  /** The watch was lost and has been made anew: whatever was said in between is unknown. */
  onRewatched(): void
  /** The watch is lost for good: this connection is blocklisted or the object is gone. */
  onLost(error: Error): void
}

export interface ObjectWatcherOptions {
  clock: Clock
  random: Random
  log: Log
}

type State =
  | { type: 'watching'; watch: Watch }
  | { type: 'rewatching' }
  | { type: 'lost'; error: Error }
  | { type: 'closed' }

/** A watch on one object that is made anew when it is lost, until the object is gone, this client is blocklisted, or it is closed. */
export class ObjectWatcher {
  private state: State = { type: 'rewatching' }
  private readonly scope = new Scope()
  private waiting: (() => void)[] = []

  private constructor(
    private readonly io: IoCtx,
    readonly oid: string,
    private readonly options: ObjectWatcherOptions,
    private readonly handlers: ObjectWatcherHandlers,
  ) {}

  /** Rejects with RadosError when the first watch can't be made. */
  static async open(io: IoCtx, oid: string, options: ObjectWatcherOptions, handlers: ObjectWatcherHandlers): Promise<ObjectWatcher> {
    const watcher = new ObjectWatcher(io, oid, options, handlers)
    await watcher.startWatching()
    return watcher
  }

  /** The watch's cookie; undefined while there is no watch. */
  get cookie(): bigint | undefined {
    return this.state.type === 'watching' ? this.state.watch.cookie : undefined
  }

  /** Resolves with the cookie as soon as there is a watch; rejects when it is lost for good or closed. */
  async ready(signal?: AbortSignal): Promise<bigint> {
    for (;;) {
      signal?.throwIfAborted()
      switch (this.state.type) {
        case 'watching':
          return this.state.watch.cookie
        case 'lost':
          throw this.state.error
        case 'closed':
          throw new Error(`the watch on ${this.oid} is closed`)
        case 'rewatching':
          await abortable(new Promise<void>((resolve) => this.waiting.push(resolve)), signal)
      }
    }
  }

  async close(): Promise<void> {
    const { state } = this
    this.enter({ type: 'closed' })
    await this.scope.close()
    if (state.type === 'watching') await this.unwatch(state.watch)
  }

  private enter(state: State): void {
    this.state = state
    if (state.type === 'rewatching') return
    const waiting = this.waiting
    this.waiting = []
    for (const resume of waiting) resume()
  }

  /** A watch may be lost before we are told that it is there. */
  private async startWatching(signal?: AbortSignal): Promise<void> {
    const loss: { error?: Error } = {}
    const watch = await this.io.watch(this.oid, {
      onNotify: (notification) => this.handlers.onNotify(notification),
      onError: (error) => {
        if (loss.error) return
        loss.error = error
        this.options.log.warn({ oid: this.oid, error: error.message }, 'watch lost')
        if (this.state.type === 'watching') this.scope.spawn('rewatch', (scope) => this.rewatch(scope))
      },
    })
    if (loss.error || signal?.aborted) await this.unwatch(watch)
    signal?.throwIfAborted()
    if (loss.error) throw loss.error
    this.enter({ type: 'watching', watch })
  }

  private async unwatch(watch: Watch): Promise<void> {
    try {
      await watch.close()
    } catch (error) {
      // it is lost anyway, and the OSD forgets it after its time-out
      this.options.log.debug({ oid: this.oid, error: String(error) }, 'unwatch failed')
    }
  }

  private async rewatch(signal: AbortSignal): Promise<void> {
    if (this.state.type !== 'watching') return
    const lost = this.state.watch
    this.enter({ type: 'rewatching' })
    await this.unwatch(lost)
    const backoff = new Backoff(this.options.random, firstRetryMs, maxRetryMs)
    for (;;) {
      signal.throwIfAborted()
      try {
        await this.startWatching(signal)
        this.handlers.onRewatched()
        return
      } catch (error) {
        if (isCancelled(error)) throw error
        if (isErrno(error, Errno.ENOENT, EBLOCKLISTED)) {
          this.enter({ type: 'lost', error })
          this.handlers.onLost(error)
          return
        }
        const waitMs = backoff.step()
        this.options.log.warn({ oid: this.oid, error: String(error), waitMs }, 'watch not made anew yet')
        await delay(this.options.clock, waitMs, signal)
      }
    }
  }
}
