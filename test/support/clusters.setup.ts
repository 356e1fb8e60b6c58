import type { TestProject } from 'vitest/node'
import { INSTALL_CEPH, missingCephPrograms } from './ceph-cluster.ts'
import { startSharedPair } from './shared-pair.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The run's pair of clusters, or why there is none. */
    ceph: { readonly folder: string; readonly ours: boolean } | { readonly missing: string }
  }
}

/**
 * One pair of real clusters for the whole run. Where Ceph is not installed the tests are skipped and say so;
 * RBD_MIRROR_REQUIRE_CEPH=1 makes that a failure. RBD_MIRROR_CLUSTERS=FOLDER uses a pair that runs already (see PAIR_NAMES).
 */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  const missing = missingCephPrograms()
  if (missing.length > 0) {
    const reason = `Ceph is not installed (no ${missing.join(', ')}); install it: ${INSTALL_CEPH}`
    if (process.env['RBD_MIRROR_REQUIRE_CEPH'] === '1') throw new Error(reason)
    console.warn(`real-cluster tests are SKIPPED: ${reason}`)
    project.provide('ceph', { missing: reason })
    return undefined
  }
  const running = process.env['RBD_MIRROR_CLUSTERS']
  if (running) {
    project.provide('ceph', { folder: running, ours: false })
    return undefined
  }
  const pair = await startSharedPair()
  project.provide('ceph', { folder: pair.folder, ours: true })
  return () => pair.close()
}
