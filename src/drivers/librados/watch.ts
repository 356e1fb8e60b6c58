import { Errno, isErrno } from '../../rados/errors.ts'
import type { Watch, WatchHandlers } from '../../rados/io-ctx.ts'
import type { LibradosIoCtx } from './io-ctx.ts'
import { callbacks } from './completions.ts'
import { returnArena, takeArena } from './memory.ts'
import { addWatchListener, removeWatchListener } from './watch-events.ts'

/** Nothing to undo: the watch is gone already, the object is, or we are shut out. */
const GONE = [Errno.ENOENT, Errno.ENOTCONN, Errno.ESHUTDOWN]

/** A cluster that does not answer must not hold up whoever closes (milliseconds); the watch ends when the cluster is back. */
const UNWATCH_TIMEOUT_MS = 5000

/** A watch through rados_aio_watch2. It holds the io context that it was made with. */
export class LibradosWatch implements Watch {
  cookie = 0n
  private closing: Promise<void> | undefined
  private untrack: (() => void) | undefined
  private release: (() => void) | undefined
  private readonly listener: number

  private constructor(
    private readonly io: LibradosIoCtx,
    private readonly oid: string,
    handlers: WatchHandlers,
  ) {
    this.listener = addWatchListener({
      notified: (notifyId, cookie, notifierId, payload) => {
        let acknowledged = false
        handlers.onNotify({
          payload,
          notifyId,
          notifierId,
          ack: (answer = EMPTY) => {
            if (acknowledged) return
            acknowledged = true
            io.acknowledge(oid, notifyId, cookie, answer)
          },
        })
      },
      failed: (errno) => handlers.onError(io.error(errno, 'watch', oid)),
    })
  }

  static async open(io: LibradosIoCtx, oid: string, handlers: WatchHandlers): Promise<LibradosWatch> {
    const watch = new LibradosWatch(io, oid, handlers)
    watch.release = io.hold()
    const arena = takeArena(1)
    const cookie = arena.take()
    try {
      await io.call({
        op: 'watch',
        oid,
        lingers: true,
        begin: (native, completion) => io.api.aioWatch(native, oid, completion, arena.at(cookie), callbacks().notify, callbacks().watchError, 0, watch.listener),
        result: () => {
          watch.cookie = arena.u64(cookie)
          // too late for `close` to know of it
          if (io.connection.closed) watch.endNative().catch(() => undefined) // told to nobody: it ends with the connection
        },
        cleanup: () => returnArena(arena),
      })
    } catch (error) {
      watch.forget()
      throw error
    }
    if (io.connection.closed) {
      watch.forget()
      throw io.error(Errno.ESHUTDOWN, 'watch during close', oid)
    }
    watch.untrack = io.connection.track('watch', watch)
    return watch
  }

  check(): number {
    if (this.closing || this.io.connection.isDown) throw this.io.error(Errno.ENOTCONN, 'watch check', this.oid)
    const age = this.io.api.watchCheck(this.io.native, this.cookie)
    if (age < 0) throw this.io.error(age, 'watch check', this.oid)
    return age
  }

  close(): Promise<void> {
    return (this.closing ??= this.unwatch())
  }

  private endNative(): Promise<void> {
    return this.io.call({
      op: 'unwatch',
      oid: this.oid,
      lingers: true,
      begin: (native, completion) => this.io.api.aioUnwatch(native, this.cookie, completion),
      result: () => undefined,
      timeoutMs: UNWATCH_TIMEOUT_MS,
      duringClose: true,
    })
  }

  private async unwatch(): Promise<void> {
    try {
      await this.endNative()
    } catch (error) {
      if (!isErrno(error, ...GONE)) throw error
    } finally {
      this.forget()
    }
  }

  private forget(): void {
    removeWatchListener(this.listener)
    this.untrack?.()
    this.release?.()
  }
}

const EMPTY = Buffer.alloc(0)
