import { aliveKey, mailChannel, mailKey } from './redis-keys.ts'
import type { RedisLink } from './redis-link.ts'
import { DELIVER, DISCARD } from './redis-scripts.ts'

/** For how long others take this process for alive after it said so. */
export const ALIVE_MS = 60_000
const ALIVE_EVERY_MS = 10_000
/** Messages that are fetched at once. */
const PAGE = 100
/** Bytes before a message: its sender's id and number. */
const HEADER = 16
/** Senders whose last number is known; the one that has been silent for longest is forgotten first. */
const MAX_SENDERS = 10_000

/**
 * Messages between the processes that have one cluster open. They lie in a list for each process, which is told by pub/sub to look:
 * nothing is lost while a connection is down for a moment, and nothing is handed over twice when it was sent twice.
 */
export class RedisMail {
  private handler: ((message: Buffer) => void) | undefined
  private sent = 0
  private readonly received = new Map<string, number>()
  private fetching: Promise<void> | undefined
  private fetchAgain = false
  private closed = false
  private readonly timer: NodeJS.Timeout
  /** the last message to each endpoint, for their order */
  private readonly sending = new Map<string, Promise<boolean>>()

  /** `listener` is a link for this alone. */
  constructor(
    readonly endpoint: string,
    private readonly sender: Buffer,
    private readonly link: RedisLink,
    private readonly listener: RedisLink,
  ) {
    this.timer = setInterval(() => this.live(), ALIVE_EVERY_MS).unref()
  }

  async open(): Promise<void> {
    await this.sayAlive()
    this.link.whenReady(() => this.live())
    await this.listener.subscribe(mailChannel(this.endpoint), () => this.fetch())
  }

  private async sayAlive(): Promise<void> {
    await this.link.command('SET', aliveKey(this.endpoint), '1', 'PX', ALIVE_MS)
  }

  private live(): void {
    if (this.closed) return
    this.sayAlive().catch(() => undefined) // the next time
    this.fetch()
  }

  receive(handler: (message: Buffer) => void): void {
    this.handler = handler
    this.fetch()
  }

  send(endpoint: string, message: Buffer): Promise<boolean> | boolean {
    if (endpoint === this.endpoint) {
      queueMicrotask(() => this.handler?.(message))
      return true
    }
    const header = Buffer.alloc(HEADER)
    this.sender.copy(header, 0)
    header.writeDoubleLE(++this.sent, 8)
    const deliver = async () =>
      (await this.link.run(DELIVER, [aliveKey(endpoint), mailKey(endpoint)], [mailChannel(endpoint), Buffer.concat([header, message]), ALIVE_MS])) === 1
    // One after the other: the second try of one must not come behind the first try of the next.
    const sending = (this.sending.get(endpoint) ?? Promise.resolve()).then(deliver, deliver)
    this.sending.set(endpoint, sending)
    const done = () => {
      if (this.sending.get(endpoint) === sending) this.sending.delete(endpoint)
    }
    sending.then(done, done)
    return sending
  }

  async isGone(endpoint: string): Promise<boolean> {
    return endpoint !== this.endpoint && (await this.link.command('EXISTS', aliveKey(endpoint))) === 0
  }

  private fetch(): void {
    if (!this.handler || this.closed) return
    if (this.fetching) {
      this.fetchAgain = true
      return
    }
    this.fetching = this.fetchAll().finally(() => {
      this.fetching = undefined
      if (this.fetchAgain) this.fetch()
    })
  }

  private async fetchAll(): Promise<void> {
    const key = mailKey(this.endpoint)
    for (;;) {
      this.fetchAgain = false
      let messages: readonly Buffer[]
      try {
        messages = (await this.link.command('LRANGE', key, 0, PAGE - 1)) as Buffer[]
      } catch {
        return // they stay where they are until the connection is there again
      }
      for (const message of messages) this.take(message)
      if (messages.length === 0) return
      try {
        await this.link.run(
          DISCARD,
          [key],
          messages.map((message) => message.subarray(0, HEADER)),
        )
      } catch {
        return // what is fetched again is known by its number
      }
    }
  }

  private take(bytes: Buffer): void {
    if (this.closed || bytes.length < HEADER) return
    const sender = bytes.toString('latin1', 0, 8)
    const number = bytes.readDoubleLE(8)
    const last = this.received.get(sender) ?? 0
    if (number <= last) return
    this.received.delete(sender)
    this.received.set(sender, number)
    if (this.received.size > MAX_SENDERS) this.received.delete(this.received.keys().next().value!)
    this.handler?.(bytes.subarray(HEADER))
  }

  /** Tells others that this process has ended, if the server can be reached. */
  async close(patienceMs: number): Promise<void> {
    this.closed = true
    clearInterval(this.timer)
    let timer: NodeJS.Timeout | undefined
    const farewell = this.link.command('UNLINK', aliveKey(this.endpoint), mailKey(this.endpoint)).catch(() => undefined)
    await Promise.race([farewell, new Promise<void>((resolve) => (timer = setTimeout(resolve, patienceMs)))])
    clearTimeout(timer)
  }
}
