import { abortable } from '../base/cancelled.ts'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import { MalformedInput } from '../encoding/malformed-input.ts'
import { Errno, isErrno, RadosError } from '../rados/errors.ts'
import type { IoCtx, Notification } from '../rados/io-ctx.ts'
import type { OperationRequestType } from './lock-policy.ts'
import { isClient, noClient, requestKey, sameClient, type AsyncRequestId, type ClientId } from './notify/client-id.ts'
import {
  decodeImageMessage,
  decodeResponse,
  encodeImageMessage,
  encodeResponse,
  type ImageMessage,
  type OperationMessage,
} from './notify/image-messages.ts'
import { NOTIFY_TIMEOUT_MS, ObjectWatcher, type ObjectWatcherOptions } from './object-watcher.ts'

/** A request is given up when its executor has been silent for so long (rbd_request_timed_out_seconds). */
const requestSilenceMs = 30_000
/** Finished requests are remembered for so long, because a requester that heard nothing asks again. */
const completedMemoryMs = 600_000
const maxCompletedRequests = 1000
const maxCompleteTries = 5

type WithoutId<T> = T extends unknown ? Omit<T, 'requestId'> : never
/** An operation to ask the lock owner for; its request id is given by the watcher. */
export type OperationRequest = WithoutId<OperationMessage>

export type Progress = (done: bigint, total: bigint) => void

/** Outcome of asking the lock owner: errno 0 or positive. */
export interface PeerAnswer {
  errno: number
}

/** What the image does when its peers speak. */
export interface HeaderWatcherHandlers {
  /** `own`: it was announced by {@link HeaderWatcher.notifyHeaderUpdate}, so that nothing is new. */
  headerUpdated(own: boolean): void
  /** A peer has, or no longer has, the exclusive lock. */
  lockAcquired(): void
  lockReleased(): void
  /** A peer wants the lock: undefined when it is not ours, else the errno to answer (0: it is being released). */
  lockRequested(force: boolean): number | undefined | Promise<number>
  /** undefined when the lock is not ours: then nobody answers here. */
  acceptsOperation(type: OperationRequestType): 'accept' | number | undefined
  /** Executes a peer's request. Rejects with RadosError for the requester. */
  execute(message: OperationMessage, progress: Progress): Promise<void>
  /** The watch has a new cookie, and updates may have been missed. */
  rewatched(): void
  lost(error: Error): void
}

export interface HeaderWatcherOptions extends ObjectWatcherOptions {
  /** global id of this connection */
  instanceId: bigint
}

interface OwnRequest {
  settle(errno: number): void
  progress(done: bigint, total: bigint): void
}

let lastRequestId = 0n

/** One open image's ear and voice on its header object: librbd's ImageWatcher protocol, in both directions. */
export class HeaderWatcher {
  private watcher!: ObjectWatcher
  private readonly scope: Scope
  private readonly ownRequests = new Map<string, OwnRequest>()
  private readonly pendingRequests = new Set<string>()
  /** errno of each finished request, oldest first */
  private readonly completedRequests = new Map<string, { errno: number; expires: number }>()
  private owner: ClientId = noClient
  /** announcements of our own that are under way */
  private announcing = 0
  private readonly clock: Clock
  private readonly log: Log

  private constructor(
    private readonly io: IoCtx,
    readonly oid: string,
    private readonly options: HeaderWatcherOptions,
    private readonly handlers: HeaderWatcherHandlers,
  ) {
    this.clock = options.clock
    this.log = options.log
    this.scope = new Scope(undefined, (error, task) => this.log.error({ oid, task, error: String(error) }, 'image notification task failed'))
  }

  static async open(io: IoCtx, oid: string, options: HeaderWatcherOptions, handlers: HeaderWatcherHandlers): Promise<HeaderWatcher> {
    const watcher = new HeaderWatcher(io, oid, options, handlers)
    watcher.watcher = await ObjectWatcher.open(io, oid, options, {
      onNotify: (notification) => watcher.receive(notification),
      onRewatched: () => {
        watcher.owner = noClient
        handlers.rewatched()
      },
      onLost: (error) => handlers.lost(error),
    })
    return watcher
  }

  /** Cookie of the watch; undefined while it is being made anew. */
  get cookie(): bigint | undefined {
    return this.watcher.cookie
  }

  /** Who said last that it has the lock, as far as this watch has heard. */
  get lockOwner(): ClientId | undefined {
    return isClient(this.owner) ? this.owner : undefined
  }

  ready(signal?: AbortSignal): Promise<bigint> {
    return this.watcher.ready(signal)
  }

  async close(): Promise<void> {
    this.cancelOwnRequests()
    await this.watcher.close()
    await this.scope.close()
  }

  /** Tells all watchers to read the header again; peers that don't answer in time are not waited for. */
  async notifyHeaderUpdate(): Promise<void> {
    this.announcing++
    try {
      await this.send({ type: 'headerUpdate' })
    } catch (error) {
      if (!isErrno(error, Errno.ETIMEDOUT, Errno.ENOENT)) throw error
    } finally {
      this.announcing--
    }
  }

  async notifyLockAcquired(): Promise<void> {
    const clientId = this.clientId()
    this.owner = clientId
    await this.send({ type: 'acquiredLock', clientId })
  }

  async notifyLockReleased(): Promise<void> {
    this.owner = noClient
    await this.send({ type: 'releasedLock', clientId: this.clientId() })
  }

  /** Asks the owner for the lock. `undefined`: nobody who has it answered. */
  requestLock(): Promise<PeerAnswer | undefined> {
    return this.askOwner({ type: 'requestLock', clientId: this.clientId(), force: false })
  }

  /**
   * Has the lock owner do something. Rejects with RadosError: the owner's errno, ETIMEDOUT when nobody answers or the owner
   * falls silent (outcome unknown), ERESTART when the lock changed hands meanwhile: ask again.
   */
  async request(request: OperationRequest, options: { signal?: AbortSignal | undefined; progress?: Progress } = {}): Promise<void> {
    const requestId: AsyncRequestId = { clientId: this.clientId(), requestId: ++lastRequestId }
    const key = requestKey(requestId)
    let stopTimer = () => {}
    const settled = new Promise<number>((settle) => {
      const restartTimer = () => {
        stopTimer()
        stopTimer = this.clock.setTimer(requestSilenceMs, () => settle(Errno.ETIMEDOUT))
      }
      restartTimer()
      this.ownRequests.set(key, {
        settle,
        progress: (done, total) => {
          restartTimer()
          options.progress?.(done, total)
        },
      })
    })
    const asked = this.askOwner({ ...request, requestId })
    // the completion may arrive before the acknowledgement
    const refused = asked.then((answer) => (answer === undefined ? Errno.ETIMEDOUT : answer.errno || settled))
    try {
      const errno = await abortable(Promise.race([settled, refused]), options.signal)
      if (errno !== 0) throw this.error(`${request.type} by the lock owner`, errno)
    } finally {
      stopTimer()
      this.ownRequests.delete(key)
      asked.catch(() => undefined) // told through `refused` unless the completion was first
      refused.catch(() => undefined)
    }
  }

  /**
   * Has clients bring what they write to the image into a state that a snapshot may be taken of; those that don't know how agree at once. Resolves
   * with what ends that, whether it was asked for in vain or not. Rejects with RadosError: a client's errno, or ETIMEDOUT.
   */
  async quiesce(attempts: number): Promise<() => Promise<void>> {
    const requestId: AsyncRequestId = { clientId: this.clientId(), requestId: ++lastRequestId }
    const end = () => this.send({ type: 'unquiesce', requestId })
    try {
      for (let attempt = 1; ; attempt++) {
        const { acks, timeouts } = await this.io.notify(this.oid, encodeImageMessage({ type: 'quiesce', requestId }), NOTIFY_TIMEOUT_MS)
        const errnos = acks.filter(({ payload }) => payload.length > 0).map(({ payload }) => -decodeResponse(payload))
        const refused = errnos.find((errno) => errno > 0 && errno !== Errno.EOPNOTSUPP)
        if (refused !== undefined) throw this.error('quiesce', refused)
        if (timeouts.length === 0) return end
        if (attempt >= attempts) throw this.error('quiesce', Errno.ETIMEDOUT)
      }
    } catch (error) {
      await end()
      throw error
    }
  }

  private clientId(): ClientId {
    return { gid: this.options.instanceId, handle: this.watcher.cookie ?? 0n }
  }

  private error(op: string, errno: number): RadosError {
    const { clusterName, poolName, namespace } = this.io
    return new RadosError(errno, { op, cluster: clusterName, pool: poolName, namespace, oid: this.oid })
  }

  private async send(message: ImageMessage): Promise<void> {
    await this.io.notify(this.oid, encodeImageMessage(message), NOTIFY_TIMEOUT_MS)
  }

  /** librbd's NotifyLockOwner: the one who has the lock is the one who answers with something. */
  private async askOwner(message: ImageMessage): Promise<PeerAnswer | undefined> {
    const { acks } = await this.io.notify(this.oid, encodeImageMessage(message), NOTIFY_TIMEOUT_MS)
    const answers = acks.filter(({ payload }) => payload.length > 0)
    if (answers.length > 1) throw this.error('notify (two lock owners answered)', Errno.EINVAL)
    return answers.length === 0 ? undefined : { errno: -decodeResponse(answers[0]!.payload) }
  }

  private receive(notification: Notification): void {
    let message: ImageMessage
    try {
      message = decodeImageMessage(notification.payload)
    } catch (error) {
      if (!(error instanceof MalformedInput)) throw error
      this.log.warn({ oid: this.oid, error: error.message, notifier: String(notification.notifierId) }, 'malformed image notification')
      return notification.ack()
    }
    const own = this.announcing > 0 && notification.notifierId === this.options.instanceId
    const answer = this.answer(message, own)
    const acknowledge = (errno: number | undefined) => notification.ack(errno === undefined ? undefined : encodeResponse(-errno))
    if (answer instanceof Promise) void answer.then(acknowledge)
    else acknowledge(answer)
  }

  /** What a message is acknowledged with: an errno (0 for success), or nothing where it does not concern us. */
  private answer(message: ImageMessage, own: boolean): number | undefined | Promise<number> {
    switch (message.type) {
      case 'headerUpdate':
        this.handlers.headerUpdated(own)
        return 0
      case 'acquiredLock':
        return this.peerAcquired(message.clientId)
      case 'releasedLock':
        return this.peerReleased(message.clientId)
      case 'requestLock':
        return sameClient(message.clientId, this.clientId()) ? undefined : this.handlers.lockRequested(message.force)
      case 'asyncProgress':
        this.ownRequests.get(requestKey(message.requestId))?.progress(message.offset, message.total)
        return undefined
      case 'asyncComplete':
        this.ownRequests.get(requestKey(message.requestId))?.settle(-message.result)
        return undefined
      case 'quiesce': // there is nothing here that could be made quiet
        return 0
      case 'unquiesce':
        return undefined
      case 'unknown': {
        const accepted = this.handlers.acceptsOperation('general')
        return accepted === undefined ? undefined : Errno.EOPNOTSUPP
      }
      default:
        return this.peerRequest(message)
    }
  }

  private peerAcquired(clientId: ClientId): undefined {
    const known = isClient(clientId) && sameClient(clientId, this.owner)
    if (isClient(clientId)) this.owner = clientId
    if (sameClient(clientId, this.clientId())) return
    this.handlers.lockAcquired()
    if (!known) this.cancelOwnRequests()
  }

  private peerReleased(clientId: ClientId): undefined {
    const expected = !isClient(clientId) || sameClient(clientId, this.owner)
    if (isClient(clientId) && expected) this.owner = noClient
    if (sameClient(clientId, this.clientId())) return
    if (expected) this.cancelOwnRequests()
    this.handlers.lockReleased()
  }

  /** Requests to an owner that no longer is one will not be finished by it. */
  private cancelOwnRequests(): void {
    for (const request of this.ownRequests.values()) request.settle(Errno.ERESTART)
  }

  private peerRequest(message: OperationMessage): number | undefined {
    const accepted = this.handlers.acceptsOperation(operationType(message))
    if (accepted === undefined) return undefined
    if (accepted !== 'accept') return accepted
    if (sameClient(message.requestId.clientId, this.clientId())) return Errno.ERESTART
    const key = requestKey(message.requestId)
    const completed = this.completedRequests.get(key)
    if (completed) {
      this.remember(key, completed.errno)
      return completed.errno
    }
    if (!this.pendingRequests.has(key)) {
      this.pendingRequests.add(key)
      this.scope.spawn(`${message.type} for a peer`, (signal) => this.execute(key, message, signal))
    }
    return 0
  }

  private async execute(key: string, message: OperationMessage, signal: AbortSignal): Promise<void> {
    let errno = 0
    try {
      await this.handlers.execute(message, (offset, total) => {
        this.send({ type: 'asyncProgress', requestId: message.requestId, offset, total }).catch((error: unknown) =>
          this.log.debug({ oid: this.oid, error: String(error) }, 'progress of a peer request not sent'),
        )
      })
    } catch (error) {
      errno = error instanceof RadosError ? error.errno : Errno.EIO
      this.log.warn({ oid: this.oid, request: message.type, error: String(error) }, 'request of a peer failed')
    }
    this.pendingRequests.delete(key)
    this.remember(key, errno)
    for (let tries = 1; !signal.aborted; tries++) {
      try {
        const { timeouts } = await this.io.notify(
          this.oid,
          encodeImageMessage({ type: 'asyncComplete', requestId: message.requestId, result: -errno }),
          NOTIFY_TIMEOUT_MS,
        )
        if (timeouts.length === 0) return
      } catch (error) {
        if (!isErrno(error, Errno.ETIMEDOUT)) throw error
      }
      if (tries === maxCompleteTries) return this.log.warn({ oid: this.oid, request: message.type }, 'completion of a peer request not heard')
    }
  }

  private remember(key: string, errno: number): void {
    const now = this.clock.monotonic()
    this.completedRequests.delete(key)
    this.completedRequests.set(key, { errno, expires: now + completedMemoryMs })
    for (const [oldest, { expires }] of this.completedRequests) {
      if (expires > now && this.completedRequests.size <= maxCompletedRequests) return
      this.completedRequests.delete(oldest)
    }
  }
}

/** librbd ImageWatcher: what a forced promotion sends is told from other requests by its snapshot namespace. */
function operationType(message: OperationMessage): OperationRequestType {
  if (message.type === 'snapRemove' && message.namespace.type === 'trash') return 'trashSnapRemove'
  if (message.type === 'snapCreate' && message.namespace.type === 'mirror') {
    const { state, primaryMirrorUuid, primarySnapId } = message.namespace
    const orphan = state.startsWith('non-primary') && primaryMirrorUuid === '' && primarySnapId === 0xfffffffffffffffen
    if (orphan) return 'forcePromotion'
  }
  return 'general'
}
