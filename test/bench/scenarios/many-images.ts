import { setTimeout as sleep } from 'node:timers/promises'
import { latestPrimarySnapshot, replicaSnapshot } from '../../support/mirroring.ts'
import { waitFor } from '../../support/wait.ts'
import { fill, inParallel } from '../load.ts'
import { MIB, type BenchRun } from '../run.ts'
import { bytes, cost, percent, seconds, type Metrics, type Scenario } from '../scenario.ts'

const IMAGE_SIZE = 4 * MIB
const PARALLEL = 16
const VERIFIED = 10

/** Many small images at once: start to all synced, to all known in the status, a new snapshot on each, and then nothing to do. */
export const manyImages: Scenario = {
  name: 'many-images',
  title: 'Many images of 4 MiB',
  monitors: 'stock',
  async run(run: BenchRun): Promise<Metrics> {
    const count = run.parameters.images
    const names = Array.from({ length: count }, (_, index) => `image-${index}`)
    await inParallel(names, 4, async (name) => {
      await run.createImage(name, IMAGE_SIZE, 'snapshot')
      await run.primary.with(run.spec(name), 'write', async (image) => {
        await fill(image, IMAGE_SIZE)
        await image.enableMirroring('snapshot')
      })
    })
    const first = new Map<string, bigint>()
    await inParallel(names, PARALLEL, async (name) => void first.set(name, (await latestPrimarySnapshot(run.primary, run.spec(name))).id))

    const start = performance.now()
    const daemon = run.startDaemon()
    const [synced, known] = await Promise.all([allSynced(run, first), allKnown(run, count)])

    const second = new Map<string, bigint>()
    const snapshotsFrom = performance.now()
    await inParallel(names, PARALLEL, async (name) => {
      await run.primary.with(run.spec(name), 'write', async (image) => {
        await image.write(8192, Buffer.alloc(4096, name))
        second.set(name, await image.mirrorSnapshot())
      })
    })
    const snapshotsMade = performance.now()
    const snapshotsSynced = await allSynced(run, second)

    await sleep(5000)
    const before = { cpu: daemon.cpuSeconds(), traffic: await run.traffic(), time: performance.now() }
    await sleep(run.parameters.seconds * 1000)
    const idleTime = (performance.now() - before.time) / 1000
    const idleCpu = daemon.cpuSeconds() - before.cpu
    const idleOps = (await run.traffic()).operationsOnDestination - before.traffic.operationsOnDestination
    const peak = run.peakMemory()
    await run.stopDaemon()
    for (const name of names.slice(0, VERIFIED)) await run.verify(run.spec(name), second.get(name))
    return {
      [`${count} images: start to all synced`]: seconds((synced - start) / 1000),
      [`${count} images: start to all up+replaying in the status`]: seconds((known - start) / 1000),
      [`${count} new snapshots: first call to all synced`]: seconds((snapshotsSynced - snapshotsFrom) / 1000),
      [`${count} new snapshots: last made to all synced`]: seconds(Math.max(0, snapshotsSynced - snapshotsMade) / 1000),
      'idle CPU': percent((idleCpu / idleTime) * 100),
      'idle operations on the destination': cost(idleOps / idleTime, '/s'),
      [`peak resident memory, ${count} images`]: bytes(peak),
    }
  },
}

export async function allSynced(run: BenchRun, snapshots: ReadonlyMap<string, bigint>): Promise<number> {
  const missing = new Map(snapshots)
  await waitFor(
    'all images to be synced',
    async () => {
      // A look costs the machine some milliseconds: look at one image until it is there, then at the next.
      for (const [name, id] of missing) {
        const replica = await replicaSnapshot(run.secondary, run.spec(name), id)
        if (!replica?.mirror?.complete) return false
        missing.delete(name)
      }
      return true
    },
    { timeout: 300_000, interval: 20, detail: () => `${missing.size} images not synced; ${run.daemonState()}` },
  )
  return performance.now()
}

interface PoolStatus {
  readonly images: readonly { readonly state: string }[]
}

async function allKnown(run: BenchRun, count: number): Promise<number> {
  let seen: unknown
  await waitFor(
    'all images to be replaying in the status',
    async () => {
      // The summary would count an image as unknown as long as no daemon of the primary's site reports it too.
      const { images } = await run.pair.b.rbdJson<PoolStatus>('mirror', 'pool', 'status', run.pool, '--verbose')
      seen = images.map(({ state }) => state)
      return images.filter(({ state }) => state === 'up+replaying').length === count
    },
    { timeout: 120_000, interval: 200, detail: () => seen },
  )
  return performance.now()
}
