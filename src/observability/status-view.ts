import { setImmediate } from 'node:timers/promises'
import type { EventLoopDelay } from './event-loop-delay.ts'
import type { DaemonEvent } from './event-log.ts'
import { BadQuery, imageFilter, imageSpec, numberIn } from './image-filter.ts'
import type { HealthLevel, Reason } from './image-health.ts'
import type { BandwidthFigures, ImageMetrics, ImageState, Metrics, PeerQueues } from './metrics.ts'
import { summarize, type PoolSummary } from './pool-summary.ts'

/** Who this daemon is. */
export interface DaemonIdentity {
  version: string
  cluster: string
  /** `client.ID` */
  entity: string
  hostname: string
  /** milliseconds since the epoch */
  startedAt: number
}

/** The daemon at a glance. Times are milliseconds since the epoch, durations seconds. */
export interface StatusView {
  daemon: DaemonIdentity & {
    now: number
    pid: number
    /** seconds */
    eventLoopDelay: { median: number; p99: number; max: number } | null
    residentBytes: number
  }
  health: HealthLevel
  images: number
  bytesPerSecond: number
  pools: PoolView[]
  peers: PeerView[]
  bandwidth: readonly BandwidthFigures[]
  events: DaemonEvent[]
}

export interface PoolView {
  pool: string
  namespace: string
  peer: string
  images: number
  states: Partial<Record<ImageState, number>>
  health: { level: HealthLevel; reason: Reason; images: number }[]
  worstLagSeconds: number | null
  pendingSnapshots: number | null
  pendingBytes: number | null
  entriesBehind: number | null
  bytesPerSecond: number
}

export interface PeerView {
  pool: string
  peer: string
  /** null when another daemon leads the pool */
  up: boolean | null
  leader: boolean
  connectionLosses: number
  queues: PeerQueues
}

export interface ImageView {
  /** POOL/[NS/]IMAGE */
  spec: string
  pool: string
  namespace: string
  image: string
  peer: string
  globalImageId: string
  mode: 'snapshot' | 'journal'
  state: ImageState
  stateSince: number
  description: string
  health: HealthLevel
  reason: Reason
  healthText: string
  primaryTimestamp: number | null
  replicatedTimestamp: number | null
  lagSeconds: number | null
  rpoSeconds: number | null
  /** 0 to 1 */
  progress: number | null
  secondsLeft: number | null
  bytesPerSecond: number
  bytes: number
  pendingSnapshots: number | null
  pendingBytes: number | null
  entriesBehind: number | null
  lastSyncSeconds: number | null
  lastSyncBytes: number | null
  errors: number
  /** lag in seconds, minute by minute, the newest last */
  lagHistory: (number | null)[]
}

export interface ImagePage {
  /** images that match the query, of `total` that there are */
  matching: number
  total: number
  offset: number
  images: ImageView[]
}

export interface StatusSource {
  metrics: Metrics
  identity: DaemonIdentity
  eventLoop: EventLoopDelay | undefined
}

const MAX_PAGE = 500
const DEFAULT_PAGE = 50
const MAX_EVENTS = 200
const EVENTS_SHOWN = 30
const IMAGES_PER_CHUNK = 1000

const severity: Record<HealthLevel, number> = { ok: 0, warning: 1, error: 2 }

/** @throws BadQuery */
export async function statusView({ metrics, identity, eventLoop }: StatusSource, query = new URLSearchParams()): Promise<StatusView> {
  const events = metrics.events.newest(numberIn(query, 'events', EVENTS_SHOWN, MAX_EVENTS))
  const pools = (await summarize(metrics)).map(poolView)
  pools.sort((a, b) => compare(a.pool, b.pool) || compare(a.namespace, b.namespace) || compare(a.peer, b.peer))
  const peers = [...metrics.peers].map(({ labels, up, leader, downs, queues }) => ({
    ...labels,
    up: up ?? null,
    leader,
    connectionLosses: downs,
    queues: queues(),
  }))
  const levels = [...pools.flatMap(({ health }) => health.map(({ level }) => level)), ...peers.map(({ up }) => (up === false ? 'error' : 'ok'))] as const
  const health = levels.reduce<HealthLevel>((worst, level) => (severity[level] > severity[worst] ? level : worst), 'ok')
  return {
    daemon: {
      ...identity,
      now: metrics.clock.now(),
      pid: process.pid,
      eventLoopDelay: eventLoop?.quantiles() ?? null,
      residentBytes: process.memoryUsage.rss(),
    },
    health,
    images: metrics.images.size,
    bytesPerSecond: Math.round(pools.reduce((sum, pool) => sum + pool.bytesPerSecond, 0)),
    pools,
    peers,
    bandwidth: metrics.bandwidth(),
    events,
  }
}

function poolView({ labels, images, states, health, worstLag, bytesPerSecond, ...rest }: PoolSummary): PoolView {
  return {
    ...labels,
    images,
    states: Object.fromEntries(states),
    health: [...health].map(([key, count]) => {
      const [level, reason] = key.split(' ') as [HealthLevel, Reason]
      return { level, reason, images: count }
    }),
    worstLagSeconds: rounded(worstLag),
    pendingSnapshots: rest.pendingSnapshots ?? null,
    pendingBytes: rest.pendingBytes ?? null,
    entriesBehind: rest.entriesBehind ?? null,
    bytesPerSecond: Math.round(bytesPerSecond),
  }
}

/** What pages are sorted by: larger keys come first, then the name decides. */
const orders = {
  trouble: (image: ImageMetrics, now: number) => severity[image.health().level] * 1e12 + (image.lagSeconds(now) ?? 0),
  name: () => 0,
  lag: (image: ImageMetrics, now: number) => image.lagSeconds(now) ?? -1,
  rate: (image: ImageMetrics) => image.bytesPerSecond,
  progress: (image: ImageMetrics) => image.syncProgress ?? -1,
  errors: (image: ImageMetrics) => image.errors,
} satisfies Record<string, (image: ImageMetrics, now: number) => number>

/** The orders in which images may be asked for. */
export type ImageOrder = keyof typeof orders

/** @throws BadQuery */
export function orderOf(query: URLSearchParams): ImageOrder {
  const order = query.get('sort') || 'trouble'
  if (!Object.hasOwn(orders, order)) throw new BadQuery(`sort is one of ${Object.keys(orders).join(', ')}`)
  return order as ImageOrder
}

/** All images in that order, as they are now. */
export async function sortedImages(metrics: Metrics, order: ImageOrder): Promise<ImageMetrics[]> {
  const keyOf = orders[order]
  const now = metrics.clock.now() / 1000
  const rows: { image: ImageMetrics; key: number; spec: string }[] = []
  for (const image of [...metrics.images]) {
    if (rows.push({ image, key: keyOf(image, now), spec: imageSpec(image) }) % IMAGES_PER_CHUNK === 0) await setImmediate()
  }
  rows.sort((a, b) => b.key - a.key || compare(a.spec, b.spec))
  return rows.map(({ image }) => image)
}

/**
 * A page of images: the filters of {@link imageFilter}, `sort` (trouble, name, lag, rate, progress, errors), `offset` and `limit`.
 *
 * @param sorted who has sorted them just now; those that are gone since are left out
 * @throws BadQuery
 */
export async function imagePage(
  metrics: Metrics,
  query: URLSearchParams,
  sorted: (order: ImageOrder) => Promise<readonly ImageMetrics[]> = (order) => sortedImages(metrics, order),
): Promise<ImagePage> {
  const order = orderOf(query)
  const offset = numberIn(query, 'offset', 0, Number.MAX_SAFE_INTEGER)
  const limit = numberIn(query, 'limit', DEFAULT_PAGE, MAX_PAGE)
  const filter = imageFilter(query)
  const now = metrics.clock.now() / 1000
  const shown: ImageMetrics[] = []
  let matching = 0
  let seen = 0
  for (const image of await sorted(order)) {
    if (++seen % IMAGES_PER_CHUNK === 0) await setImmediate()
    if (!metrics.images.has(image) || !filter.matches(image)) continue
    if (matching >= offset && shown.length < limit) shown.push(image)
    matching++
  }
  return { matching, total: metrics.images.size, offset, images: shown.map((image) => imageView(image, now)) }
}

function imageView(image: ImageMetrics, now: number): ImageView {
  const { level, reason, text } = image.health()
  const { pool, namespace, peer, globalImageId } = image.labels
  return {
    spec: imageSpec(image),
    pool,
    namespace,
    image: image.name,
    peer,
    globalImageId,
    mode: image.entries === undefined && image.entriesBehind === undefined ? 'snapshot' : 'journal',
    state: image.state,
    stateSince: image.stateSince,
    description: image.description,
    health: level,
    reason,
    healthText: text,
    primaryTimestamp: image.primaryTimestamp ?? null,
    replicatedTimestamp: image.replicatedTimestamp ?? null,
    lagSeconds: rounded(image.lagSeconds(now)),
    rpoSeconds: image.rpoSeconds ?? null,
    progress: image.syncProgress ?? null,
    secondsLeft: rounded(image.secondsLeft()),
    bytesPerSecond: Math.round(image.bytesPerSecond),
    bytes: image.bytes,
    pendingSnapshots: image.pendingSnapshots ?? null,
    pendingBytes: image.pendingBytes ?? null,
    entriesBehind: image.entriesBehind ?? null,
    lastSyncSeconds: rounded(image.lastSyncSeconds),
    lastSyncBytes: image.lastSyncBytes ?? null,
    errors: image.errors,
    lagHistory: image.lagHistory.list(),
  }
}

function rounded(seconds: number | undefined): number | null {
  return seconds === undefined ? null : Math.round(seconds * 10) / 10
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
