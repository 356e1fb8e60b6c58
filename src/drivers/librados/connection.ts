import { Semaphore } from '../../base/semaphore.ts'
import { Errno, RadosError, type RadosErrorContext } from '../../rados/errors.ts'
import { disownCall, endCall, startCall, type PendingCall } from './completions.ts'
import { afterCallbacks } from './event-queue.ts'
import { librados, type Librados, type Pointer } from './native.ts'
import { connectionClosed, connectionOpened, runOnPool, runOnThread } from './threads.ts'

/** Of libuv's few threads, how many one connection may hold with calls that block. */
const BLOCKING_CALLS = 2
/** how long close waits for watches, for what is in flight, and for the shutdown of librados, each (milliseconds). */
const CLOSE_STEP_MS = 1000

/**
 * How long a connection whose cluster has not answered yet is kept for it, after its close (milliseconds): a notification that comes in while librados
 * shuts down with a watch left aborts the process (Objecter::_do_watch_notify).
 */
const KEEP_MS = 60_000

/** What of a native call the connection has to know to end it. */
export interface ConnectionCall extends PendingCall {
  io: Pointer
  /** Goes out after close too, as long as there is a native connection. */
  duringClose?: boolean | undefined
  fail(error: Error): void
}

/** Anything opened on the connection that has to end before it. */
export interface Closable {
  close(): unknown
}

/** The native handle of one cluster: calls in flight, calls that block, and the end of it all. */
export class Connection {
  readonly api: Librados = librados()
  private readonly inFlight = new Set<ConnectionCall>()
  private readonly watches = new Set<Closable>()
  private readonly contexts = new Set<Closable>()
  private readonly blockingSlots = new Semaphore(BLOCKING_CALLS)
  private readonly keepAlive = setInterval(() => undefined, 2 ** 30) // nothing of librados keeps Node running
  /** native calls that block, until they return, whoever still waits for them */
  private readonly running = new Set<Promise<unknown>>()
  /** Aborted when librados is shut down: nothing is called with this handle, its contexts or its watches any more. */
  private readonly down = new AbortController()
  private closing: Promise<void> | undefined
  private idle: (() => void) | undefined
  private forgotten: (() => void) | undefined
  private shut = false

  constructor(
    readonly handle: Pointer,
    readonly name: string,
    /** milliseconds until a call that blocks is given up; undefined: never */
    private readonly timeoutMs: number | undefined,
  ) {
    connectionOpened()
  }

  get closed(): boolean {
    return this.closing !== undefined
  }

  /** True from the moment on that close waits no longer: what is still open of librados is memory that may be gone. */
  get isDown(): boolean {
    return this.down.signal.aborted
  }

  error(errno: number, context: Omit<RadosErrorContext, 'cluster'>): RadosError {
    return new RadosError(errno, { ...context, cluster: this.name })
  }

  assertOpen(op: string): void {
    if (this.closed) throw this.error(Errno.ESHUTDOWN, { op: `${op} after close` })
  }

  track(kind: 'watch' | 'context', closable: Closable): () => void {
    const set = kind === 'watch' ? this.watches : this.contexts
    set.add(closable)
    return () => set.delete(closable)
  }

  /** Starts a native asynchronous call; a negative status means that it was refused and never completes. */
  start(call: ConnectionCall, begin: (completion: Pointer) => number): number {
    if (this.shut || (this.isDown && !call.duringClose)) return -Errno.ESHUTDOWN
    const completed = call.completed.bind(call)
    call.completed = (result, completion) => {
      this.inFlight.delete(call)
      completed(result, completion)
      if (this.inFlight.size === 0) this.idle?.()
      if (call.lingers && !this.lingers()) this.forgotten?.()
    }
    const status = startCall(call, begin)
    if (status >= 0) this.inFlight.add(call)
    return status
  }

  /** Ends the wait for a call that an OSD has not answered; it completes with ECANCELED. Nothing writes into its buffers afterwards. */
  cancel(call: ConnectionCall): void {
    if (!this.isDown && this.inFlight.has(call)) this.api.aioCancel(call.io, call.completion)
  }

  /**
   * A native function that blocks, on a thread of libuv's pool. Rejects with ETIMEDOUT when the connection's time-out is over; `start`'s
   * memory has to live until `done` is called, not until the promise settles.
   */
  async blocking(op: string, start: (done: (error: Error | null, result: number) => void) => void): Promise<number> {
    this.assertOpen(op)
    return this.deadline(
      op,
      this.blockingSlots.run(
        1,
        () => {
          this.assertOpen(op)
          return this.keepUntilDone(runOnPool(start))
        },
        this.down.signal,
      ),
    )
  }

  /** `int name(rados_t)` on a thread of its own. */
  async onThread(op: string, name: string): Promise<number> {
    this.assertOpen(op)
    const call = runOnThread(name, this.handle)
    return this.deadline(op, this.keepUntilDone(call.result)).finally(() => call.abandon())
  }

  private keepUntilDone<T>(work: Promise<T>): Promise<T> {
    this.running.add(work)
    void work.catch(() => undefined).finally(() => this.running.delete(work))
    return work
  }

  private deadline(op: string, work: Promise<number>): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = this.timeoutMs === undefined ? undefined : setTimeout(() => reject(this.error(Errno.ETIMEDOUT, { op })), this.timeoutMs)
      const onClose = () => reject(this.error(Errno.ESHUTDOWN, { op: `${op} during close` }))
      this.down.signal.addEventListener('abort', onClose, { once: true })
      work.then(resolve, reject).finally(() => {
        clearTimeout(timer)
        this.down.signal.removeEventListener('abort', onClose)
      })
    })
  }

  /**
   * cancel calls in flight → unwatch → watch flush → destroy io contexts → shutdown. No step waits longer than CLOSE_STEP_MS; what a dead
   * cluster does not answer goes on in the background without holding anything up.
   */
  close(): Promise<void> {
    return (this.closing ??= this.shutDown())
  }

  private async shutDown(): Promise<void> {
    for (const call of [...this.inFlight]) this.cancel(call)
    await within(
      CLOSE_STEP_MS,
      this.endWatches().then(() => this.drained()),
    )
    this.down.abort()
    const left = [...this.inFlight]
    for (const call of left) {
      disownCall(call)
      call.fail(this.error(Errno.ESHUTDOWN, { op: 'call during close' }))
    }
    for (const context of [...this.contexts]) context.close()
    await within(CLOSE_STEP_MS, this.endNative(left))
    clearInterval(this.keepAlive)
  }

  /**
   * rados_shutdown frees what a thread that is in a blocking call still uses, so it has to wait until they are back; a cluster that never
   * answers them keeps its memory.
   */
  private async endNative(left: readonly ConnectionCall[]): Promise<void> {
    while (this.running.size > 0) await Promise.allSettled(this.running)
    if (this.lingers()) await within(KEEP_MS, this.allForgotten())
    this.shut = true
    const shutdown = runOnThread('rados_shutdown', this.handle)
    shutdown.abandon()
    await shutdown.result
    connectionClosed()
    // librados has dropped what was in flight without completing it, and calls nobody back any more.
    afterCallbacks(() => {
      for (const call of left) endCall(call, -Errno.ESHUTDOWN)
    })
  }

  private lingers(): boolean {
    for (const call of this.inFlight) if (call.lingers) return true
    return false
  }

  /** When the cluster has answered, librados has no watch left, and nobody to call back. */
  private async allForgotten(): Promise<void> {
    if (this.lingers()) await new Promise<void>((resolve) => (this.forgotten = resolve))
    await this.watchFlush()
  }

  private async endWatches(): Promise<void> {
    if (this.watches.size === 0) return
    await Promise.allSettled([...this.watches].map((watch) => watch.close()))
    await this.watchFlush()
  }

  private drained(): Promise<void> {
    return this.inFlight.size === 0 ? Promise.resolve() : new Promise<void>((resolve) => (this.idle = resolve))
  }

  private watchFlush(): Promise<void> {
    return new Promise((resolve) => {
      const call: ConnectionCall = { io: 0, completion: 0, lingers: true, duringClose: true, completed: () => resolve(), fail: () => resolve() }
      const status = this.start(call, (completion) => this.api.aioWatchFlush(this.handle, completion))
      if (status < 0) resolve()
    })
  }
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  // what keeps the process alive is the connection, until its close is over
  await Promise.race([work, new Promise((resolve) => (timer = setTimeout(resolve, ms).unref()))])
  clearTimeout(timer)
}
