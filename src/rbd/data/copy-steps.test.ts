import { expect, it } from 'vitest'
import { NO_SNAP } from '../../rados/io-ctx.ts'
import { planSteps } from './copy-steps.ts'

it('writes each state under the snapshots older than its own', () => {
  const seqs = new Map([[2n, 12n], [5n, 15n], [7n, 17n], [9n, NO_SNAP]])
  // 13 and 18 are mirror snapshots
  const steps = planSteps(2n, 9n, seqs, [18n, 17n, 15n, 13n, 12n])
  expect(steps).toEqual([
    { sourceSnap: 5n, destinationSnap: 15n, snapContext: { seq: 13n, snaps: [13n, 12n] } },
    { sourceSnap: 7n, destinationSnap: 17n, snapContext: { seq: 15n, snaps: [15n, 13n, 12n] } },
    { sourceSnap: 9n, destinationSnap: NO_SNAP, snapContext: { seq: 18n, snaps: [18n, 17n, 15n, 13n, 12n] } },
  ])
})

it('leaves out snapshots that the destination no longer has', () => {
  const steps = planSteps(0n, 9n, new Map([[5n, 15n]]), [])
  expect(steps).toEqual([{ sourceSnap: 9n, destinationSnap: NO_SNAP, snapContext: { seq: 0n, snaps: [] } }])
})
