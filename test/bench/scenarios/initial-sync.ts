import { latestPrimarySnapshot } from '../../support/mirroring.ts'
import { waitFor } from '../../support/wait.ts'
import { fill } from '../load.ts'
import { MIB, type BenchRun } from '../run.ts'
import { bytes, cost, factor, seconds, throughput, type Metrics, type Scenario } from '../scenario.ts'

/** From the daemon's start to a complete replica of one full image. */
export const initialSync: Scenario = {
  name: 'initial-sync',
  title: 'Initial sync of one full image, snapshot mode',
  monitors: 'stock',
  async run(run: BenchRun): Promise<Metrics> {
    const { size } = run.parameters
    const spec = await run.createImage('image', size, 'snapshot')
    await run.primary.with(spec, 'write', async (image) => {
      await fill(image, size)
      await image.enableMirroring('snapshot')
    })
    const { id } = await latestPrimarySnapshot(run.primary, spec)
    const before = await run.traffic()

    const start = performance.now()
    const daemon = run.startDaemon()
    const created = imageCreated(run, spec)
    const copying = copyBegun(run, before.writtenToDestination)
    const synced = await run.untilSynced(spec, id)

    const after = await run.traffic()
    const cpu = daemon.cpuSeconds()
    const peak = run.peakMemory()
    await run.stopDaemon()
    await run.verify(spec, id)
    const copyTime = (synced - (await copying)) / 1000
    return {
      'start to first image created': seconds(((await created) - start) / 1000),
      'start to synced': seconds((synced - start) / 1000),
      'copy phase': throughput(size / MIB / copyTime),
      'read amplification': factor((after.readFromSource - before.readFromSource) / size),
      'write amplification': factor((after.writtenToDestination - before.writtenToDestination) / size),
      'daemon CPU per GiB': cost(cpu / (size / 2 ** 30), 's'),
      'peak resident memory, 1 image': bytes(peak),
    }
  },
}

/** performance.now() when the image could first be opened on the secondary. */
export async function imageCreated(run: BenchRun, spec: string): Promise<number> {
  await waitFor(`${spec} to exist on the secondary`, () => run.secondary.with(spec, 'read-only', async () => true), {
    timeout: 60_000,
    interval: 5,
    detail: () => run.daemonState(),
  })
  return performance.now()
}

/** performance.now() when the destination's OSD had taken more than a MiB. */
export async function copyBegun(run: BenchRun, writtenBefore: number): Promise<number> {
  await waitFor('data to arrive at the secondary', async () => (await run.traffic()).writtenToDestination > writtenBefore + MIB, {
    timeout: 60_000,
    interval: 10,
    detail: () => run.daemonState(),
  })
  return performance.now()
}
