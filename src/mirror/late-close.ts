import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Cluster } from '../rados/cluster.ts'

export interface LateCloseOptions {
  readonly cluster: Pick<Cluster, 'name' | 'close'>
  /** how long after the abort */
  readonly limitMs: number
  /** A small question to the cluster: if it is answered within the limit, the cluster lives and gets the grace besides. */
  readonly probe?: () => Promise<unknown>
  readonly graceMs?: number
  readonly clock: Clock
  readonly log: Log
}

/**
 * A cluster that does not answer must not keep anything from stopping: it is closed some time after the abort, under whatever still waits
 * for it (that rejects then). The returned function calls it off.
 */
export function closeAfterAbort(options: LateCloseOptions, signal: AbortSignal): () => void {
  const { cluster, limitMs, probe, graceMs = 0, clock, log } = options
  let cancel = () => undefined as void
  let off = false
  const close = () => {
    log.warn({ cluster: cluster.name }, 'closing a connection under operations that do not end')
    void cluster.close().catch((error: unknown) => log.warn({ err: error }, 'cannot close a connection'))
  }
  const onAbort = () => {
    let lives = false
    probe?.().then(
      () => (lives = true),
      (error: unknown) => log.debug({ err: error }, 'the cluster does not answer any more'),
    )
    cancel = clock.setTimer(limitMs, () => {
      if (off) return
      if (lives) cancel = clock.setTimer(graceMs, close)
      else close()
    })
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return () => {
    off = true
    signal.removeEventListener('abort', onAbort)
    cancel()
  }
}
