import { randomBytes } from 'node:crypto'
import { fullJournalImage, untilJournalSynced } from '../journal-sync.ts'
import { inParallel } from '../load.ts'
import { MIB, type BenchRun } from '../run.ts'
import { bytes, cost, rate, seconds, type Metrics, type Scenario } from '../scenario.ts'
import { copyBegun } from './initial-sync.ts'

const SIZE = 256 * MIB

/**
 * Writes made while the daemon was down, from its start to the replay of the last of them.
 *
 * @param block bytes of a write
 * @param share of the number of writes that the benchmark is asked for
 */
function catchUp(name: string, block: number, share: number): Scenario {
  const title = `Catching up after an outage, journal mode, random writes of ${block / 1024} KiB`
  return { name, title, monitors: 'stock', run: (run) => measure(run, block, Math.ceil(run.parameters.writes * share)) }
}

async function measure(run: BenchRun, block: number, writes: number): Promise<Metrics> {
  const { spec, lastBlock } = await fullJournalImage(run, SIZE)
  run.startDaemon()
  await untilJournalSynced(run, spec, SIZE, lastBlock)
  await run.stopDaemon()

  const mark = randomBytes(block)
  await run.primary.with(spec, 'write', async (image) => {
    const data = randomBytes(block + 4096)
    const numbers = Array.from({ length: writes }, (_, index) => index)
    const underWay = new Set<number>()
    await inParallel(numbers, 32, async (index) => {
      // The first block is kept for the mark. Which of two writes of a block at once comes last is for nobody to say.
      let slot: number
      do slot = 1 + Math.floor(Math.random() * (SIZE / block - 1))
      while (underWay.has(slot))
      underWay.add(slot)
      await image.write(slot * block, data.subarray(index % 4096, (index % 4096) + block))
      underWay.delete(slot)
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
}

export const journalCatchUp = catchUp('journal-catch-up', 4096, 1)
/** 1 GiB with the default of 51,200 writes */
export const journalCatchUpLarge = catchUp('journal-catch-up-64k', 65_536, 0.32)
