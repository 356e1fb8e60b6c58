import { isCancelled } from '../../base/cancelled.ts'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { Notifier } from '../../base/notifier.ts'
import { mirrorInstancesList } from '../../cls/rbd/mirror-client.ts'
import type { Cluster } from '../../rados/cluster.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { RBD_MIRROR_LEADER } from '../../rbd/names.ts'
import type { MirrorOptions } from '../options.ts'
import { lookAtInstance, removeInstance } from './instance-object.ts'

/** How often a daemon is looked at that a former leader knew and that has not answered yet. */
const UNSURE_POLL_MS = 1_000

/** Who has not seen anything for so long cannot say that others were silent. */
const BLIND_MS = 5_000

export interface InstancesOptions {
  readonly cluster: Cluster
  /** local, default namespace */
  readonly io: IoCtx
  readonly options: MirrorOptions
  readonly clock: Clock
  readonly log: Log
  /** they answer */
  onAdded(ids: readonly string[]): void
  /** they are gone, and nothing of them can come later */
  onRemoved(ids: readonly string[]): void
}

interface Instance {
  /** monotonic milliseconds of the last answer, or of when it was found in the list */
  heardAt: number
  /** it has answered a heartbeat */
  answers: boolean
  /** it was seen to have its object; one without is about to come, or was cut short when it went */
  present: boolean
}

/**
 * The leader's view of the daemons of a pool (tools/rbd_mirror/Instances.cc). Who answers a heartbeat is one of them; who has not for too long
 * is fenced off and taken out. Sooner than upstream does it: who has gone orderly, and who has lost its watch.
 */
export class Instances {
  private readonly known = new Map<string, Instance>()
  /** an answer that comes late brings nobody back: instance ids are never used again */
  private readonly gone = new Set<string>()
  private readonly notifier = new Notifier()
  private readonly self: string

  constructor(private readonly options: InstancesOptions) {
    this.self = String(options.cluster.instanceId)
  }

  /** Of all that may be living, our own among them. */
  get ids(): string[] {
    const living = [...this.known].filter(([, { answers, present }]) => answers || present)
    return [...new Set([this.self, ...living.map(([id]) => id)])].sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1))
  }

  /** Of those that answer. */
  get answering(): string[] {
    return [...this.known].filter(([, { answers }]) => answers).map(([id]) => id)
  }

  /** The list that former leaders have left; who is gone for certain is taken out at once. */
  async load(): Promise<void> {
    const { io, clock, log } = this.options
    let listed: string[] = []
    try {
      listed = await mirrorInstancesList.call(io, RBD_MIRROR_LEADER, undefined)
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
    for (const id of listed) if (id !== this.self && /^\d+$/.test(id)) this.known.set(id, { heardAt: clock.monotonic(), answers: false, present: false })
    if (this.known.size > 0) log.info({ instances: [...this.known.keys()] }, 'daemons that a former leader knew')
    await this.check(0)
  }

  /** Who answered a heartbeat. */
  heard(ids: readonly bigint[]): void {
    const added: string[] = []
    for (const id of ids.map(String)) {
      if (id === this.self || this.gone.has(id)) continue
      const known = this.known.get(id)
      if (!known?.answers) added.push(id)
      this.known.set(id, { heardAt: this.options.clock.monotonic(), answers: true, present: known?.present ?? false })
    }
    if (added.length === 0) return
    this.options.log.info({ instances: added }, 'daemons that share the images with us')
    this.options.onAdded(added)
  }

  /** Somebody has gone: look at once. */
  wake(): void {
    this.notifier.wake()
  }

  /** Watches over them until the signal is aborted. Rejects when the connection is blocklisted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, options, log } = this.options
    for (;;) {
      const intervalMs = options.leaderHeartbeatInterval * 1000
      // who has not answered yet may have died just before we came to lead: its watch ends any moment
      const unsure = [...this.known.values()].some(({ answers }) => !answers)
      const waitMs = unsure ? Math.min(UNSURE_POLL_MS, intervalMs) : intervalMs
      const from = clock.monotonic()
      const woken = await this.notifier.wait(clock, waitMs, signal)
      if (clock.monotonic() - from > waitMs + BLIND_MS) this.forgive()
      try {
        await this.check(woken === 'woken' ? 0 : intervalMs * 1.5)
      } catch (error) {
        if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
        log.warn({ err: error }, 'cannot look after the other daemons')
      }
    }
  }

  /** @param silentMs who has answered a heartbeat within so many milliseconds needs no look */
  private async check(silentMs: number): Promise<void> {
    const { clock, io } = this.options
    const limitMs = this.limitMs()
    for (const [id, instance] of [...this.known]) {
      if (instance.answers && clock.monotonic() - instance.heardAt < silentMs) continue
      const from = clock.monotonic()
      const state = await lookAtInstance(io, id)
      if (clock.monotonic() - from > BLIND_MS) return this.forgive() // the cluster did not answer: nor could they
      instance.present = state !== 'left'
      const { heardAt, answers } = this.known.get(id) ?? instance
      if (state === 'silent') await this.remove(id, 'it has lost its watch')
      else if (clock.monotonic() - heardAt > limitMs) await this.remove(id, 'it has not answered for too long')
      else if (state === 'left' && answers) await this.forget(id)
    }
  }

  private forgive(): void {
    for (const instance of this.known.values()) instance.heardAt = this.options.clock.monotonic()
  }

  /** Milliseconds (tools/rbd_mirror/Instances.cc, schedule_remove_task). */
  private limitMs(): number {
    const { leaderHeartbeatInterval, leaderMaxMissedHeartbeats, leaderMaxAcquireAttemptsBeforeBreak } = this.options.options
    return leaderHeartbeatInterval * (1 + leaderMaxMissedHeartbeats + leaderMaxAcquireAttemptsBeforeBreak) * 1000
  }

  private async remove(id: string, why: string): Promise<void> {
    const { cluster, io, options, log } = this.options
    log.warn({ instanceId: id, why }, 'taking out a daemon')
    await removeInstance({ cluster, io, expireSeconds: options.blocklistExpireSeconds }, id)
    this.drop(id)
  }

  /** One that gave back its lock and its object has stopped all it did. */
  private async forget(id: string): Promise<void> {
    const { io, log } = this.options
    const listed = await mirrorInstancesList.call(io, RBD_MIRROR_LEADER, undefined)
    if (listed.includes(id)) return // still about to go, or to come
    log.info({ instanceId: id }, 'a daemon has left')
    this.drop(id)
  }

  private drop(id: string): void {
    this.known.delete(id)
    this.gone.add(id)
    this.options.onRemoved([id])
  }
}
