import { Redis, ReplyError, type RedisOptions } from 'ioredis'
import { Errno, RadosError } from '../../../rados/errors.ts'
import { Fenced } from '../engine.ts'
import type { Script } from './redis-scripts.ts'

/** How long a request is tried again while the server is out of reach (milliseconds); what it did is unknown then. */
const PATIENCE_MS = 30_000
/** How long the first connection may take (milliseconds). */
const CONNECT_MS = 10_000
/** A connection on which an answer takes longer is given up and made anew (milliseconds). */
const SILENCE_MS = 10_000
const FIRST_RECONNECT_MS = 20
const SLOWEST_RECONNECT_MS = 1000
/** Between tries of a request that a connected server refuses for now (milliseconds). */
const RETRY_MS = 50

export type Argument = string | Buffer | number

export interface RedisAddress {
  /** without a password */
  readonly place: string
  readonly options: Pick<RedisOptions, 'host' | 'port' | 'db' | 'username' | 'password' | 'tls'>
}

/** Reads `redis[s]://[[user]:password@]host[:port][/db]`. @throws RadosError EINVAL that does not tell the password */
export function parseAddress(url: string): RedisAddress {
  try {
    const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(url)
    const db = /^\/?(\d{0,9})$/.exec(pathname)?.[1]
    if (!/^rediss?:$/.test(protocol) || hostname === '' || db === undefined || search !== '' || hash !== '') throw new Error('unknown parts')
    const place = `${protocol}//${hostname}:${port || 6379}/${db || 0}`
    const options: RedisAddress['options'] = {
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port || 6379),
      db: Number(db),
      ...(username !== '' && { username: decodeURIComponent(username) }),
      ...(password !== '' && { password: decodeURIComponent(password) }),
      ...(protocol === 'rediss:' && { tls: {} }),
    }
    return { place, options }
  } catch {
    const cause = new Error('mon_host is no address of a Redis database: expected redis://host:port/db') // the parser's own error tells all of it
    throw new RadosError(Errno.EINVAL, { op: 'open a cluster on Redis', cause })
  }
}

/**
 * A connection to a Redis server that comes back by itself. Requests wait for it and are sent again when it broke before their answer came:
 * they have to bear that. After PATIENCE_MS they fail with ETIMEDOUT, and nothing is sent later.
 */
export class RedisLink {
  private readonly client: Redis
  private lastError: string | undefined
  private wrongDatabase = false
  private closed = false
  private readonly waiting = new Set<() => void>()

  private constructor(
    private readonly address: RedisAddress,
    private readonly patienceMs: number,
  ) {
    this.client = new Redis({
      ...address.options,
      protocol: 2,
      disableClientInfo: true,
      lazyConnect: true,
      connectTimeout: CONNECT_MS,
      socketTimeout: SILENCE_MS,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      maxRetriesPerRequest: 0, // requests fail as soon as their connection does
      retryStrategy: (times) => Math.min(FIRST_RECONNECT_MS * times, SLOWEST_RECONNECT_MS),
    })
    this.client.on('error', (error: Error) => {
      this.lastError = error.message
      if (error instanceof ReplyError) this.handshakeFailed(error)
    })
    this.client.on('ready', () => this.wake())
  }

  /** Where the database can't be selected ioredis would go on with another one than was asked for. */
  private handshakeFailed(error: Error & { command?: { name?: string } }): void {
    if (error.command?.name !== 'select') return
    if (errnoOf(error.message) === Errno.EAGAIN) this.client.disconnect(true)
    else this.wrongDatabase = true
  }

  /** @throws RadosError ETIMEDOUT when nobody answers there, EACCES when the server does not let us in */
  static async open(address: RedisAddress, patienceMs = PATIENCE_MS): Promise<RedisLink> {
    const link = new RedisLink(address, patienceMs)
    let timer: NodeJS.Timeout | undefined
    try {
      const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error('no answer')), CONNECT_MS)))
      await Promise.race([link.client.connect(), late])
      if (link.wrongDatabase) throw new Error(link.lastError)
      return link
    } catch (error) {
      link.close()
      const { message } = error as Error
      // What ioredis rejects with may be its own closing of the connection: the reason was told before.
      const text = link.lastError ?? message
      const errno = ReplyCode.parse(text) === undefined ? Errno.ETIMEDOUT : errnoOf(text)
      throw new RadosError(errno, { op: `connect to ${address.place}`, cause: new Error(text) })
    } finally {
      clearTimeout(timer)
    }
  }

  get place(): string {
    return this.address.place
  }

  /** Called now and whenever the connection is there again. */
  whenReady(handler: () => void): void {
    this.client.on('ready', handler)
    if (this.client.status === 'ready') handler()
  }

  /**
   * Subscribes to `channel` until the link is closed, which takes no requests then: `handler` is called for each message, and whenever
   * messages may have been missed. Resolves when it listens. @throws RadosError ETIMEDOUT
   */
  subscribe(channel: string, handler: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(this.error(Errno.ETIMEDOUT, this.lastError ?? 'no connection')), this.patienceMs)
      this.client.on('message', handler)
      const listening = () => {
        clearTimeout(timer)
        resolve()
        handler()
      }
      // When it fails the connection is gone, and there will be a next one.
      this.whenReady(() => void this.client.subscribe(channel).then(listening, (error: Error) => (this.lastError = error.message)))
    })
  }

  /** Answers as ioredis gives them: numbers, Buffers, null, arrays of them. @throws Fenced, RadosError */
  run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    const rest = [keys.length, ...keys, ...args]
    return this.untilAnswered(async () => {
      try {
        return await this.client.callBuffer('EVALSHA', [script.sha, ...rest])
      } catch (error) {
        // The server's cache was emptied, or it is another server: this loads the script as well.
        if (error instanceof Error && error.message.startsWith('NOSCRIPT')) return this.client.callBuffer('EVAL', [script.source, ...rest])
        throw error
      }
    })
  }

  command(name: string, ...args: Argument[]): Promise<unknown> {
    return this.untilAnswered(() => this.client.callBuffer(name, args))
  }

  private async untilAnswered(ask: () => Promise<unknown>): Promise<unknown> {
    const started = performance.now()
    for (;;) {
      let refused: Error | undefined
      if (this.closed) throw this.error(Errno.ESHUTDOWN, 'closed')
      if (this.wrongDatabase) throw this.error(Errno.EIO, 'the server does not let us select the database any more')
      if (this.client.status === 'ready') {
        try {
          return await ask()
        } catch (error) {
          if (!(error instanceof Error)) throw error
          if (error instanceof ReplyError) {
            refused = error
            if (error.message.startsWith('FENCED')) throw new Fenced()
            const errno = errnoOf(error.message)
            if (errno !== Errno.EAGAIN) throw this.error(errno, error.message)
          } else {
            this.lastError = error.message
          }
        }
      }
      const left = this.patienceMs - (performance.now() - started)
      if (left <= 0) throw refused ? this.error(Errno.EAGAIN, refused.message) : this.error(Errno.ETIMEDOUT, this.lastError ?? 'no connection')
      await this.pause(this.client.status === 'ready' ? Math.min(RETRY_MS, left) : left)
    }
  }

  /** Until the connection is there again, it is closed for good, or `ms` have passed. */
  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        this.waiting.delete(done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      this.waiting.add(done)
    })
  }

  private wake(): void {
    for (const done of [...this.waiting]) done()
  }

  /** Only the server's words: ioredis' own errors carry the command with its arguments, passwords among them. */
  private error(errno: number, text: string): RadosError {
    return new RadosError(errno, { op: `use ${this.place}`, cause: new Error(text) })
  }

  /** Requests under way fail with ESHUTDOWN. */
  close(): void {
    this.closed = true
    this.client.disconnect()
    this.wake()
  }
}

/** The word in capitals that a server's error begins with; in scripts of older servers it comes later. */
const ReplyCode = {
  parse: (message: string): string | undefined => /^(?:ERR Error running script.*?: -?)?([A-Z]{3,}) /.exec(message)?.[1],
}

const ERRNOS: Readonly<Record<string, number>> = {
  OOM: Errno.ENOSPC,
  READONLY: Errno.EROFS,
  LOADING: Errno.EAGAIN,
  BUSY: Errno.EAGAIN,
  TRYAGAIN: Errno.EAGAIN,
  CLUSTERDOWN: Errno.EAGAIN,
  MASTERDOWN: Errno.EAGAIN,
  NOREPLICAS: Errno.EAGAIN,
  NOAUTH: Errno.EACCES,
  WRONGPASS: Errno.EACCES,
  NOPERM: Errno.EACCES,
}

function errnoOf(message: string): number {
  const code = ReplyCode.parse(message) ?? ''
  if (code === 'MISCONF') return /No space left/i.test(message) ? Errno.ENOSPC : Errno.EIO
  if (/^ERR (invalid password|AUTH |Client sent AUTH)/.test(message)) return Errno.EACCES
  return ERRNOS[code] ?? Errno.EIO
}
