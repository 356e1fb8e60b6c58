import { setTimeout as sleep } from 'node:timers/promises'
import { latestPrimarySnapshot } from '../../support/mirroring.ts'
import { fill, rewriteBlocks } from '../load.ts'
import { MIB, type BenchRun } from '../run.ts'
import { factor, seconds, type Metrics, type Scenario } from '../scenario.ts'

const DELTAS = [
  { name: '2000 x 4 KiB', blockSize: 4096, count: 2000 },
  { name: '2000 x 64 KiB', blockSize: 65_536, count: 2000 },
  { name: '128 x 4 MiB', blockSize: 4 * MIB, count: 128 },
]

/** From the call that makes a mirror-snapshot to its complete replica, after random blocks were rewritten. */
function deltas(monitors: Scenario['monitors']): Scenario {
  return {
    name: `deltas-${monitors}`,
    title: `Deltas, ${monitors === 'quick' ? 'monitors that propose at once' : 'stock monitors'}`,
    monitors,
    async run(run: BenchRun): Promise<Metrics> {
      const { size } = run.parameters
      const spec = await run.createImage('image', size, 'snapshot')
      const image = await run.primary.open(spec, 'write')
      const metrics: Metrics = {}
      try {
        await fill(image, size)
        await image.enableMirroring('snapshot')
        run.startDaemon()
        await run.untilSynced(spec, (await latestPrimarySnapshot(run.primary, spec)).id)
        for (const { name, blockSize, count } of DELTAS) {
          const changed = await rewriteBlocks(image, size, blockSize, count)
          await sleep(2000) // the daemon's housekeeping after the last sync is not what is measured
          const before = await run.traffic()
          const start = performance.now()
          const id = await image.mirrorSnapshot()
          const made = performance.now()
          const synced = await run.untilSynced(spec, id)
          const after = await run.traffic()
          metrics[`${name}: snapshot call to synced`] = seconds((synced - start) / 1000)
          metrics[`${name}: snapshot made to synced`] = seconds((synced - made) / 1000)
          metrics[`${name}: read amplification`] = factor((after.readFromSource - before.readFromSource) / changed)
          metrics[`${name}: write amplification`] = factor((after.writtenToDestination - before.writtenToDestination) / changed)
          await run.verify(spec, id)
        }
      } finally {
        await image.close()
      }
      await run.stopDaemon()
      return metrics
    },
  }
}

export const deltasQuick = deltas('quick')
export const deltasStock = deltas('stock')
