import { fullJournalImage, untilJournalSynced } from '../journal-sync.ts'
import { MIB, type BenchRun } from '../run.ts'
import { bytes, cost, seconds, throughput, type Metrics, type Scenario } from '../scenario.ts'
import { copyBegun, imageCreated } from './initial-sync.ts'

/** From the daemon's start to the end of the initial sync of one full image, journal mode. */
export const journalInitialSync: Scenario = {
  name: 'journal-initial-sync',
  title: 'Initial sync of one full image, journal mode',
  monitors: 'stock',
  async run(run: BenchRun): Promise<Metrics> {
    const { size } = run.parameters
    const { spec, lastBlock } = await fullJournalImage(run, size)
    const before = await run.traffic()

    const start = performance.now()
    const daemon = run.startDaemon()
    const created = imageCreated(run, spec)
    const copying = copyBegun(run, before.writtenToDestination)
    const synced = await untilJournalSynced(run, spec, size, lastBlock)

    const cpu = daemon.cpuSeconds()
    const peak = run.peakMemory()
    await run.stopDaemon()
    await run.verifyHeads(spec)
    return {
      'start to first image created': seconds(((await created) - start) / 1000),
      'start to synced': seconds((synced - start) / 1000),
      'copy phase': throughput(size / MIB / ((synced - (await copying)) / 1000)),
      'daemon CPU per GiB': cost(cpu / (size / 2 ** 30), 's'),
      'peak resident memory, 1 image': bytes(peak),
    }
  },
}
