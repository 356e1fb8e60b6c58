import type { RadosError } from '../../rados/errors.ts';
import { Errno } from '../../rados/errors.ts'
import type { Notification, NotifyResult, Watch, WatchHandlers } from '../../rados/io-ctx.ts'
import type { Message } from './messages.ts'

const EMPTY = Buffer.alloc(0)

/** What a watch needs of its client. */
export interface WatchOwner {
  readonly instanceId: bigint
  error(errno: number, op: string): RadosError
  send(endpoint: string, message: Message): Promise<boolean>
  /** milliseconds since the session was last confirmed */
  confirmedAgo(): number
}

/** One watch of this client, and the notifications that it has not answered yet. */
export class EmulatedWatch implements Watch {
  private state: 'open' | 'lost' | 'closed' = 'open'
  private closing: Promise<void> | undefined
  /** notify id → where the answer goes */
  private readonly unanswered = new Map<bigint, { notifierId: bigint; endpoint: string }>()

  constructor(
    readonly cookie: bigint,
    private readonly owner: WatchOwner,
    private readonly handlers: WatchHandlers,
    private readonly unwatch: (watch: EmulatedWatch) => Promise<void>,
  ) {}

  notified({ notifyId, notifierId, endpoint, payload }: Message & { type: 'notify' }): void {
    if (this.state !== 'open') return void this.answer(notifyId, notifierId, endpoint, undefined)
    this.unanswered.set(notifyId, { notifierId, endpoint })
    const notification: Notification = {
      payload,
      notifyId,
      notifierId,
      ack: (answer = EMPTY) => {
        if (this.unanswered.delete(notifyId)) void this.answer(notifyId, notifierId, endpoint, answer)
      },
    }
    this.handlers.onNotify(notification)
  }

  /** Without an answer: the watch is gone. */
  private async answer(notifyId: bigint, notifierId: bigint, endpoint: string, payload: Buffer | undefined): Promise<void> {
    const { instanceId } = this.owner
    const message: Message = {
      type: 'ack',
      to: notifierId,
      notifyId,
      watcherId: instanceId,
      cookie: this.cookie,
      gone: payload === undefined,
      payload: payload ?? EMPTY,
    }
    // A notifier that is not there any more waits for nothing; one that can't be reached times out.
    await this.owner.send(endpoint, message).catch(() => false)
  }

  private answerAll(): void {
    for (const [notifyId, { notifierId, endpoint }] of this.unanswered) void this.answer(notifyId, notifierId, endpoint, undefined)
    this.unanswered.clear()
  }

  lose(errno: number): void {
    if (this.state !== 'open') return
    this.state = 'lost'
    this.answerAll()
    this.handlers.onError(this.owner.error(errno, 'watch'))
  }

  check(): number {
    if (this.state !== 'open') throw this.owner.error(Errno.ENOTCONN, 'watch check')
    return this.owner.confirmedAgo()
  }

  close(): Promise<void> {
    return (this.closing ??= this.end())
  }

  private async end(): Promise<void> {
    const wasOpen = this.state === 'open'
    this.state = 'closed'
    this.answerAll()
    if (wasOpen) await this.unwatch(this)
  }
}

/** A notification of this client that is waiting for its answers. */
export class PendingNotify {
  private readonly waiting: Map<string, { notifierId: bigint; cookie: bigint }>
  private readonly acks: NotifyResult['acks'] = []
  private settle!: (result: NotifyResult) => void
  readonly result = new Promise<NotifyResult>((resolve) => (this.settle = resolve))

  constructor(watchers: readonly { clientId: bigint; cookie: bigint }[]) {
    this.waiting = new Map(watchers.map(({ clientId, cookie }) => [key(clientId, cookie), { notifierId: clientId, cookie }]))
    this.settleWhenDone()
  }

  /** `payload` is undefined for a watcher that is gone: neither an answer nor a time-out. */
  answered(clientId: bigint, cookie: bigint, payload: Buffer | undefined): void {
    const watcher = this.waiting.get(key(clientId, cookie))
    if (!watcher) return
    this.waiting.delete(key(clientId, cookie))
    if (payload) this.acks.push({ ...watcher, payload })
    this.settleWhenDone()
  }

  timedOut(): void {
    this.settle({ acks: this.acks, timeouts: [...this.waiting.values()] })
  }

  private settleWhenDone(): void {
    if (this.waiting.size === 0) this.settle({ acks: this.acks, timeouts: [] })
  }
}

const key = (clientId: bigint, cookie: bigint) => `${clientId}/${cookie}`
