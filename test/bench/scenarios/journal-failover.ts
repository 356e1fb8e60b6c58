import { setTimeout as sleep } from 'node:timers/promises'
import { fullJournalImage, untilJournalSynced } from '../journal-sync.ts'
import { rewriteBlocks } from '../load.ts'
import { MIB, type BenchRun } from '../run.ts'
import { seconds, type Metrics, type Scenario } from '../scenario.ts'
import { promote } from './failover.ts'

const SIZE = 64 * MIB

/** From the demotion on one side to the accepted promotion on the other, journal mode. */
export const journalFailover: Scenario = {
  name: 'journal-failover',
  title: 'Failover, journal mode',
  monitors: 'stock',
  async run(run: BenchRun): Promise<Metrics> {
    const { spec, lastBlock } = await fullJournalImage(run, SIZE)
    run.startDaemon()
    await untilJournalSynced(run, spec, SIZE, lastBlock)
    await run.primary.with(spec, 'write', (image) => rewriteBlocks(image, SIZE, 4096, 64))
    await sleep(8000) // so that the writes are replayed, also by a daemon that polls

    const start = performance.now()
    await run.primary.with(spec, 'write', (image) => image.demote())
    const demoted = performance.now()
    await promote(run, spec)
    const promoted = performance.now()

    await run.stopDaemon()
    await run.verifyHeads(spec)
    return {
      'demote call to promoted': seconds((promoted - start) / 1000),
      'demoted to promoted': seconds((promoted - demoted) / 1000),
    }
  },
}
