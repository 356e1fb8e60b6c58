import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { fullJournalImage, untilJournalSynced } from '../journal-sync.ts'
import { MIB, type BenchRun } from '../run.ts'
import { bytes, cost, rate, seconds, type Metrics, type Scenario } from '../scenario.ts'
import { median } from '../table.ts'

const SIZE = 256 * MIB
const BLOCK = 4096
const WRITES_PER_SECOND = 500
/** Every so many-th write carries its number to the first block, where the replica is looked at. */
const MARK_EVERY = 10
const LOOK_EVERY_MS = 20

/** How old the replica is under a steady load: time since the oldest acknowledged mark that it does not show yet. */
export const journalLag: Scenario = {
  name: 'journal-lag',
  title: `Lag under ${WRITES_PER_SECOND} writes of 4 KiB a second, journal mode`,
  monitors: 'stock',
  async run(run: BenchRun): Promise<Metrics> {
    const { spec, lastBlock } = await fullJournalImage(run, SIZE)
    const daemon = run.startDaemon()
    await untilJournalSynced(run, spec, SIZE, lastBlock)
    const primary = await run.primary.open(spec, 'write')
    const replica = await run.secondary.open(spec)
    const acknowledged: number[] = []
    const lags: number[] = []
    const cpuBefore = daemon.cpuSeconds()
    let writes = 0
    try {
      const end = performance.now() + run.parameters.seconds * 1000
      const load = writeSteadily(primary, end, acknowledged)
      const look = Buffer.alloc(8)
      while (performance.now() < end) {
        await sleep(LOOK_EVERY_MS)
        await replica.read(0, look)
        const shown = look.toString('latin1', 0, 4) === 'mark' ? look.readUInt32LE(4) : -1
        const oldestMissing = acknowledged[shown + 1]
        lags.push(oldestMissing === undefined ? 0 : performance.now() - oldestMissing)
      }
      writes = await load
    } finally {
      await primary.close()
      await replica.close()
    }
    const lastMark = Buffer.alloc(8)
    lastMark.write('mark', 'latin1')
    lastMark.writeUInt32LE(acknowledged.length - 1, 4)
    const loadEnded = performance.now()
    const cpu = daemon.cpuSeconds() - cpuBefore
    const level = await run.untilReplicaHolds(spec, 0, lastMark)
    await sleep(6000) // writes after the last mark: more than the longest polling interval
    const peak = run.peakMemory()
    await run.stopDaemon()
    await run.verifyHeads(spec)
    const sorted = lags.toSorted((left, right) => left - right)
    return {
      'lag, median': seconds(median(lags) / 1000),
      'lag, 95th percentile': seconds(sorted[Math.floor(sorted.length * 0.95)]! / 1000),
      'lag, maximum': seconds(sorted.at(-1)! / 1000),
      'end of load to level': seconds((level - loadEnded) / 1000),
      'load achieved': rate(writes / run.parameters.seconds, 'writes/s'),
      'daemon CPU per write': cost((cpu / writes) * 1e6, 'us'),
      'peak resident memory': bytes(peak),
    }
  },
}

/** Writes at a fixed rate until `end`; notes when each mark was acknowledged. Returns the number of writes. */
async function writeSteadily(
  image: { write(offset: number, data: Buffer): Promise<void>; flush(): Promise<void> },
  end: number,
  acknowledged: number[],
): Promise<number> {
  const data = randomBytes(BLOCK)
  const start = performance.now()
  let count = 0
  let marks = 0
  const pending = new Set<Promise<void>>()
  let lastMark = Promise.resolve()
  while (performance.now() < end) {
    const due = Math.floor(((performance.now() - start) / 1000) * WRITES_PER_SECOND)
    for (; count < due && pending.size < 64; count++) {
      let write: Promise<void>
      if (count % MARK_EVERY === 0) {
        const number = marks++
        const mark = Buffer.alloc(BLOCK)
        mark.write('mark', 'latin1')
        mark.writeUInt32LE(number, 4)
        // Marks overwrite each other: one at a time, so that they land in order.
        write = lastMark = lastMark.then(() => image.write(0, mark)).then(() => void (acknowledged[number] = performance.now()))
      } else {
        const slot = 1 + Math.floor(Math.random() * (SIZE / BLOCK - 1))
        write = image.write(slot * BLOCK, data)
      }
      pending.add(write)
      void write.finally(() => pending.delete(write))
    }
    await sleep(2)
  }
  await Promise.all(pending)
  await image.flush()
  return count
}
