import { randomBytes } from 'node:crypto'
import { inParallel } from '../load.ts'
import { MIB, type BenchRun } from '../run.ts'
import { bytes, cost, rate, seconds, type Metrics, type Scenario } from '../scenario.ts'
import { waitForState } from '../../support/mirroring.ts'

const IMAGE_SIZE = 16 * MIB
const BLOCK = 4096
const VERIFIED = 10

/** Many journals that are all behind when the daemon starts: half as many as the snapshot-mode scenario has images. */
export const journalMany: Scenario = {
  name: 'journal-many',
  title: 'Many journals behind at once, journal mode, random writes of 4 KiB',
  monitors: 'quick',
  async run(run: BenchRun): Promise<Metrics> {
    const count = Math.max(1, Math.round(run.parameters.images / 2))
    const writes = Math.max(1, Math.round(run.parameters.writes / count))
    const names = Array.from({ length: count }, (_, index) => `image-${index}`)
    await inParallel(names, 4, async (name) => {
      await run.createImage(name, IMAGE_SIZE, 'journal')
      await run.primary.with(run.spec(name), 'write', (image) => image.enableMirroring('journal'))
    })
    run.startDaemon()
    await inParallel(names, 2, async (name) => void (await waitForState(run.pair.b, run.spec(name), 'up+replaying', /^replaying/, 180_000)))
    await run.stopDaemon()

    const mark = randomBytes(BLOCK)
    await inParallel(names, 4, (name) =>
      run.primary.with(run.spec(name), 'write', async (image) => {
        await inParallel(Array.from({ length: writes }), 16, () => {
          const slot = 1 + Math.floor(Math.random() * (IMAGE_SIZE / BLOCK - 1))
          return image.write(slot * BLOCK, mark)
        })
        await image.flush()
        await image.write(0, mark)
        await image.flush()
      }),
    )

    const start = performance.now()
    const daemon = run.startDaemon()
    for (const name of names) await run.untilReplicaHolds(run.spec(name), 0, mark)
    const level = performance.now()
    const cpu = daemon.cpuSeconds()
    const peak = run.peakMemory()
    await run.stopDaemon()
    for (const name of names.slice(0, VERIFIED)) await run.verifyHeads(run.spec(name))
    return {
      [`${count} journals: start to all level`]: seconds((level - start) / 1000),
      'replay, start included': rate((count * writes) / ((level - start) / 1000), 'writes/s'),
      'daemon CPU per write': cost((cpu / (count * writes)) * 1e6, 'us'),
      [`peak resident memory, ${count} journals`]: bytes(peak),
    }
  },
}
