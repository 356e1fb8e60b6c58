import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { ConfigError } from '../config/config-error.ts'
import type { Options } from '../config/options.ts'
import type { EventLoopDelay } from '../observability/event-loop-delay.ts'
import type { Exposition } from '../observability/exposition.ts'
import type { Metrics } from '../observability/metrics.ts'
import type { StatusPage } from '../observability/status-page.ts'
import type { Health, StatusServiceOptions } from '../observability/status-service.ts'
import type { DaemonIdentity } from '../observability/status-view.ts'
import { cephVersion, programVersion } from './version.ts'

const loadAfterMs = 2_000

export interface Served {
  options: Options
  metrics: Metrics
  identity: DaemonIdentity
  eventLoop: EventLoopDelay
  health(): Health
  ready(): Health
  clock: Clock
  log: Log
}

/**
 * Serves the status page, `/metrics`, `/healthz` and `/readyz` as the options want it; returns what ends it. A port that somebody chose
 * has to be free; the default one may be that of another daemon on this host, and then there are no metrics.
 *
 * @throws ConfigError
 */
export async function serveMetrics(served: Served): Promise<() => Promise<void>> {
  const { options, clock, log } = served
  const port = options.get('rbd_mirror_metrics_port')
  const address = options.get('rbd_mirror_metrics_address')
  if (port === 0) return async () => undefined
  const { HttpServer } = await import('../observability/http-server.ts')
  const { statusRoutes } = await import('../observability/status-service.ts')
  const loaded = lateParts(served)
  try {
    const server = await HttpServer.listen({ address, port, routes: statusRoutes({ ...served, ...loaded }), log })
    log.info({ address, port }, 'serving metrics')
    const cancel = clock.setTimer(loadAfterMs, () => {
      Promise.all([loaded.exposition(), loaded.page()]).catch((error: unknown) => log.error({ error }, "can't load what serves the metrics"))
    })
    return () => {
      cancel()
      return server.close()
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const problem = code === 'EADDRINUSE' ? 'it is taken' : code === 'EACCES' ? 'no permission to listen there' : `can't listen there: ${code}`
    const chosen = [options.source('rbd_mirror_metrics_port'), options.source('rbd_mirror_metrics_address')].some((source) => source !== 'default')
    if (chosen) {
      const where = `metrics at ${address} port ${port}`
      throw new ConfigError(`${problem}; choose another rbd_mirror_metrics_port (0 for none) or rbd_mirror_metrics_address`, where, { cause: error })
    }
    log.warn({ address, port }, `no metrics: ${problem}; choose another rbd_mirror_metrics_port`)
    return async () => undefined
  }
}

/**
 * It takes a while to load, and the start is to be quick: so that waits for the first who asks, but not for long, for the program may be
 * upgraded under us.
 */
function lateParts({ options, metrics, eventLoop }: Served): Pick<StatusServiceOptions, 'exposition' | 'page'> {
  let exposition: Promise<Exposition> | undefined
  let page: Promise<StatusPage> | undefined
  const loadExposition = async () => {
    const { Exposition } = await import('../observability/exposition.ts')
    return new Exposition({
      metrics,
      build: { version: programVersion, cephVersion },
      eventLoop,
      imageLimit: () => options.get('rbd_mirror_metrics_image_limit'),
      cephNames: () => options.get('rbd_mirror_metrics_ceph_names'),
    })
  }
  return {
    exposition: () => (exposition ??= loadExposition()),
    page: () => (page ??= import('../observability/status-page.ts').then(({ readStatusPage }) => readStatusPage())),
  }
}
