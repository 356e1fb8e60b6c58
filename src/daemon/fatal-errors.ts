import { isCancelled } from '../base/cancelled.ts'
import type { Log } from '../base/log.ts'

/**
 * An error that nobody handles is a bug, and what it has left undone is not known: the daemon says so in its log and ends, to be started
 * again and to observe everything anew. Returns what takes the handlers away.
 */
export function handleFatalErrors(end: (error: unknown) => void, log: Log): () => void {
  const onError = (error: unknown) => {
    if (isCancelled(error)) {
      log.warn({ error }, 'a cancelled task that nobody awaited')
      return
    }
    log.error({ error }, 'a bug: an error that nobody handles')
    end(error)
  }
  process.on('uncaughtException', onError)
  process.on('unhandledRejection', onError)
  return () => {
    process.removeListener('uncaughtException', onError)
    process.removeListener('unhandledRejection', onError)
  }
}
