import { NO_SNAP, type SnapContext, type SnapId } from '../../rados/io-ctx.ts'

/** One state of the source image that the copy has to reproduce, and where it goes. */
export interface CopyStep {
  /** the source's snapshot with this state */
  sourceSnap: SnapId
  /** the destination's snapshot that is to read so, or NO_SNAP for its head */
  destinationSnap: SnapId
  /** what the destination's objects are written under: the destination's snapshots older than `destinationSnap` */
  snapContext: SnapContext
}

/**
 * The steps that bring a destination from the source's `fromSnap` (0 for nothing yet) to `toSnap`, oldest first.
 * `snapSeqs` maps source snapshots to destination snapshots (`snap_seqs` of a mirror snapshot's namespace); its entry for `toSnap` is
 * NO_SNAP or missing: that state goes to the head. Snapshots of the destination that nothing maps to, such as its mirror snapshots,
 * take part in the contexts. (compute_snap_map of Ceph's librbd/deep_copy/Utils.cc.)
 */
export function planSteps(
  fromSnap: SnapId,
  toSnap: SnapId,
  snapSeqs: ReadonlyMap<SnapId, SnapId>,
  destinationSnapshots: readonly SnapId[],
): CopyStep[] {
  const newestFirst = [...destinationSnapshots].sort((a, b) => (a < b ? 1 : -1))
  const contextBelow = (snap: SnapId): SnapContext => {
    const snaps = newestFirst.filter((id) => id < snap)
    return { seq: snaps[0] ?? 0n, snaps }
  }
  const steps: CopyStep[] = []
  for (const [sourceSnap, destinationSnap] of [...snapSeqs].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (sourceSnap <= fromSnap || sourceSnap >= toSnap || destinationSnap === NO_SNAP) continue
    // a snapshot removed at the destination since has nobody to read it
    if (!newestFirst.includes(destinationSnap)) continue
    steps.push({ sourceSnap, destinationSnap, snapContext: contextBelow(destinationSnap) })
  }
  steps.push({ sourceSnap: toSnap, destinationSnap: NO_SNAP, snapContext: contextBelow(NO_SNAP) })
  return steps
}
