import { waitFor } from '../support/wait.ts'
import { fill } from './load.ts'
import type { BenchRun } from './run.ts'

/** Snapshots of this name mark the state that an initial sync in journal mode copies; they go when it is done. */
const SYNC_POINT_PREFIX = '.rbd-mirror.'
const PROBE = 4096

/** A full image on the primary, mirrored in journal mode; resolves with its spec and its last block. */
export async function fullJournalImage(run: BenchRun, size: number): Promise<{ spec: string; lastBlock: Buffer }> {
  const spec = await run.createImage('image', size, 'journal')
  const lastBlock = Buffer.alloc(PROBE)
  await run.primary.with(spec, 'write', async (image) => {
    await fill(image, size)
    await image.read(size - PROBE, lastBlock)
    await image.enableMirroring('journal')
  })
  return { spec, lastBlock }
}

/** Waits for the end of an initial sync: the last block has come and the sync point has gone; performance.now() then. */
export async function untilJournalSynced(run: BenchRun, spec: string, size: number, lastBlock: Buffer): Promise<number> {
  await run.untilReplicaHolds(spec, size - PROBE, lastBlock)
  await waitFor(
    `the sync point of ${spec} to go`,
    () =>
      run.primary.with(spec, 'read-only', async (image) => {
        const snapshots = await image.snapshots()
        return !snapshots.some(({ name }) => name.startsWith(SYNC_POINT_PREFIX))
      }),
    { timeout: 120_000, interval: 10, detail: () => run.daemonState() },
  )
  return performance.now()
}
