import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { ConfigError } from '../config/config-error.ts'
import type { Options } from '../config/options.ts'
import type { Exposition } from '../observability/exposition.ts'
import type { Health } from '../observability/http-server.ts'
import type { Metrics } from '../observability/metrics.ts'
import { cephVersion, programVersion } from './version.ts'

const loadAfterMs = 2_000

/**
 * Serves `/metrics` and `/healthz` as the options want it; returns what ends it. A port that somebody chose has to be free; the
 * default one may be that of another daemon on this host, and then there are no metrics.
 *
 * @throws ConfigError
 */
export async function serveMetrics(options: Options, metrics: Metrics, health: () => Health, clock: Clock, log: Log): Promise<() => Promise<void>> {
  const port = options.get('rbd_mirror_metrics_port')
  const address = options.get('rbd_mirror_metrics_address')
  if (port === 0) return async () => undefined
  const { HttpServer } = await import('../observability/http-server.ts')
  let exposition: Promise<Exposition> | undefined
  // It takes a while to load, and the start is to be quick: so that waits for the first scrape, but not for long, for the program may be
  // upgraded under us.
  const load = async () => new (await import('../observability/exposition.ts')).Exposition(metrics, { version: programVersion, cephVersion })
  const scrape = async () => {
    const page = await (exposition ??= load())
    return { type: page.contentType, text: await page.text() }
  }
  try {
    const server = await HttpServer.listen({ address, port, scrape, health, log })
    log.info({ address, port }, 'serving metrics')
    const cancel = clock.setTimer(loadAfterMs, () => {
      exposition ??= load()
      exposition.catch((error: unknown) => log.error({ error }, "can't load what serves the metrics"))
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
