import { randomBytes } from 'node:crypto'
import { fullJournalImage, untilJournalSynced } from '../journal-sync.ts'
import { inParallel } from '../load.ts'
import { MIB, type BenchRun } from '../run.ts'
import { bytes, cost, rate, seconds, type Metrics, type Scenario } from '../scenario.ts'
import { copyBegun } from './initial-sync.ts'

const SIZE = 256 * MIB
const BLOCK = 4096

/** Writes made while the daemon was down, from its start to the replay of the last of them. */
export const journalCatchUp: Scenario = {
  name: 'journal-catch-up',
  title: 'Catching up after an outage, journal mode, random writes of 4 KiB',
  monitors: 'stock',
  async run(run: BenchRun): Promise<Metrics> {
    const { writes } = run.parameters
    const { spec, lastBlock } = await fullJournalImage(run, SIZE)
    run.startDaemon()
    await untilJournalSynced(run, spec, SIZE, lastBlock)
    await run.stopDaemon()

    const mark = randomBytes(BLOCK)
    await run.primary.with(spec, 'write', async (image) => {
      const data = randomBytes(BLOCK + 4096)
      const numbers = Array.from({ length: writes }, (_, index) => index)
      await inParallel(numbers, 32, (index) => {
        // The first block is kept for the mark.
        const slot = 1 + Math.floor(Math.random() * (SIZE / BLOCK - 1))
        return image.write(slot * BLOCK, data.subarray(index % 4096, (index % 4096) + BLOCK))
      })
      await image.flush()
      await image.write(0, mark)
      await image.flush()
    })
    const before = await run.traffic()

    const start = performance.now()
    const daemon = run.startDaemon()
    const replaying = copyBegun(run, before.writtenToDestination)
    const caughtUp = await run.untilReplicaHolds(spec, 0, mark)

    const cpu = daemon.cpuSeconds()
    const peak = run.peakMemory()
    const began = await replaying
    await run.stopDaemon()
    await run.verifyHeads(spec)
    return {
      'start to first MiB replayed': seconds((began - start) / 1000),
      'start to caught up': seconds((caughtUp - start) / 1000),
      'replay alone': rate(writes / ((caughtUp - began) / 1000), 'writes/s'),
      'daemon CPU per write': cost((cpu / writes) * 1e6, 'us'),
      'peak resident memory': bytes(peak),
    }
  },
}
