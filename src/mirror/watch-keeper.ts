import { Backoff } from '../base/backoff.ts'
import { abortable } from '../base/cancelled.ts'
import { delay, type Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx, Watch } from '../rados/io-ctx.ts'

export interface WatchSpec {
  readonly io: IoCtx
  readonly oid: string
  /** What was sent; every notification is acknowledged for you. */
  onNotify(payload: Buffer): void
  /** The watch stands (anew): whatever was missed meanwhile is to be read again. */
  onWatched(): void
  /** The object does not exist, so there is nothing to watch; it is tried again. */
  onMissing?(): void
  /** The cluster has not confirmed the watch for a while: it may be dead. Called again while that lasts. */
  onSilent?(): void
}

export interface WatchDeps {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

const RETRY_FIRST_MS = 100
const RETRY_MAX_MS = 5_000
/** librados pings the OSD of a watch every five seconds (objecter_tick_interval). */
const CHECK_MS = 5_000
const SILENT_MS = 13_000

/** Keeps a watch until the signal is aborted. Rejects when the connection is blocklisted: nothing can be watched with it any more. */
export async function keepWatch(spec: WatchSpec, deps: WatchDeps, signal: AbortSignal): Promise<void> {
  const { io, oid } = spec
  const backoff = new Backoff(deps.random, RETRY_FIRST_MS, RETRY_MAX_MS)
  for (;;) {
    signal.throwIfAborted()
    let lost: (error: Error) => void = () => undefined
    const loss = new Promise<Error>((resolve) => (lost = resolve))
    let watch: Watch | undefined
    let stopChecking = () => undefined as void
    try {
      watch = await io.watch(oid, {
        onNotify: (notification) => {
          notification.ack()
          spec.onNotify(notification.payload)
        },
        onError: lost,
      })
      backoff.reset()
      spec.onWatched()
      stopChecking = checkRegularly(watch, spec, deps.clock)
      const error = await abortable(loss, signal)
      deps.log.warn({ oid, namespace: io.namespace, err: error }, 'watch lost')
      if (isErrno(error, EBLOCKLISTED)) throw error
    } catch (error) {
      signal.throwIfAborted()
      if (isErrno(error, EBLOCKLISTED)) throw error
      if (isErrno(error, Errno.ENOENT)) spec.onMissing?.()
      else deps.log.warn({ oid, namespace: io.namespace, err: error }, 'cannot watch')
    } finally {
      stopChecking()
      // an unwatch that fails leaves nothing to do: the OSD drops the watch of a client that is gone
      await watch?.close().catch((error: unknown) => deps.log.debug({ oid, err: error }, 'cannot unwatch'))
    }
    await delay(deps.clock, backoff.step(), signal)
  }
}

function checkRegularly(watch: Watch, spec: WatchSpec, clock: Clock): () => void {
  if (!spec.onSilent) return () => undefined
  let cancel = () => undefined as void
  const schedule = () => {
    cancel = clock.setTimer(CHECK_MS, () => {
      schedule()
      if (silentFor(watch) > SILENT_MS) spec.onSilent!()
    })
  }
  schedule()
  return () => cancel()
}

/** Milliseconds; a watch that is lost is `onError`'s business. */
function silentFor(watch: Watch): number {
  try {
    return watch.check()
  } catch {
    return 0
  }
}
