import { setImmediate } from 'node:timers/promises'
import type { HealthLevel, Reason } from './image-health.ts'
import type { ImageState, Metrics } from './metrics.ts'

/** What the images of one pool, namespace and peer come to. */
export interface PoolSummary {
  readonly labels: { readonly pool: string; readonly namespace: string; readonly peer: string }
  images: number
  readonly states: Map<ImageState, number>
  readonly health: Map<`${HealthLevel} ${Reason}`, number>
  /** seconds; undefined when nothing is known of any image */
  worstLag: number | undefined
  pendingSnapshots: number | undefined
  pendingBytes: number | undefined
  entriesBehind: number | undefined
  bytesPerSecond: number
}

/** Images between two breaths of the event loop. */
const IMAGES_PER_CHUNK = 1000

/** Goes once through the table, without keeping others waiting. */
export async function summarize(metrics: Metrics): Promise<PoolSummary[]> {
  const pools = new Map<string, PoolSummary>()
  const now = metrics.clock.now() / 1000
  let seen = 0
  for (const image of [...metrics.images]) {
    if (++seen % IMAGES_PER_CHUNK === 0) await setImmediate()
    let pool = pools.get(image.poolKey)
    if (!pool) pools.set(image.poolKey, (pool = empty(image.labels)))
    const { level, reason } = image.health()
    const lag = image.lagSeconds(now)
    pool.images++
    count(pool.states, image.state)
    count(pool.health, `${level} ${reason}` as const)
    if (lag !== undefined) pool.worstLag = Math.max(pool.worstLag ?? 0, lag)
    pool.pendingSnapshots = plus(pool.pendingSnapshots, image.pendingSnapshots)
    pool.pendingBytes = plus(pool.pendingBytes, image.pendingBytes)
    pool.entriesBehind = plus(pool.entriesBehind, image.entriesBehind)
    pool.bytesPerSecond += image.bytesPerSecond
  }
  return [...pools.values()]
}

function empty({ pool, namespace, peer }: PoolSummary['labels']): PoolSummary {
  return {
    labels: { pool, namespace, peer },
    images: 0,
    states: new Map(),
    health: new Map(),
    worstLag: undefined,
    pendingSnapshots: undefined,
    pendingBytes: undefined,
    entriesBehind: undefined,
    bytesPerSecond: 0,
  }
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

function plus(sum: number | undefined, more: number | undefined): number | undefined {
  return more === undefined ? sum : (sum ?? 0) + more
}
