import { abortable, isCancelled } from '../base/cancelled.ts'
import { delay, type Clock } from '../base/clock.ts'
import { KeyedMutex } from '../base/keyed-mutex.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import type { Cluster } from '../rados/cluster.ts'
import { Errno, isErrno, RadosError } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import type { HeaderWatcher } from './header-watcher.ts'
import type { LockAnswer, LockPolicy, OperationRequestType } from './lock-policy.ts'
import * as managed from './managed-lock.ts'

/** A silent owner, or one that promised to let go, is asked again after so long (client_notify_timeout). */
const askAgainMs = 10_000
/** After a refusal by an error, or by an owner that has a watch but no voice. */
const retryMs = 1000
/** How long a peer that has asked for the lock may take to get it before we want it back. */
const giveWayMs = 1000

export interface ExclusiveLockHost {
  io: IoCtx
  cluster: Cluster
  /** the header object */
  oid: string
  clock: Clock
  log: Log
  watcher: HeaderWatcher
  policy: LockPolicy
  /** The lock is held: read the header if it has changed, and load the object map. A failure gives the lock back. */
  acquired(): Promise<void>
  /** The lock is about to be given back: finish writing, and close the object map. */
  releasing(): Promise<void>
}

/**
 *     unlocked → acquiring → locked → releasing → unlocked
 *                                 ↘ unlocked (lost)         any → closed
 */
type State =
  | { type: 'unlocked' }
  | { type: 'acquiring' }
  | { type: 'locked'; cookie: string }
  | { type: 'releasing'; cookie: string }
  | { type: 'closed' }

/**
 * An image's exclusive lock as librbd keeps it (librbd/ManagedLock.cc, ExclusiveLock.cc): class `lock` on the header, cookie
 * `auto <watch>`, so that whoever finds the owner's watch gone may break it; peers ask for it by notification.
 */
export class ExclusiveLock {
  private state: State = { type: 'unlocked' }
  private readonly actions = new KeyedMutex()
  private readonly peerSpoke = new Notifier()
  private readonly lostListeners = new Set<(error: Error) => void>()
  private users = 0
  /** monotonic: until then the lock is for a peer that has asked for it, however busy we are */
  private giveWayUntil = 0
  /** `acquire` was called, and neither `release` nor a loss since: nobody who borrows the lock for an operation gives it back */
  wanted = false
  private idle: (() => void)[] = []
  /** notifications that peers have not answered yet */
  private readonly telling = new Set<Promise<void>>()

  constructor(private readonly host: ExclusiveLockHost) {}

  get owned(): boolean {
    return this.state.type === 'locked' || this.state.type === 'releasing'
  }

  /** Called when the lock is lost without having been given back. Returns the function that ends it. */
  onLost(listener: (error: Error) => void): () => void {
    this.lostListeners.add(listener)
    return () => this.lostListeners.delete(listener)
  }

  /**
   * Waits until the lock is ours, asking its owner for it. `refused`: a living owner keeps it. Rejects with RadosError, and
   * with the signal's reason. With `keep` no operation gives it back, only `release` or a peer's request.
   */
  acquire({ signal, keep = true }: { signal?: AbortSignal | undefined; keep?: boolean } = {}): Promise<'acquired' | 'refused'> {
    return abortable(this.actions.run('acquire', () => this.ask(keep, signal)), signal)
  }

  private async ask(keep: boolean, signal: AbortSignal | undefined): Promise<'acquired' | 'refused'> {
    const { clock, watcher, log, oid } = this.host
    for (;;) {
      signal?.throwIfAborted()
      while (clock.monotonic() < this.giveWayUntil) await this.peerSpoke.wait(clock, giveWayMs, signal)
      const result = await this.take(keep, signal)
      if (result === 'acquired') return result
      if (result === 'foreign') return 'refused'
      let waitMs = retryMs
      try {
        const answer = await watcher.requestLock()
        if (answer?.errno === Errno.EROFS) return 'refused'
        if (answer?.errno === 0) waitMs = askAgainMs
        else log.debug({ oid, answer: answer?.errno }, 'lock owner did not promise to release its lock')
      } catch (error) {
        if (!isErrno(error, Errno.ETIMEDOUT, Errno.EINVAL)) throw error
        log.debug({ oid, error: String(error) }, 'lock not requested')
      }
      await this.peerSpoke.wait(clock, waitMs, signal)
    }
  }

  /** Takes the lock if nobody alive has it. `foreign`: it is held by other means than librbd's, e.g. by `rbd lock add`. */
  tryAcquire(signal?: AbortSignal): Promise<'acquired' | 'busy' | 'foreign'> {
    return this.take(false, signal)
  }

  private take(keep: boolean, signal: AbortSignal | undefined): Promise<'acquired' | 'busy' | 'foreign'> {
    return this.actions.run('lock', async () => {
      if (this.state.type === 'closed') throw this.error('acquire lock (image closed)', Errno.ESHUTDOWN)
      if (this.state.type !== 'locked') {
        const cookie = managed.lockCookie(await this.host.watcher.ready(signal))
        this.state = { type: 'acquiring' }
        try {
          const taken = await this.takeFromDead(cookie)
          if (taken !== 'acquired') return taken
          await this.afterAcquire(cookie)
        } finally {
          if (this.state.type === 'acquiring') this.state = { type: 'unlocked' }
        }
      }
      // before anybody else's turn, who may be about to give it back
      this.wanted ||= keep
      return 'acquired'
    })
  }

  /** Gives the lock back after everything that uses it has ended. Nothing to do when it is not ours. */
  release(): Promise<void> {
    return this.actions.run('lock', () => this.releaseNow())
  }

  /** Gives the lock back and takes it no more. */
  close(): Promise<void> {
    this.giveWay(0)
    return this.actions.run('lock', async () => {
      try {
        await this.releaseNow()
      } finally {
        this.state = { type: 'closed' }
      }
      await Promise.all(this.telling)
    })
  }

  /** Runs `task` while the lock is ours; a release waits for it. Rejects with ERESTART when the lock is not ours, or no longer. */
  async use<T>(task: () => Promise<T>): Promise<T> {
    if (this.state.type !== 'locked') throw this.error('use of a lock that is not ours', Errno.ERESTART)
    this.users++
    try {
      return await task()
    } finally {
      if (--this.users === 0) {
        const idle = this.idle
        this.idle = []
        for (const resume of idle) resume()
      }
    }
  }

  /** For the header watcher: a peer said something about the lock. */
  peerNotified(): void {
    this.giveWay(0)
  }

  private giveWay(until: number): void {
    this.giveWayUntil = until
    this.peerSpoke.wake()
  }

  /** For the header watcher: what to answer a peer that wants the lock. */
  lockRequested(force: boolean): number | undefined | Promise<number> {
    if (!this.owned) return undefined
    if (this.state.type !== 'locked') return 0
    const decision = this.host.policy.lockRequested(force)
    return decision instanceof Promise ? decision.then((decided) => this.answerRequest(decided)) : this.answerRequest(decision)
  }

  private answerRequest(decision: LockAnswer): number {
    if (decision !== 'release') return decision
    // it was given back meanwhile
    if (this.state.type !== 'locked') return 0
    const { clock, oid, log } = this.host
    this.giveWay(Infinity)
    this.release()
      .catch((error: unknown) => log.error({ oid, error: String(error) }, 'lock not released for a peer'))
      .finally(() => this.giveWay(this.giveWayUntil === 0 ? 0 : clock.monotonic() + giveWayMs))
    return 0
  }

  /** For the header watcher: what to answer a peer that wants something done. */
  acceptsOperation(type: OperationRequestType): 'accept' | number | undefined {
    return this.state.type === 'locked' ? this.host.policy.operationRequested(type) : undefined
  }

  /** For the header watcher: the watch has a new cookie, and so must the lock have. */
  rewatched(): Promise<void> {
    this.peerSpoke.wake()
    return this.actions.run('lock', async () => {
      if (this.state.type !== 'locked') return
      const { oid, watcher, log } = this.host
      const from = this.state.cookie
      try {
        const to = managed.lockCookie(await watcher.ready())
        if (to !== from) await this.follow(from, to)
        // the watch may be gone for good meanwhile, and the lock with it
        if (!this.owned) return
        this.state = { type: 'locked', cookie: to }
        this.tell(() => watcher.notifyLockAcquired())
      } catch (error) {
        if (isCancelled(error)) throw error
        log.warn({ oid, error: String(error) }, 'exclusive lock lost')
        this.lose(error instanceof Error ? error : new Error(String(error)))
      }
    })
  }

  /**
   * Until it is known whether the lock is ours: one that we believed lost would be ours all the same, with a watch that keeps it from everybody
   * else, and what is under way would go on without an object map.
   */
  private async follow(from: string, to: string): Promise<void> {
    const { io, oid, clock, cluster, log } = this.host
    while (this.owned) {
      try {
        return await managed.changeCookie(io, oid, from, to, cluster.instanceId)
      } catch (error) {
        if (!isErrno(error, Errno.ETIMEDOUT)) throw error
        log.debug({ oid, error: error.message }, 'unknown whether the exclusive lock follows its watch')
        await delay(clock, retryMs)
      }
    }
  }

  /** For the header watcher: there will be no watch any more, so that any peer may break the lock. */
  lost(error: Error): void {
    this.peerSpoke.wake()
    if (this.owned) this.lose(error)
  }

  /**
   *     take ─ free → ours
   *       └ held by X ─ X's watch is there → busy
   *                   └ gone → blocklist X → break → take
   */
  private async takeFromDead(cookie: string): Promise<'acquired' | 'busy' | 'foreign'> {
    const { io, oid, cluster, log } = this.host
    const blocklist = cluster.option('rbd_blocklist_on_break_lock') !== 'false'
    const expireSeconds = Number(cluster.option('rbd_blocklist_expire_seconds') ?? 0)
    for (;;) {
      const locker = await managed.takeLock(io, oid, cookie, cluster.instanceId)
      if (locker === 'acquired' || locker === 'foreign') return locker
      const broken = await managed.breakDeadLock(cluster, io, oid, locker, blocklist ? { expireSeconds } : undefined)
      if (!broken) return 'busy'
      log.info({ oid, owner: locker.entity, address: locker.address }, 'broke the lock of a dead client')
    }
  }

  private async afterAcquire(cookie: string): Promise<void> {
    const { io, oid, watcher, log } = this.host
    try {
      await this.host.acquired()
    } catch (error) {
      await managed.unlock(io, oid, cookie)
      throw error
    }
    this.state = { type: 'locked', cookie }
    log.debug({ oid, cookie }, 'exclusive lock acquired')
    this.tell(() => watcher.notifyLockAcquired())
  }

  private async releaseNow(): Promise<void> {
    if (this.state.type !== 'locked') return
    const { cookie } = this.state
    const { io, oid, watcher, log } = this.host
    this.state = { type: 'releasing', cookie }
    this.wanted = false
    if (this.users > 0) await new Promise<void>((resolve) => this.idle.push(resolve))
    try {
      await this.host.releasing()
      await managed.unlock(io, oid, cookie)
    } finally {
      // also after a failure: what is left of the lock belongs to a watch that is about to go
      if (this.state.type === 'releasing') this.state = { type: 'unlocked' }
    }
    log.debug({ oid, cookie }, 'exclusive lock released')
    this.tell(() => watcher.notifyLockReleased())
  }

  /** Not waited for: a peer that does not answer holds nobody up. */
  private tell(notify: () => Promise<void>): void {
    const told = notify().catch((error: unknown) => {
      this.host.log.debug({ oid: this.host.oid, error: String(error) }, 'peers not told about the lock')
    })
    this.telling.add(told)
    void told.finally(() => this.telling.delete(told))
  }

  private lose(error: Error): void {
    this.wanted = false
    this.state = { type: 'unlocked' }
    for (const listener of [...this.lostListeners]) listener(error)
  }

  private error(op: string, errno: number): RadosError {
    const { clusterName, poolName, namespace } = this.host.io
    return new RadosError(errno, { op, cluster: clusterName, pool: poolName, namespace, oid: this.host.oid })
  }
}
