import { Cancelled } from '../../base/cancelled.ts'
import { delay, type Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import { Scope } from '../../base/scope.ts'
import { untilAborted } from '../../base/until-aborted.ts'
import { mirrorInstancesAdd, mirrorInstancesRemove } from '../../cls/rbd/mirror-client.ts'
import { decode, encode } from '../../encoding/codec.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import type { Cluster } from '../../rados/cluster.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx, Notification } from '../../rados/io-ctx.ts'
import { WriteOperation } from '../../rados/operation.ts'
import { changeCookie, findLocker, lockCookie, takeLock, unlock } from '../../rbd/managed-lock.ts'
import { mirrorInstanceName, RBD_MIRROR_LEADER } from '../../rbd/names.ts'
import { ObjectWatcher } from '../../rbd/object-watcher.ts'
import { InstanceAck, InstanceMessage } from './messages.ts'

export type KnownMessage = Exclude<InstanceMessage, { type: 'unknown' }>

const CREATE_RETRY_MS = 2_000

export interface InstanceObjectOptions {
  readonly cluster: Cluster
  /** local, of the namespace */
  readonly io: IoCtx
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Does what another daemon asks for; resolves with the answer, 0 or a negative errno. The same may be asked for twice. */
  onMessage(from: string, message: KnownMessage, signal: AbortSignal): Promise<number>
}

/**
 * What this daemon is to the others in one namespace (tools/rbd_mirror/InstanceWatcher.cc): listed in `rbd_mirror_leader`, and an object
 * `rbd_mirror_instance.ID` that it watches, to be spoken to, and has locked, so that it can be fenced off when it no longer answers.
 */
export class InstanceObject {
  private readonly oid: string
  private readonly instanceId: string
  /** being worked at, by sender and request; a message that comes again takes the place of the former */
  private readonly requests = new Map<string, Notification>()

  constructor(private readonly options: InstanceObjectOptions) {
    this.instanceId = String(options.cluster.instanceId)
    this.oid = mirrorInstanceName(this.instanceId)
  }

  /**
   * Until the signal is aborted; nothing is left of it then. Rejects when somebody has taken the object away: we count as dead.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { io } = this.options
    const scope = new Scope(signal)
    const working = new Scope()
    let watcher: ObjectWatcher | undefined
    let failure: { error: unknown } | undefined
    const fail = (error: unknown) => {
      failure ??= { error }
      scope.cancel()
    }
    try {
      await this.create(signal)
      const opened = await ObjectWatcher.open(io, this.oid, this.options, {
        onNotify: (notification) => this.onNotify(notification, working),
        onRewatched: () => scope.spawn('relock', () => this.relock(opened)),
        onLost: fail,
      })
      watcher = opened
      await this.lock(lockCookie(await opened.ready(signal)))
      this.isReady = true
      this.settle()
      await untilAborted(scope.signal)
      await scope.close()
      if (failure) throw failure.error
      signal.throwIfAborted()
    } finally {
      this.isReady = false
      this.settle()
      await working.close().catch((error: unknown) => this.options.log.debug({ err: error }, 'a message was not answered'))
      await this.remove(watcher)
    }
  }

  private cookie: string | undefined
  private isReady = false
  private settle: () => void = () => undefined
  /** Resolves once it is known whether others can speak to us: at once, or not for a while. */
  readonly settled = new Promise<void>((resolve) => (this.settle = resolve))

  /** Whether others can speak to us, and fence us off. */
  get ready(): boolean {
    return this.isReady
  }

  /** A cluster that is full makes no object: as long as that lasts nobody assigns anything to us, but we may lead. */
  private async create(signal: AbortSignal): Promise<void> {
    const { io, clock, log } = this.options
    for (let told = false; ; told = true) {
      try {
        await mirrorInstancesAdd.call(io, RBD_MIRROR_LEADER, { instanceId: this.instanceId })
        return void (await io.write(this.oid, new WriteOperation().create(false)))
      } catch (error) {
        if (isErrno(error, EBLOCKLISTED)) throw error
        log[told ? 'debug' : 'warn']({ err: error }, 'this daemon cannot share images with others yet')
        this.settle()
      }
      await delay(clock, CREATE_RETRY_MS, signal)
    }
  }

  private async lock(cookie: string): Promise<void> {
    const { io, cluster } = this.options
    const taken = await takeLock(io, this.oid, cookie, cluster.instanceId)
    if (taken !== 'acquired') throw new Error(`another client has locked ${this.oid}`)
    this.cookie = cookie
  }

  /** The lock is worth nothing but under the watch that stands. */
  private async relock(watcher: ObjectWatcher): Promise<void> {
    const cookie = lockCookie(await watcher.ready())
    if (this.cookie === undefined || cookie === this.cookie) return
    const { io, cluster } = this.options
    await changeCookie(io, this.oid, this.cookie, cookie, cluster.instanceId)
    this.cookie = cookie
  }

  private async remove(watcher: ObjectWatcher | undefined): Promise<void> {
    const { io, log } = this.options
    try {
      if (this.cookie !== undefined) await unlock(io, this.oid, this.cookie)
      await watcher?.close()
      await removeObject(io, this.instanceId)
    } catch (error) {
      await watcher?.close()
      if (!isErrno(error, EBLOCKLISTED)) log.warn({ err: error }, 'cannot take this instance out of the list of instances')
    }
  }

  private onNotify(notification: Notification, working: Scope): void {
    const { log } = this.options
    let message: InstanceMessage
    try {
      message = decode(InstanceMessage, notification.payload, 'message to an instance')
    } catch (error) {
      notification.ack()
      if (!(error instanceof MalformedInput)) throw error
      return log.warn({ err: error }, 'cannot read the message of another daemon')
    }
    if (message.type === 'unknown') return notification.ack()
    const from = String(notification.notifierId)
    const key = `${from} ${message.requestId}`
    const before = this.requests.get(key)
    this.requests.set(key, notification)
    if (before) return before.ack()
    if (working.signal.aborted) return this.answer(key, from, message.requestId, -Errno.ECANCELED)
    const { requestId } = message
    working.spawn(message.type, async (signal) => {
      let result: number = -Errno.EIO
      try {
        result = await this.options.onMessage(from, message, signal)
      } catch (error) {
        if (!(error instanceof Cancelled)) log.warn({ err: error, message: message.type, from }, 'cannot do what another daemon asks for')
        else result = -Errno.ECANCELED
      } finally {
        this.answer(key, from, requestId, result)
      }
    })
  }

  private answer(key: string, from: string, requestId: bigint, result: number): void {
    this.requests.get(key)?.ack(encode(InstanceAck, { instanceId: from, requestId, result }))
    this.requests.delete(key)
  }
}

async function removeObject(io: IoCtx, instanceId: string): Promise<void> {
  try {
    await io.remove(mirrorInstanceName(instanceId))
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  await mirrorInstancesRemove.call(io, RBD_MIRROR_LEADER, { instanceId })
}

export interface Fence {
  readonly cluster: Cluster
  /** local, default namespace */
  readonly io: IoCtx
  /** of the blocklist entry */
  readonly expireSeconds: number
}

/** What is left of an instance: `watching` it may be alive; `silent` its lock is there without its watch; `left` it has given the lock back. */
export async function lookAtInstance(io: IoCtx, instanceId: string): Promise<'watching' | 'silent' | 'left'> {
  const oid = mirrorInstanceName(instanceId)
  try {
    const found = await findLocker(io, oid)
    if (found === 'free' || found === 'foreign') return (await io.listWatchers(oid)).length > 0 ? 'watching' : 'left'
    const watchers = await io.listWatchers(oid)
    return watchers.some(({ cookie, clientId }) => cookie === found.handle && clientId === found.clientId) ? 'watching' : 'silent'
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return 'left'
    throw error
  }
}

/** Fences an instance off, so that nothing of it comes later, and takes away what is left of it (tools/rbd_mirror/InstanceWatcher.cc, remove). */
export async function removeInstance({ cluster, io, expireSeconds }: Fence, instanceId: string): Promise<void> {
  const oid = mirrorInstanceName(instanceId)
  try {
    const found = await findLocker(io, oid)
    if (typeof found === 'object') {
      await cluster.blocklistAdd(found.address, expireSeconds)
      await cluster.waitForLatestOsdMap()
    }
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  await removeObject(io, instanceId)
}

/** Takes what is left of an instance out of a namespace, once it has been fenced off. */
export function removeInstanceFrom(io: IoCtx, instanceId: string): Promise<void> {
  return removeObject(io, instanceId)
}
