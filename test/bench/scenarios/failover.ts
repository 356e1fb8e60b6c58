import { setTimeout as sleep } from 'node:timers/promises'
import { expectSameContent } from '../../support/compare.ts'
import { LibrbdError } from '../../support/librbd.ts'
import { isPrimarySnapshot, latestPrimarySnapshot } from '../../support/mirroring.ts'
import { waitFor } from '../../support/wait.ts'
import { rewriteBlocks } from '../load.ts'
import { MIB, type BenchRun } from '../run.ts'
import { seconds, type Metrics, type Scenario } from '../scenario.ts'

const SIZE = 256 * MIB

/** From the demotion on one side to the accepted promotion on the other, a few writes after the last snapshot. */
function failover(monitors: Scenario['monitors']): Scenario {
  return {
    name: `failover-${monitors}`,
    title: `Failover, snapshot mode, ${monitors === 'quick' ? 'monitors that propose at once' : 'stock monitors'}`,
    monitors,
    async run(run: BenchRun): Promise<Metrics> {
      const spec = await run.createImage('image', SIZE, 'snapshot')
      run.startDaemon()
      const { id } = await run.primary.with(spec, 'write', async (image) => {
        await image.enableMirroring('snapshot')
        await rewriteBlocks(image, SIZE, 65_536, 64)
        return { id: await image.mirrorSnapshot() }
      })
      await run.untilSynced(spec, id)
      await run.primary.with(spec, 'write', (image) => rewriteBlocks(image, SIZE, 4096, 64))
      await sleep(2000)

      const start = performance.now()
      await run.primary.with(spec, 'write', (image) => image.demote())
      const demoted = performance.now()
      await promote(run, spec)
      const promoted = performance.now()

      await run.stopDaemon()
      const snapshots = await run.primary.with(spec, 'read-only', (image) => image.snapshots())
      const demotion = snapshots.filter(isPrimarySnapshot).at(-1)
      if (demotion?.mirror?.state !== 'primary (demoted)') throw new Error('the newest snapshot of the old primary is not its demotion')
      await expectSameContent(run.primary, run.secondary, spec, { snapshot: demotion.id })
      await latestPrimarySnapshot(run.secondary, spec)
      return {
        'demote call to promoted': seconds((promoted - start) / 1000),
        'demoted to promoted': seconds((promoted - demoted) / 1000),
      }
    },
  }
}

/** Tries the promotion until the demotion has been replayed. */
export async function promote(run: BenchRun, spec: string): Promise<void> {
  await waitFor(
    `${spec} to be promoted`,
    async () => {
      try {
        await run.secondary.with(spec, 'write', (image) => image.promote())
        return true
      } catch (error) {
        if (error instanceof LibrbdError) return undefined
        throw error
      }
    },
    { timeout: 120_000, interval: 20, detail: () => run.daemonState() },
  )
}

export const failoverQuick = failover('quick')
export const failoverStock = failover('stock')
