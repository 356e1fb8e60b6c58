import { Cancelled } from '../base/cancelled.ts'
import type { Log } from '../base/log.ts'

/** After SIGTERM everything has to be over by then; what hangs in a call to a dead cluster is left behind. */
export const shutdownDeadlineMs = 4_500

/**
 * SIGTERM and SIGINT abort `stop`, a second one ends the process at once; SIGHUP reopens the log. Once `stop` is aborted, for whatever
 * reason, the process ends within the deadline, after `abandon`. Returns what takes the handlers away.
 */
export function handleSignals(stop: AbortController, actions: { reopenLog(): void; abandon(): void }, log: Log): () => void {
  let status = 1
  const onStop = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) {
      log.warn({ signal }, 'told to stop again: leaving at once')
      actions.abandon()
      process.exit(1)
    }
    log.info({ signal }, 'stopping')
    status = 0
    stop.abort(new Cancelled(`got ${signal}`))
  }
  const onHangup = () => {
    try {
      actions.reopenLog()
      log.info({}, 'log reopened')
    } catch (error) {
      log.error({ error }, "can't reopen the log file: going on with the old one")
    }
  }
  const onAbort = () => {
    setTimeout(() => {
      log.error({}, `not stopped within ${shutdownDeadlineMs} ms: leaving what hangs behind`)
      actions.abandon()
      process.exit(status)
    }, shutdownDeadlineMs).unref()
  }
  stop.signal.addEventListener('abort', onAbort, { once: true })
  process.on('SIGTERM', onStop)
  process.on('SIGINT', onStop)
  process.on('SIGHUP', onHangup)
  return () => {
    process.removeListener('SIGTERM', onStop)
    process.removeListener('SIGINT', onStop)
    process.removeListener('SIGHUP', onHangup)
  }
}
