import { setMaxListeners } from 'node:events'
import { Cancelled, isCancelled } from '../base/cancelled.ts'
import { delay, type Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import type { Random } from '../base/random.ts'
import { Scope } from '../base/scope.ts'
import type { Semaphore } from '../base/semaphore.ts'
import type { ImageMetrics } from '../observability/metrics.ts'
import { EBLOCKLISTED, isErrno } from '../rados/errors.ts'
import type { Commanded } from './admin-commands.ts'
import { NotConfirmed } from './confirm-gone.ts'
import type { ImageContext, ReplayProgress } from './image-context.ts'
import { STARTING, STOPPED, STOPPING, replayingDescription, statusOfEnd, type ImageStatus } from './image-status.ts'
import type { MirrorOptions } from './options.ts'
import type { Bootstrap, ReplayEnd, Replayer } from './replayer.ts'
import { afterEnd, RetryPolicy } from './retry-policy.ts'

export type ImageReplayerState =
  | { type: 'stopped'; manual: boolean; end: ReplayEnd | undefined }
  | { type: 'starting' }
  | { type: 'replaying'; replayer: Replayer }
  | { type: 'stopping' }

const transitions: Record<ImageReplayerState['type'], readonly ImageReplayerState['type'][]> = {
  stopped: ['stopped', 'starting'],
  starting: ['replaying', 'stopping', 'stopped'],
  replaying: ['stopping', 'stopped'],
  stopping: ['stopped'],
}

export function mayFollow(from: ImageReplayerState['type'], to: ImageReplayerState['type']): boolean {
  return transitions[from].includes(to)
}

const stateNames = { stopped: 'Stopped', starting: 'Starting', replaying: 'Replaying', stopping: 'Stopping' } as const

/** Progress is published at most this often, unless the state changes. */
const PROGRESS_INTERVAL_MS = 1_000
/** A replay that went well for so long is tried again soon after it has failed. */
const LONG_ATTEMPT_MS = 10_000

export interface ImageReplayerOptions {
  readonly context: Omit<ImageContext, 'report'>
  readonly bootstrap: Bootstrap
  /** how many images may start at once */
  readonly starts: Semaphore
  readonly options: MirrorOptions
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly metrics: ImageMetrics
  /** a replayer that an operator stopped before, as a whole */
  readonly startStopped: boolean
  /** the status as it is to be published now */
  onStatus(status: ImageStatus): void
  onName(name: string): void
  /** Watches the headers of both images until the signal is aborted; `onChange` is also called when a lost watch stands again. */
  watchDemoted(onChange: () => void, signal: AbortSignal): Promise<void>
  /** Moves the local image to the trash. */
  trashMove(resync: boolean): Promise<void>
}

type Intent = 'run' | 'stop'

/**
 * One image's life: bootstrap, replay, and what follows from its end, again and again until it is told to stop.
 *
 *     stopped ──▶ starting ──▶ replaying ──▶ stopping ──▶ stopped ──(wake, retry time, operator)──▶ starting …
 */
export class ImageReplayer implements Commanded {
  private state: ImageReplayerState
  private intent: Intent
  private readonly notifier = new Notifier()
  private attempt: AbortController | undefined
  private demotedWatch: Scope | undefined
  private published: ImageStatus | undefined
  /** whose status was published last of all ends */
  private shownEnd: ReplayEnd['type'] | undefined
  private progress: ImageStatus | undefined
  /** why the local image was not moved to the trash, the last time */
  private keptBecause: string | undefined
  private lastProgressAt = -Infinity
  private cancelProgress: (() => void) | undefined
  private readonly idle = new Set<() => void>()
  /** `POOL/[NS/]IMAGE`, with the global image id as long as the name is not known */
  name: string

  constructor(private readonly options: ImageReplayerOptions) {
    this.intent = options.startStopped ? 'stop' : 'run'
    this.state = { type: 'stopped', manual: options.startStopped, end: undefined }
    this.name = this.specOf(options.context.globalImageId)
  }

  get globalImageId(): string {
    return this.options.context.globalImageId
  }

  get isStoppedByOperator(): boolean {
    return this.intent === 'stop'
  }

  /** The last status that was published. */
  get lastStatus(): ImageStatus | undefined {
    return this.published
  }

  status(): { name: string; state: string } {
    return { name: this.name, state: stateNames[this.state.type] }
  }

  start(): void {
    this.intent = 'run'
    this.notifier.wake()
  }

  /** Sticks until `start` or `restart`. */
  stop(): Promise<void> {
    this.intent = 'stop'
    this.interrupt()
    return this.stopped()
  }

  async restart(): Promise<void> {
    this.intent = 'run'
    this.interrupt()
    await this.stopped()
    this.notifier.wake()
  }

  async flush(): Promise<void> {
    if (this.state.type !== 'replaying') return
    await this.state.replayer.flush()
    this.publishProgress()
  }

  /** Something changed in this image's mirroring: an image that is not replaying is looked at again at once. */
  wake(): void {
    this.notifier.wake()
  }

  /** What is being replayed is no longer what it was (the remote entry is gone): look at everything again. */
  reconsider(): void {
    if (this.state.type === 'replaying') this.interrupt()
    this.notifier.wake()
  }

  private interrupt(): void {
    this.attempt?.abort(new Cancelled('image replayer interrupted'))
    this.notifier.wake()
  }

  private stopped(): Promise<void> {
    if (this.state.type === 'stopped') return Promise.resolve()
    return new Promise((resolve) => this.idle.add(resolve))
  }

  private specOf(name: string): string {
    const { io } = this.options.context.local
    return [io.poolName, ...(io.namespace === '' ? [] : [io.namespace]), name].join('/')
  }

  private enter(state: ImageReplayerState): void {
    if (!mayFollow(this.state.type, state.type)) throw new Error(`image replayer: ${this.state.type} can't become ${state.type}`)
    this.state = state
    if (state.type !== 'stopped') return
    for (const resolve of this.idle) resolve()
    this.idle.clear()
  }

  private publish(status: ImageStatus): void {
    this.cancelProgress?.()
    this.cancelProgress = undefined
    this.published = status
    this.options.metrics.setState(status.state, status.description)
    this.options.onStatus(status)
  }

  /**
   * Lives until the signal is aborted, or until the image is gone on both sides (then it resolves).
   * Rejects when the local connection is blocklisted.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, options, random } = this.options
    const retry = new RetryPolicy(random, options)
    let lastTold: string | undefined
    if (this.intent === 'stop') this.publish(STOPPED)
    try {
      for (;;) {
        if (this.intent === 'stop') {
          await this.notifier.wait(clock, undefined, signal)
          continue
        }
        const startedAt = clock.monotonic()
        const end = await this.attemptOnce(signal)
        if (clock.monotonic() - startedAt > LONG_ATTEMPT_MS) {
          retry.reset()
          lastTold = undefined
        }
        if (signal.aborted) throw signal.reason
        if (end.type === 'stopped') {
          lastTold = undefined
          continue
        }
        lastTold = this.tell(end, lastTold)
        if (end.type === 'remoteDemoted') this.watchDemoted(signal)
        else if (end.type !== 'remoteNotPrimary') await this.unwatchDemoted() // that is what a demoted one looks like from now on
        const next = afterEnd(end)
        if (next === 'finish') return
        if (next === 'again') continue
        if (next === 'delete' || next === 'resync') {
          if (await this.trashMove(next === 'resync')) {
            retry.reset()
            if (end.type === 'localIncomplete') await delay(clock, retry.anewMs(clock.monotonic()), signal)
            if (next === 'resync') continue
            return
          }
        }
        const woken = await this.notifier.wait(clock, retry.waitMs(end), signal)
        if (woken === 'woken') retry.reset()
      }
    } catch (error) {
      if (!isCancelled(error)) throw error
    } finally {
      this.cancelProgress?.()
      await this.unwatchDemoted()
    }
  }

  /** An image that is looked at again and again ends the same way each time: once is enough to tell. Returns what to compare the next with. */
  private tell(end: ReplayEnd, lastTold: string | undefined): string {
    const error = end.type === 'failed' ? end.error : undefined
    const { state, description } = statusOfEnd(end)
    const told = `${end.type}: ${description}: ${error instanceof Error ? error.message : ''}`
    const level = told === lastTold ? 'debug' : end.type === 'failed' ? 'warn' : 'info'
    this.options.log[level]({ end: end.type, state, description, ...(error !== undefined && { err: error }) }, 'replay ended')
    return told
  }

  /** A promotion tells nobody but the image's own watchers: an image whose primary was demoted is looked at again when either side changes. */
  private watchDemoted(signal: AbortSignal): void {
    if (this.demotedWatch) return
    this.demotedWatch = new Scope(signal, (error) => this.options.log.debug({ err: error }, 'a demoted image is no longer watched'))
    this.demotedWatch.spawn('demoted image', (stop) => this.options.watchDemoted(() => this.notifier.wake(), stop))
  }

  private async unwatchDemoted(): Promise<void> {
    const watch = this.demotedWatch
    this.demotedWatch = undefined
    await watch?.close()
  }

  /** The status that stays in the clusters when this replayer goes and the image does not. */
  publishStopped(): void {
    const lasting = ['error', 'stopped', 'unknown']
    // what kept a replay from going on is no longer known when nobody tries
    const passing = this.published?.state === 'error' && (this.shownEnd === 'failed' || this.shownEnd === 'transient')
    if (!this.published || passing || !lasting.includes(this.published.state)) this.publish(STOPPED)
  }

  private async attemptOnce(signal: AbortSignal): Promise<ReplayEnd> {
    const attempt = new AbortController()
    this.attempt = attempt
    const stop = attempt.signal
    setMaxListeners(0, stop)
    const onAbort = () => attempt.abort(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    this.progress = undefined
    this.enter({ type: 'starting' })
    // an image that ended before and is merely looked at again keeps its status, so that it does not flap
    if (this.published === undefined || this.published === STOPPED) this.publish(STARTING)
    let end: ReplayEnd
    try {
      end = await this.bootstrapAndReplay(stop)
    } catch (error) {
      if (stop.aborted) end = { type: 'stopped' }
      else if (isErrno(error, EBLOCKLISTED)) throw error
      else {
        end = { type: 'failed', description: 'replay failed', error }
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.attempt = undefined
    }
    if (stop.aborted && end.type !== 'resyncRequested' && end.type !== 'remoteGone') end = { type: 'stopped' }
    this.enter({ type: 'stopped', manual: this.intent === 'stop', end })
    if (!signal.aborted) {
      this.shownEnd = end.type
      this.publish(end.type === 'stopped' ? STOPPED : statusOfEnd(end))
    }
    return end
  }

  private async bootstrapAndReplay(stop: AbortSignal): Promise<ReplayEnd> {
    const context: ImageContext = { ...this.options.context, report: (progress) => this.report(progress) }
    const release = await this.options.starts.acquire(1, stop)
    let started
    try {
      started = await this.options.bootstrap(context, stop)
    } finally {
      release()
    }
    if (started.type !== 'replay') return started
    await this.unwatchDemoted() // the replayer watches it itself
    this.enter({ type: 'replaying', replayer: started.replayer })
    const onStop = () => {
      if (this.state.type !== 'replaying') return
      this.enter({ type: 'stopping' })
      this.publish(STOPPING)
    }
    if (stop.aborted) onStop()
    else stop.addEventListener('abort', onStop, { once: true })
    try {
      return await started.replayer.run(stop)
    } finally {
      stop.removeEventListener('abort', onStop)
    }
  }

  private async trashMove(resync: boolean): Promise<boolean> {
    try {
      await this.options.trashMove(resync)
      this.keptBecause = undefined
      return true
    } catch (error) {
      if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
      const message = error instanceof Error ? error.message : String(error)
      this.options.log[message === this.keptBecause ? 'debug' : 'warn']({ err: error, resync }, 'cannot move the local image to the trash')
      this.keptBecause = message
      if (error instanceof NotConfirmed) this.publish({ state: 'error', description: message })
      return false
    }
  }

  private report(progress: ReplayProgress): void {
    switch (progress.type) {
      case 'name': {
        const name = this.specOf(progress.name)
        if (name === this.name) return
        this.name = name
        this.options.metrics.setName(progress.name)
        return this.options.onName(progress.name)
      }
      case 'syncing':
        if (this.state.type !== 'starting') return
        this.progress = { state: 'syncing', description: progress.description }
        break
      case 'replaying':
        if (this.state.type !== 'replaying') return
        this.progress = { state: 'replaying', description: replayingDescription({ ...progress.description, ...this.findings() }) }
        break
    }
    const { clock } = this.options
    const due = this.lastProgressAt + PROGRESS_INTERVAL_MS - clock.monotonic()
    if (due <= 0 || this.published?.state !== this.progress.state) return this.publishProgress()
    this.cancelProgress ??= clock.setTimer(due, () => this.publishProgress())
  }

  /** What a comparison with the primary has found. */
  private findings(): { differing_bytes?: number } {
    const { differingBytes } = this.options.metrics
    return differingBytes ? { differing_bytes: differingBytes } : {}
  }

  private publishProgress(): void {
    const { progress } = this
    if (!progress || (this.state.type !== 'starting' && this.state.type !== 'replaying')) return
    this.lastProgressAt = this.options.clock.monotonic()
    this.publish(progress)
  }
}
