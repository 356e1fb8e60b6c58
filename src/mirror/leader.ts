import { abortable } from '../base/cancelled.ts'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import type { Random } from '../base/random.ts'
import { Scope } from '../base/scope.ts'
import { untilAborted } from '../base/until-aborted.ts'
import { decode, encode } from '../encoding/codec.ts'
import { MalformedInput } from '../encoding/malformed-input.ts'
import type { Cluster } from '../rados/cluster.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx, Notification, NotifyResult } from '../rados/io-ctx.ts'
import { WriteOperation } from '../rados/operation.ts'
import { breakDeadLock, breakLockOf, changeCookie, findLocker, lockCookie, takeLock, unlock, type ManagedLocker } from '../rbd/managed-lock.ts'
import { RBD_MIRROR_LEADER } from '../rbd/names.ts'
import { NOTIFY_TIMEOUT_MS, ObjectWatcher } from '../rbd/object-watcher.ts'
import { LeaderNotify } from './leader-notify.ts'
import type { MirrorOptions } from './options.ts'

/** How often a daemon that stands by looks at the leader's lock. */
const STANDBY_POLL_MS = 1_000
/** Who has not looked for so long, hung or without an answer, cannot say that the leader was silent. */
const BLIND_MS = 5_000
/** The last words before a connection is closed: who is there hears them at once, nobody else is waited for. */
const FAREWELL_TIMEOUT_MS = 1_000
/** A daemon that died without a word holds up the answer to a heartbeat, but not the next one. */
const MAX_HEARTBEATS_IN_FLIGHT = 8

export type LeaderState =
  /** `leader` is undefined while nobody is known to lead */
  | { type: 'standby'; leader: ManagedLocker | undefined }
  | { type: 'acquiring' }
  | { type: 'leading' }
  | { type: 'releasing' }

const transitions: Record<LeaderState['type'], readonly LeaderState['type'][]> = {
  standby: ['standby', 'acquiring'],
  acquiring: ['leading', 'standby'],
  leading: ['releasing'],
  releasing: ['standby'],
}

export function mayFollow(from: LeaderState['type'], to: LeaderState['type']): boolean {
  return transitions[from].includes(to)
}

/** What one look at the lock asks for. */
export type StandbyStep =
  | { type: 'acquire' }
  /** `hung`: its watch stands still */
  | { type: 'break'; owner: ManagedLocker; hung: boolean }
  | { type: 'wait'; leader: ManagedLocker | undefined }

/**
 * @param found who holds the lock
 * @param watching whether that owner's watch still stands: without it the owner is dead
 * @param silent whether that owner has not been heard of for as long as a living leader never is
 */
export function decideStandby(found: ManagedLocker | 'free' | 'foreign', watching: boolean, silent: boolean): StandbyStep {
  if (found === 'free') return { type: 'acquire' }
  if (found === 'foreign') return { type: 'wait', leader: undefined }
  return watching && !silent ? { type: 'wait', leader: found } : { type: 'break', owner: found, hung: watching }
}

export interface LeaderOptions {
  readonly cluster: Cluster
  /** the pool's default namespace */
  readonly io: IoCtx
  readonly options: MirrorOptions
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  onState(state: LeaderState): void
}

/** What happens while we lead. */
export interface LeadingEvents {
  /** instance ids of the daemons that answered a heartbeat */
  onHeard(ids: readonly bigint[]): void
  /** a daemon says that it has gone */
  onLeft(): void
}

/**
 * Which daemon of a pool leads: the one that holds the lock on `rbd_mirror_leader`, as in tools/rbd_mirror/LeaderWatcher.
 *
 *     standby ──lock free, its owner dead or hung──▶ acquiring ──▶ leading ──release, lock lost, stop──▶ releasing ──▶ standby
 *
 * All watch the object: the leader notifies its heartbeats there, and whoever answers them is an instance that it assigns images to.
 */
export class Leader {
  private current: LeaderState = { type: 'standby', leader: undefined }
  private readonly releaseRequests = new Notifier()
  private readonly poke = new Notifier()
  /** the leader that we stand by for, and the monotonic time when it was heard of */
  private heard: { clientId: bigint; at: number } | undefined
  /** monotonic: the last look at the lock */
  private lookedAt = 0
  /** the lock's, while it is ours */
  private cookie = ''
  /** monotonic: after we gave the lead away others get time to take it */
  private notBefore = 0
  private events: LeadingEvents | undefined
  private lost: { error: unknown } | undefined
  /** the others know already that we have gone */
  private parted = false

  constructor(private readonly options: LeaderOptions) {}

  get state(): LeaderState {
    return this.current
  }

  /** Instance id of who leads, as far as is known. */
  get leaderId(): bigint | undefined {
    const { current } = this
    if (current.type === 'standby') return current.leader?.clientId
    return current.type === 'acquiring' ? undefined : this.options.cluster.instanceId
  }

  /** Gives the leadership away; others get time to take it. Nothing happens unless we lead. */
  release(): void {
    if (this.current.type === 'leading') this.releaseRequests.wake()
  }

  /**
   * Stands by and leads in turn until the signal is aborted. `lead` runs while we lead; it is stopped and awaited before the lock is
   * given up. Rejects as `lead` does, and when the connection is blocklisted.
   */
  async run(lead: (leading: (events: LeadingEvents) => void, signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { io, clock, options, random, log } = this.options
    await io.write(RBD_MIRROR_LEADER, new WriteOperation().create(false))
    const watcher = await ObjectWatcher.open(io, RBD_MIRROR_LEADER, { clock, random, log }, {
      onNotify: (notification) => this.onNotify(notification),
      onRewatched: () => this.poke.wake(),
      onLost: (error) => {
        this.lost = { error }
        this.poke.wake()
      },
    })
    let blocklisted = false
    try {
      for (;;) {
        await this.becomeLeader(watcher, signal)
        const end = await this.hold(watcher, lead, signal)
        log.info({ end }, 'no longer leader')
        if (end !== 'lock taken') this.notBefore = clock.monotonic() + options.leaderHeartbeatInterval * options.leaderMaxMissedHeartbeats * 1000
      }
    } catch (error) {
      blocklisted = isErrno(error, EBLOCKLISTED)
      throw error
    } finally {
      if (!blocklisted && !this.parted) await this.farewell('instanceLeft')
      await watcher.close()
    }
  }

  private enter(state: LeaderState): void {
    if (!mayFollow(this.current.type, state.type)) throw new Error(`leader: ${this.current.type} can't become ${state.type}`)
    this.current = state
    this.options.onState(state)
  }

  private onNotify(notification: Notification): void {
    notification.ack()
    if (notification.notifierId === this.options.cluster.instanceId) return
    let message: LeaderNotify
    try {
      message = decode(LeaderNotify, notification.payload, 'notification of a leader')
    } catch (error) {
      if (!(error instanceof MalformedInput)) throw error
      return this.options.log.warn({ err: error }, 'cannot read a leader’s notification')
    }
    if (message.type === 'heartbeat') {
      if (this.heard?.clientId === notification.notifierId) this.heard.at = this.options.clock.monotonic()
    } else if (message.type === 'instanceLeft') this.events?.onLeft()
    else if (message.type !== 'unknown') this.poke.wake()
  }

  private async becomeLeader(watcher: ObjectWatcher, signal: AbortSignal): Promise<void> {
    const { cluster, io, clock, options, log } = this.options
    for (;;) {
      signal.throwIfAborted()
      if (this.lost) throw this.lost.error
      const step = await this.look()
      if (step.type === 'break') {
        const { owner, hung } = step
        log.warn({ owner: owner.entity, address: owner.address, hung }, 'breaking the lock of a leader that is gone')
        const fence = { expireSeconds: options.blocklistExpireSeconds }
        await (hung ? breakLockOf : breakDeadLock)(cluster, io, RBD_MIRROR_LEADER, owner, fence)
      } else if (step.type === 'acquire' && clock.monotonic() >= this.notBefore) {
        if (await this.acquire(watcher)) return
      } else {
        const leader = step.type === 'wait' ? step.leader : undefined
        if (leader) this.notBefore = 0 // somebody has taken it
        const known = this.current.type === 'standby' ? this.current.leader?.clientId : undefined
        if (known !== leader?.clientId) this.enter({ type: 'standby', leader })
        await this.poke.wait(clock, STANDBY_POLL_MS, signal)
      }
    }
  }

  private async look(): Promise<StandbyStep> {
    const { io } = this.options
    const found = await findLocker(io, RBD_MIRROR_LEADER)
    if (found === 'free' || found === 'foreign') {
      this.heard = undefined
      return decideStandby(found, true, false)
    }
    const watchers = await io.listWatchers(RBD_MIRROR_LEADER)
    const watching = watchers.some(({ cookie, clientId }) => cookie === found.handle && clientId === found.clientId)
    return decideStandby(found, watching, this.isSilent(found))
  }

  /**
   * A leader counts as hung when as many rounds of missed heartbeats as there are attempts have passed; the first look at it counts as an
   * attempt (LeaderWatcher.cc, handle_get_locker).
   */
  private isSilent({ clientId }: ManagedLocker): boolean {
    const { clock, options } = this.options
    const roundMs = options.leaderHeartbeatInterval * options.leaderMaxMissedHeartbeats * 1000
    const blind = clock.monotonic() - this.lookedAt > BLIND_MS
    this.lookedAt = clock.monotonic()
    if (blind || this.heard?.clientId !== clientId) this.heard = { clientId, at: clock.monotonic() - roundMs }
    return clock.monotonic() - this.heard.at >= roundMs * options.leaderMaxAcquireAttemptsBeforeBreak
  }

  private async acquire(watcher: ObjectWatcher): Promise<boolean> {
    const { cluster, io, log } = this.options
    this.enter({ type: 'acquiring' })
    try {
      const cookie = lockCookie(await watcher.ready())
      const taken = await takeLock(io, RBD_MIRROR_LEADER, cookie, cluster.instanceId)
      if (taken === 'acquired') {
        this.cookie = cookie
        this.heard = undefined
        this.parted = false
        this.enter({ type: 'leading' })
        log.info({ instanceId: String(cluster.instanceId) }, 'leader')
        return true
      }
      this.enter({ type: 'standby', leader: taken === 'foreign' ? undefined : taken })
      return false
    } catch (error) {
      this.enter({ type: 'standby', leader: undefined })
      throw error
    }
  }

  private async hold(
    watcher: ObjectWatcher,
    lead: (leading: (events: LeadingEvents) => void, signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<'released' | 'lock taken'> {
    const { log } = this.options
    let end: 'released' | 'lock taken' = 'released'
    let failure: { error: unknown } | undefined
    const scope = new Scope(signal, (error) => {
      failure ??= { error }
      scope.cancel()
    })
    scope.spawn('lead', (stop) => lead((events) => (this.events = events), stop))
    scope.spawn('release', async (stop) => {
      await this.releaseRequests.wait(this.options.clock, undefined, stop)
      scope.cancel('leader released')
    })
    scope.spawn('heartbeats', async () => {
      await this.beat(watcher, scope)
      end = 'lock taken'
      scope.cancel('leader lock lost')
    })
    await untilAborted(scope.signal)
    this.enter({ type: 'releasing' })
    await scope.close()
    this.events = undefined
    try {
      if (end === 'released' && !isErrno(failure?.error, EBLOCKLISTED)) await this.giveBack()
    } catch (error) {
      log.warn({ err: error }, 'cannot give the leader lock back')
    }
    this.enter({ type: 'standby', leader: undefined })
    if (failure) throw failure.error
    signal.throwIfAborted()
    return end
  }

  /** Resolves when the lock is no longer ours. */
  private async beat(watcher: ObjectWatcher, scope: Scope): Promise<void> {
    const { clock, options } = this.options
    let inFlight = 0
    const send = (message: LeaderNotify) =>
      scope.spawn(message.type, async (stop) => {
        inFlight++
        try {
          const answer = await abortable(this.notify(message, NOTIFY_TIMEOUT_MS), stop)
          if (answer) this.events?.onHeard(answer.acks.map(({ notifierId }) => notifierId))
        } finally {
          inFlight--
        }
      })
    send({ type: 'lockAcquired' })
    while (await this.stillHeld(watcher)) {
      if (inFlight < MAX_HEARTBEATS_IN_FLIGHT) send({ type: 'heartbeat' })
      await this.poke.wait(clock, options.leaderHeartbeatInterval * 1000, scope.signal)
    }
  }

  /** Looks whether the lock is ours still, and puts it under the new watch when the watch had to be renewed. */
  private async stillHeld(watcher: ObjectWatcher): Promise<boolean> {
    const { cluster, io, log } = this.options
    try {
      if (this.lost) throw this.lost.error
      const cookie = lockCookie(await watcher.ready())
      if (cookie !== this.cookie) {
        await changeCookie(io, RBD_MIRROR_LEADER, this.cookie, cookie, cluster.instanceId)
        this.cookie = cookie
      }
      const found = await findLocker(io, RBD_MIRROR_LEADER)
      return typeof found === 'object' && found.clientId === cluster.instanceId && found.cookie === this.cookie
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      log.warn({ err: error }, 'cannot confirm the leader lock')
      // a time-out says nothing about the lock; any other answer says that it is gone
      return isErrno(error, Errno.ETIMEDOUT)
    }
  }

  private async giveBack(): Promise<void> {
    await unlock(this.options.io, RBD_MIRROR_LEADER, this.cookie)
    await this.farewell('lockReleased')
    this.parted = true
  }

  private async farewell(type: 'lockReleased' | 'instanceLeft'): Promise<void> {
    try {
      await this.notify({ type }, FAREWELL_TIMEOUT_MS)
    } catch (error) {
      this.options.log.debug({ err: error, message: type }, 'cannot tell the other daemons')
    }
  }

  private async notify(message: LeaderNotify, timeoutMs: number): Promise<NotifyResult | undefined> {
    try {
      return await this.options.io.notify(RBD_MIRROR_LEADER, encode(LeaderNotify, message), timeoutMs)
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      this.options.log.warn({ err: error, message: message.type }, 'cannot notify the other daemons')
      return undefined
    }
  }
}
