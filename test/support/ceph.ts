import { afterAll, afterEach, beforeAll, describe, inject } from 'vitest'
import type { CephCluster } from './ceph-cluster.ts'
import { MirrorDaemon } from './daemon.ts'
import { ClusterPair } from './pair.ts'
import { replaceIfBroken } from './shared-pair.ts'

const LINES_OF_A_FAILURE = 60

const provided = inject('ceph')

/** True when the run has real clusters. */
export const haveCeph = 'folder' in provided

/**
 * `describe` for tests on the run's pair of real clusters. Without Ceph every test in it is skipped by name, with the reason.
 * The pair is shared: use pools of your own, and never stop its daemons (`ClusterPair.start` makes a pair for that). Pools made by it are
 * removed after it, and blocklists cleared: what one file leaves behind, on purpose broken, would be mirrored by the daemons of the next.
 */
export function describeCeph(name: string, body: (pair: ClusterPair) => void): void {
  if (!('folder' in provided)) {
    describe.skip(`${name} [skipped: ${provided.missing}]`, () => body(undefined as unknown as ClusterPair))
    return
  }
  const { folder, ours } = provided
  const pair = ClusterPair.attach(folder)
  const before = new Map<CephCluster, ReadonlySet<string>>()
  describe(name, () => {
    beforeAll(async () => {
      if (ours) await replaceIfBroken(pair)
      for (const cluster of [pair.a, pair.b]) before.set(cluster, new Set(await poolsOf(cluster)))
    })
    // hooks that end something run in the reverse order: first the body's
    afterAll(async () => {
      await pair.close()
      for (const [cluster, pools] of before) {
        for (const pool of await poolsOf(cluster)) if (!pools.has(pool)) await cluster.deletePool(pool)
        await cluster.ceph('osd', 'blocklist', 'clear')
      }
    })
    body(pair)
    // What a daemon thought of a case that failed, where nobody can look any more. Behind the body's hooks, so that it comes first: one that fails ends them.
    afterEach(({ task }) => {
      if (task.result?.state === 'fail') for (const daemon of MirrorDaemon.lately()) console.error(daemon.lastLines(LINES_OF_A_FAILURE))
    })
  })
}

async function poolsOf(cluster: CephCluster): Promise<string[]> {
  return JSON.parse(await cluster.ceph('osd', 'pool', 'ls', '--format', 'json')) as string[]
}
