import { MalformedInput } from '../encoding/malformed-input.ts'
import type { Cluster } from '../rados/cluster.ts'
import { RadosError } from '../rados/errors.ts'

/** How full a pool is. */
export interface PoolUsage {
  /** 0 to 1 */
  used: number
  /** what its objects take with all their replicas */
  bytesUsed: number
  /** what can still be written to it */
  bytesAvailable: number
}

/** How full the pools of a cluster are, by name. Rejects with RadosError, or MalformedInput for an answer that makes no sense. */
export async function poolUsages(cluster: Cluster): Promise<Map<string, PoolUsage>> {
  const { code, output, status } = await cluster.monCommand({ prefix: 'df', format: 'json' })
  if (code !== 0) throw new RadosError(Math.abs(code), { op: `ask how full the pools are (${status})`, cluster: cluster.fsid })
  try {
    const { pools } = JSON.parse(output.toString()) as { pools: { name: string; stats: { percent_used: number; bytes_used: number; max_avail: number } }[] }
    return new Map(pools.map(({ name, stats }) => [name, { used: stats.percent_used, bytesUsed: stats.bytes_used, bytesAvailable: stats.max_avail }]))
  } catch (error) {
    throw new MalformedInput('answer to "df"', String(error), { cause: error })
  }
}

export interface ThrownAway {
  id: string
  /** the pool that has its data */
  dataPool: string
}

/**
 * Which images have to go so that no pool with data of them is fuller than `threshold` (0 to 1), the first ones first; undefined when nothing has
 * to, or nothing can (librbd/api/Trash.cc, purge).
 *
 * @param bytesOf what an image has in its data pool; undefined for one that is left out of account
 */
export async function chooseToFree(
  images: readonly ThrownAway[],
  pools: ReadonlyMap<string, PoolUsage>,
  threshold: number,
  bytesOf: (id: string) => Promise<number | undefined>,
): Promise<Set<string> | undefined> {
  const chosen = new Set<string>()
  let freed = 0
  for (const [name, { used, bytesUsed, bytesAvailable }] of pools) {
    if (used <= threshold) continue
    const excess = Math.floor((bytesAvailable + bytesUsed) * (used - threshold))
    let bytes = 0
    for (const { id } of images.filter(({ dataPool }) => dataPool === name)) {
      const more = await bytesOf(id)
      if (more === undefined) continue
      chosen.add(id)
      bytes += more
      if (bytes >= excess) break
    }
    freed += bytes
  }
  return freed === 0 ? undefined : chosen
}
