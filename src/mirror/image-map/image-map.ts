import { isCancelled } from '../../base/cancelled.ts'
import { delay, type Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { Notifier } from '../../base/notifier.ts'
import { Scope } from '../../base/scope.ts'
import { EBLOCKLISTED, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import type { MirrorOptions } from '../options.ts'
import { ImageMapPolicy, type MapTask } from './policy.ts'
import { loadImageMap, writeImageMap } from './store.ts'

/** Before a task that failed is tried again. */
const RETRY_MS = 1_000

export interface ImageMapOptions {
  /** local, of the namespace */
  readonly io: IoCtx
  /** our own instance id */
  readonly self: string
  readonly options: MirrorOptions
  readonly clock: Clock
  readonly log: Log
  /** Asks a daemon to acquire or release an image. Rejects when it is gone, or could not do it. */
  ask(instanceId: string, action: 'acquire' | 'release', globalImageId: string, signal: AbortSignal): Promise<void>
  /** What a former leader has left is known. */
  onLoaded(): void
}

/** The leader's part of a namespace: which daemon has which image, kept in `rbd_mirror_leader`, and the daemons told of it (tools/rbd_mirror/ImageMap.cc). */
export class ImageMap {
  private readonly policy: ImageMapPolicy
  private readonly notifier = new Notifier()
  private loaded = false
  private joined: string[] = []
  private known: ReadonlySet<string> | undefined
  /** daemons that could not do what they were asked for, so that each is told of once */
  private readonly failing = new Set<string>()

  constructor(private readonly options: ImageMapOptions) {
    const { self, clock } = options
    const migrationThrottle = () => options.options.imagePolicyMigrationThrottle
    this.policy = new ImageMapPolicy({ self, now: () => clock.now(), migrationThrottle })
  }

  /** The images that there are, as far as is known. */
  get imageIds(): string[] {
    return this.policy.imageIds
  }

  instanceOf(globalImageId: string): string | undefined {
    return this.policy.lookup(globalImageId)?.instanceId
  }

  /** Images that there are; what is known of others stays as it is. */
  add(globalImageIds: ReadonlySet<string>): void {
    if (!this.loaded) return void (this.known = globalImageIds)
    for (const id of globalImageIds) this.policy.addImage(id)
    this.notifier.wake()
  }

  remove(globalImageId: string): void {
    this.policy.removeImage(globalImageId)
    this.notifier.wake()
  }

  addInstances(ids: readonly string[]): void {
    if (!this.loaded) return void this.joined.push(...ids)
    this.policy.addInstances(this.eligible(ids))
    this.notifier.wake()
  }

  removeInstances(ids: readonly string[]): void {
    this.joined = this.joined.filter((id) => !ids.includes(id))
    this.policy.removeInstances(ids)
    this.notifier.wake()
  }

  private eligible(ids: readonly string[]): string[] {
    const { options, self } = this.options
    return options.imagePolicyType === 'none' ? ids.filter((id) => id === self) : [...ids]
  }

  /**
   * Until the signal is aborted; what was asked of daemons is no longer waited for then. Rejects when the connection is blocklisted.
   * @param alive daemons that may be living
   */
  async run(alive: () => readonly string[], signal: AbortSignal): Promise<void> {
    const { self } = this.options
    await this.load(alive, signal)
    this.policy.addInstances(this.eligible([self, ...this.joined]))
    this.loaded = true
    if (this.known) this.add(this.known)
    this.options.onLoaded()
    const scope = new Scope(signal)
    try {
      await this.work(scope)
    } finally {
      await scope.close()
    }
  }

  private async load(alive: () => readonly string[], signal: AbortSignal): Promise<void> {
    const { io, clock, log, self } = this.options
    for (;;) {
      try {
        const map = await loadImageMap(io)
        signal.throwIfAborted()
        return this.policy.load(map, new Set([self, ...this.eligible(alive())]))
      } catch (error) {
        if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
        log.warn({ err: error }, 'cannot load the image map')
        await delay(clock, RETRY_MS, signal)
      }
    }
  }

  private async work(scope: Scope): Promise<void> {
    const { clock, options } = this.options
    let writableAt = 0
    let busyAt = clock.monotonic()
    for (;;) {
      const mayWrite = this.policy.alone || clock.monotonic() >= writableAt
      const tasks = this.policy.take(mayWrite)
      const writes = tasks.filter(({ action }) => action === 'update' || action === 'remove')
      for (const task of tasks) if (!writes.includes(task)) scope.spawn(`${task.action} ${task.globalImageId}`, (stop) => this.ask(task, stop))
      if (writes.length > 0) {
        await this.write(writes, scope)
        writableAt = clock.monotonic() + options.imagePolicyUpdateThrottleInterval * 1000
      }
      if (tasks.length > 0 || !this.policy.idle) busyAt = clock.monotonic()
      if (writes.length > 0) continue // what follows from it
      await this.notifier.wait(clock, this.waitMs(mayWrite ? undefined : writableAt, busyAt), scope.signal)
      if (this.rebalance(busyAt)) busyAt = clock.monotonic()
    }
  }

  /** @param writableAt when the map may be written again, if that is waited for */
  private waitMs(writableAt: number | undefined, busyAt: number): number | undefined {
    const { clock, options } = this.options
    const { nextBalance, idle, alone } = this.policy
    const waits: number[] = []
    if (writableAt !== undefined) waits.push(writableAt - clock.monotonic())
    if (idle && !alone) {
      if (nextBalance !== undefined) waits.push(nextBalance - clock.now())
      if (options.imagePolicyRebalanceTimeout > 0) waits.push(busyAt + options.imagePolicyRebalanceTimeout * 1000 - clock.monotonic())
    }
    return waits.length === 0 ? undefined : Math.max(0, Math.min(...waits))
  }

  private rebalance(busyAt: number): boolean {
    const { clock, options } = this.options
    if (!this.policy.idle || this.policy.alone) return false
    const { nextBalance } = this.policy
    const timeoutMs = options.imagePolicyRebalanceTimeout * 1000
    const idleLong = timeoutMs > 0 && clock.monotonic() - busyAt >= timeoutMs
    if (!idleLong && (nextBalance === undefined || clock.now() < nextBalance)) return false
    this.policy.balance()
    return true
  }

  private async write(tasks: readonly MapTask[], scope: Scope): Promise<void> {
    const { io, log } = this.options
    try {
      await writeImageMap(io, tasks)
      for (const { globalImageId } of tasks) this.policy.finish(globalImageId, true)
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      log.warn({ err: error, images: tasks.length }, 'cannot write the image map')
      scope.spawn('retry', (stop) => this.retry(tasks, stop))
    }
  }

  private async ask(task: MapTask, signal: AbortSignal): Promise<void> {
    const { globalImageId, instanceId } = task
    const action = task.action as 'acquire' | 'release'
    try {
      await this.options.ask(instanceId, action, globalImageId, signal)
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      signal.throwIfAborted()
      if (this.policy.isDead(instanceId)) this.policy.finish(globalImageId, false)
      else {
        this.options.log[this.failing.has(instanceId) ? 'debug' : 'warn']({ err: error, globalImageId, instanceId }, `cannot have a daemon ${action} an image`)
        this.failing.add(instanceId)
        await this.retry([task], signal)
      }
      return this.notifier.wake()
    }
    this.failing.delete(instanceId)
    this.policy.finish(globalImageId, true)
    this.notifier.wake()
  }

  private async retry(tasks: readonly MapTask[], signal: AbortSignal): Promise<void> {
    await delay(this.options.clock, RETRY_MS, signal)
    for (const { globalImageId } of tasks) this.policy.finish(globalImageId, false)
    this.notifier.wake()
  }
}
