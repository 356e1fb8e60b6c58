/** Upper bounds in seconds: from a delta of nothing to a first copy of a day. */
export const syncBounds = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400] as const

export interface SyncSeries {
  pool: string
  namespace: string
  peer: string
  /** of each bound, not cumulative; the last one is of those beyond all bounds */
  counts: number[]
  sum: number
}

/** How long syncs took, by pool, namespace and peer. */
export class SyncHistogram {
  private readonly byLabels = new Map<string, SyncSeries>()

  observe({ pool, namespace, peer }: { pool: string; namespace: string; peer: string }, seconds: number): void {
    const key = `${pool}\n${namespace}\n${peer}`
    let series = this.byLabels.get(key)
    if (!series) this.byLabels.set(key, (series = { pool, namespace, peer, counts: new Array<number>(syncBounds.length + 1).fill(0), sum: 0 }))
    const index = syncBounds.findIndex((bound) => seconds <= bound)
    series.counts[index < 0 ? syncBounds.length : index]!++
    series.sum += seconds
  }

  all(): Iterable<SyncSeries> {
    return this.byLabels.values()
  }
}
