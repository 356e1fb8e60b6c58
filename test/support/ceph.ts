import { afterAll, describe, inject } from 'vitest'
import { ClusterPair } from './pair.ts'

const provided = inject('ceph')

/** True when the run has real clusters. */
export const haveCeph = 'folder' in provided

/**
 * `describe` for tests on the run's pair of real clusters. Without Ceph every test in it is skipped by name, with the reason.
 * The pair is shared: use pools of your own, and never stop its daemons (`ClusterPair.start` makes a pair for that).
 */
export function describeCeph(name: string, body: (pair: ClusterPair) => void): void {
  if (!('folder' in provided)) {
    describe.skip(`${name} [skipped: ${provided.missing}]`, () => body(undefined as unknown as ClusterPair))
    return
  }
  const pair = ClusterPair.attach(provided.folder)
  describe(name, () => {
    body(pair)
    afterAll(() => pair.close())
  })
}
