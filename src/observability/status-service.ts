import type { Exposition } from './exposition.ts'
import type { Answer, Route } from './http-server.ts'
import type { ImageMetrics } from './metrics.ts'
import { SharedLook } from './shared-look.ts'
import { eventStream } from './status-stream.ts'
import { imagePage, sortedImages, statusView, type ImageOrder, type StatusSource } from './status-view.ts'

export interface Health {
  ok: boolean
  /** one line, shown to whoever asks */
  detail: string
}

export interface StatusServiceOptions extends StatusSource {
  /** loaded when the first one scrapes */
  exposition(): Promise<Exposition>
  /** whether the process is alive, and whether it does its work */
  health(): Health
  ready(): Health
  /** the status page, and what its own Content-Security-Policy says */
  page(): Promise<{ html: string; policy: string }>
}

const MAX_STREAMS = 16
const MAX_SCRAPES = 8
/** How old may be what is shown to those who watch. */
const WATCHED_MS = 900

const plain = 'text/plain; charset=utf-8'
const json = (value: unknown): Answer => ({ type: 'application/json', body: `${JSON.stringify(value)}\n` })
const busy = (what: string): Answer => ({ status: 503, type: plain, body: `too many ${what} at a time\n`, headers: { 'retry-after': '5' } })

/** Counts what runs at a time. */
class Places {
  private taken = 0
  constructor(private readonly max: number) {}

  take(): (() => void) | undefined {
    if (this.taken >= this.max) return undefined
    this.taken++
    let held = true
    return () => {
      if (held) this.taken--
      held = false
    }
  }
}

async function* releasing(pieces: AsyncIterable<string>, release: () => void): AsyncGenerator<string> {
  try {
    yield* pieces
  } finally {
    release()
  }
}

/** All that is served by HTTP. */
export function statusRoutes(options: StatusServiceOptions): Record<string, Route> {
  const { metrics } = options
  const streams = new Places(MAX_STREAMS)
  const scrapes = new Places(MAX_SCRAPES)
  // what all who watch see, whatever page of it: made once for them
  const status = new SharedLook(() => statusView(options), metrics.clock, WATCHED_MS)
  const orders = new Map<ImageOrder, SharedLook<readonly ImageMetrics[]>>()
  const sorted = (order: ImageOrder) => {
    let look = orders.get(order)
    if (!look) orders.set(order, (look = new SharedLook(() => sortedImages(metrics, order), metrics.clock, WATCHED_MS)))
    return look.get()
  }
  const probe = ({ ok, detail }: Health): Answer => ({ status: ok ? 200 : 503, type: plain, body: `${detail}\n` })

  /** Whatever happens before the pieces are taken gives the place back. */
  const placed = async (places: Places, what: string, gone: AbortSignal, make: () => Promise<Answer>): Promise<Answer> => {
    const release = places.take()
    if (!release) return busy(what)
    gone.addEventListener('abort', release, { once: true })
    try {
      const answer = await make()
      return { ...answer, body: releasing(answer.body as AsyncIterable<string>, release) }
    } catch (error) {
      release()
      throw error
    }
  }

  return {
    '/': async () => {
      const { html, policy } = await options.page()
      return { type: 'text/html; charset=utf-8', body: html, headers: { 'content-security-policy': policy } }
    },
    '/metrics': (query, gone) =>
      placed(scrapes, 'scrapes', gone, async () => {
        const exposition = await options.exposition()
        return { type: exposition.contentType, body: exposition.page(query) }
      }),
    '/healthz': () => probe(options.health()),
    '/readyz': () => probe(options.ready()),
    '/api/status': async (query) => json(await statusView(options, query)),
    '/api/images': async (query) => json(await imagePage(metrics, query)),
    '/api/stream': (query, gone) =>
      placed(streams, 'streams', gone, async () => {
        await imagePage(metrics, query, sorted) // a bad query is told before the stream begins
        const look = async () => ({ status: await status.get(), images: await imagePage(metrics, query, sorted) })
        return { type: 'text/event-stream', body: eventStream(look, metrics.clock, gone) }
      }),
  }
}
