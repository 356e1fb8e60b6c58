import { delay, type Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import type { Random } from '../base/random.ts'
import { Scope } from '../base/scope.ts'
import { untilAborted } from '../base/until-aborted.ts'
import { encode } from '../encoding/codec.ts'
import type { Cluster } from '../rados/cluster.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx, NotifyResult } from '../rados/io-ctx.ts'
import { WriteOperation } from '../rados/operation.ts'
import { breakDeadLock, changeCookie, findLocker, lockCookie, takeLock, unlock, type ManagedLocker } from '../rbd/managed-lock.ts'
import { RBD_MIRROR_LEADER } from '../rbd/names.ts'
import { ObjectWatcher } from '../rbd/object-watcher.ts'
import { LeaderNotify } from './leader-notify.ts'
import type { MirrorOptions } from './options.ts'

/** How often a daemon that stands by looks at the leader's lock. */
const STANDBY_POLL_MS = 1_000
const NOTIFY_TIMEOUT_MS = 5_000

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
  | { type: 'break'; owner: ManagedLocker }
  | { type: 'wait'; leader: ManagedLocker | undefined }

/**
 * @param found who holds the lock
 * @param watching whether that owner's watch still stands: without it the owner is dead
 */
export function decideStandby(found: ManagedLocker | 'free' | 'foreign', watching: boolean): StandbyStep {
  if (found === 'free') return { type: 'acquire' }
  if (found === 'foreign') return { type: 'wait', leader: undefined }
  return watching ? { type: 'wait', leader: found } : { type: 'break', owner: found }
}

/**
 * One daemon per pool acts: the one that holds the lock on `rbd_mirror_leader`, as in tools/rbd_mirror/LeaderWatcher.
 *
 *     standby ──lock free or its owner dead──▶ acquiring ──▶ leading ──release, lock lost, stop──▶ releasing ──▶ standby
 *
 * Whoever answers a stock leader's heartbeats is taken for an instance that wants images assigned. Standing by is therefore done
 * without a watch, by looking at the lock; leading, we send the heartbeats that keep stock daemons from taking over.
 */
export class Leader {
  private current: LeaderState = { type: 'standby', leader: undefined }
  private heard: bigint[] = []
  private readonly releaseRequests = new Notifier()

  constructor(
    private readonly options: {
      cluster: Cluster
      /** the pool's default namespace */
      io: IoCtx
      options: MirrorOptions
      clock: Clock
      random: Random
      log: Log
      onState(state: LeaderState): void
    },
  ) {}

  get state(): LeaderState {
    return this.current
  }

  /** Instance ids of the daemons that answered the last heartbeat, and our own; only while we lead. */
  get instances(): bigint[] {
    return [...new Set([this.options.cluster.instanceId, ...this.heard])].sort((a, b) => (a < b ? -1 : 1))
  }

  /** Gives the leadership away; others get time to take it. Nothing happens unless we lead. */
  release(): void {
    if (this.current.type === 'leading') this.releaseRequests.wake()
  }

  /**
   * Stands by and leads in turn until the signal is aborted. `lead` runs while we lead; it is stopped and awaited before the lock is
   * given up. Rejects as `lead` does, and when the connection is blocklisted.
   */
  async run(lead: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, options, log } = this.options
    for (;;) {
      await this.becomeLeader(signal)
      const end = await this.hold(lead, signal)
      log.info({ end }, 'no longer leader')
      if (end !== 'lock taken') await delay(clock, options.leaderHeartbeatInterval * options.leaderMaxMissedHeartbeats * 1000, signal)
    }
  }

  private enter(state: LeaderState): void {
    if (!mayFollow(this.current.type, state.type)) throw new Error(`leader: ${this.current.type} can't become ${state.type}`)
    this.current = state
    this.options.onState(state)
  }

  /** The watch and the lock under its cookie; kept until `hold` lets go of them. */
  private held: { watcher: ObjectWatcher; cookie: string } | undefined

  private async becomeLeader(signal: AbortSignal): Promise<void> {
    const { cluster, io, clock, options, log } = this.options
    for (;;) {
      signal.throwIfAborted()
      const step = await this.look()
      if (step.type === 'break') {
        log.warn({ owner: step.owner.entity, address: step.owner.address }, 'breaking the lock of a leader that is gone')
        await breakDeadLock(cluster, io, RBD_MIRROR_LEADER, step.owner, { expireSeconds: options.blocklistExpireSeconds })
      } else if (step.type === 'acquire') {
        if (await this.acquire()) return
      } else {
        const known = this.current.type === 'standby' ? this.current.leader?.clientId : undefined
        if (known !== step.leader?.clientId) this.enter({ type: 'standby', leader: step.leader })
        await delay(clock, STANDBY_POLL_MS, signal)
      }
    }
  }

  private async look(): Promise<StandbyStep> {
    const { io } = this.options
    try {
      const found = await findLocker(io, RBD_MIRROR_LEADER)
      if (found === 'free' || found === 'foreign') return decideStandby(found, true)
      const watchers = await io.listWatchers(RBD_MIRROR_LEADER)
      return decideStandby(
        found,
        watchers.some(({ cookie, clientId }) => cookie === found.handle && clientId === found.clientId),
      )
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return { type: 'acquire' } // not even the object is there
      throw error
    }
  }

  private async acquire(): Promise<boolean> {
    const { cluster, io, clock, random, log } = this.options
    this.enter({ type: 'acquiring' })
    let watcher: ObjectWatcher | undefined
    try {
      await io.write(RBD_MIRROR_LEADER, new WriteOperation().create(false))
      const opened = await ObjectWatcher.open(
        io,
        RBD_MIRROR_LEADER,
        { clock, random, log },
        {
          // heartbeats are our own, all else is for followers
          onNotify: (notification) => notification.ack(),
          onRewatched: () => this.wakeHolder(),
          onLost: () => this.wakeHolder(),
        },
      )
      watcher = opened
      const cookie = lockCookie(await opened.ready())
      const taken = await takeLock(io, RBD_MIRROR_LEADER, cookie, cluster.instanceId)
      if (taken === 'acquired') {
        this.held = { watcher: opened, cookie }
        watcher = undefined
        this.enter({ type: 'leading' })
        log.info({ instanceId: String(cluster.instanceId) }, 'leader')
        return true
      }
      this.enter({ type: 'standby', leader: taken === 'foreign' ? undefined : taken })
      return false
    } catch (error) {
      this.enter({ type: 'standby', leader: undefined })
      throw error
    } finally {
      await watcher?.close()
    }
  }

  private wakeHolder: () => void = () => undefined

  private async hold(lead: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<'released' | 'lock taken'> {
    const { clock, options, log } = this.options
    const held = this.held!
    let end: 'released' | 'lock taken' = 'released'
    let failure: { error: unknown } | undefined
    const scope = new Scope(signal, (error) => {
      failure ??= { error }
      scope.cancel()
    })
    const beat = new Notifier()
    this.wakeHolder = () => beat.wake()
    scope.spawn('lead', lead)
    scope.spawn('release', async (stop) => {
      await this.releaseRequests.wait(clock, undefined, stop)
      scope.cancel('leader released')
    })
    scope.spawn('heartbeat', async (stop) => {
      await this.notify({ type: 'lockAcquired' })
      for (;;) {
        if (!(await this.stillHeld(held))) {
          end = 'lock taken'
          return scope.cancel('leader lock lost')
        }
        const heard = await this.notify({ type: 'heartbeat' })
        if (heard) this.heard = heard.acks.map(({ notifierId }) => notifierId)
        await beat.wait(clock, options.leaderHeartbeatInterval * 1000, stop)
      }
    })
    await untilAborted(scope.signal)
    this.enter({ type: 'releasing' })
    await scope.close()
    this.wakeHolder = () => undefined
    this.held = undefined
    this.heard = []
    try {
      if (end === 'released' && !isErrno(failure?.error, EBLOCKLISTED)) await this.giveBack(held.cookie)
    } catch (error) {
      log.warn({ err: error }, 'cannot give the leader lock back')
    } finally {
      await held.watcher.close()
    }
    this.enter({ type: 'standby', leader: undefined })
    if (failure) throw failure.error
    signal.throwIfAborted()
    return end
  }

  /** Looks whether the lock is ours still, and puts it under the new watch when the watch had to be renewed. */
  private async stillHeld(held: { watcher: ObjectWatcher; cookie: string }): Promise<boolean> {
    const { cluster, io, log } = this.options
    try {
      const cookie = lockCookie(await held.watcher.ready())
      if (cookie !== held.cookie) {
        await changeCookie(io, RBD_MIRROR_LEADER, held.cookie, cookie)
        held.cookie = cookie
      }
      const found = await findLocker(io, RBD_MIRROR_LEADER)
      return typeof found === 'object' && found.clientId === cluster.instanceId && found.cookie === held.cookie
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      log.warn({ err: error }, 'cannot confirm the leader lock')
      // a time-out says nothing about the lock; any other answer says that it is gone
      return isErrno(error, Errno.ETIMEDOUT)
    }
  }

  private async giveBack(cookie: string): Promise<void> {
    await unlock(this.options.io, RBD_MIRROR_LEADER, cookie)
    await this.notify({ type: 'lockReleased' })
  }

  private async notify(message: LeaderNotify): Promise<NotifyResult | undefined> {
    try {
      return await this.options.io.notify(RBD_MIRROR_LEADER, encode(LeaderNotify, message), NOTIFY_TIMEOUT_MS)
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      this.options.log.warn({ err: error, message: message.type }, 'cannot notify the other daemons')
      return undefined
    }
  }
}
