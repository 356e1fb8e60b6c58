import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Cluster } from '../rados/cluster.ts'

/**
 * A cluster that does not answer must not keep anything from stopping: closes it `limitMs` after the abort, under whatever still waits for
 * it (that rejects then). The returned function calls it off.
 */
export function closeAfterAbort(cluster: Cluster, limitMs: number, deps: { clock: Clock; log: Log }, signal: AbortSignal): () => void {
  let cancel = () => undefined as void
  const onAbort = () => {
    cancel = deps.clock.setTimer(limitMs, () => {
      deps.log.warn({ cluster: cluster.name }, 'closing a connection under operations that do not end')
      void cluster.close().catch((error: unknown) => deps.log.warn({ err: error }, 'cannot close a connection'))
    })
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return () => {
    signal.removeEventListener('abort', onAbort)
    cancel()
  }
}
