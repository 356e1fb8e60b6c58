import type { SnapId } from '../../rados/io-ctx.ts'
import { diffObjects, DiffState } from '../../rbd/data/object-diff.ts'
import { layoutOf } from '../../rbd/data/striping.ts'
import type { Image } from '../../rbd/image.ts'
import { isNonPrimary, mirrorSnapshots, type MirrorSnapshot } from '../../rbd/mirror/mirror-snapshot.ts'

/** A state that both images had: the snapshots that have it. */
interface CommonState {
  local: MirrorSnapshot
  remote: MirrorSnapshot
}

export interface SplitSides {
  local: Image
  remote: Image
  localMirrorUuid: string
  remoteMirrorUuid: string
  /** what the remote's snapshots call this site */
  mirrorPeerUuid: string
}

/**
 * Tells an operator how two images came to differ: which side was promoted when and by which snapshot, and how much either has written since the last
 * state that both had, as far as their mirror-snapshots and object maps tell. Begins with the planner's `reason`. Rejects with RadosError.
 */
export async function snapshotSplitBrain(reason: string, sides: SplitSides, signal: AbortSignal): Promise<string> {
  const { local, remote, mirrorPeerUuid } = sides
  const common = lastCommon(sides)
  // what was synced last stays linked to this site until something newer is synced
  const kept = mirrorSnapshots(remote.header.snapshots).find(({ namespace }) => namespace.mirrorPeerUuids.has(mirrorPeerUuid))
  const [here, there] = await Promise.all([
    story(local, common?.local, signal),
    story(remote, common?.remote ?? kept, signal),
  ])
  const since = common ? `; both last had the state of ${timeOf(common.remote)} (snapshot ${common.local.id} here, ${common.remote.id} there)` : ''
  return `${reason}: this site ${here}; the other site ${there}${since}`
}

function lastCommon({ local, remote, localMirrorUuid, remoteMirrorUuid }: SplitSides): CommonState | undefined {
  const [ours, theirs] = [mirrorSnapshots(local.header.snapshots), mirrorSnapshots(remote.header.snapshots)]
  const copiesOf = (copies: readonly MirrorSnapshot[], originals: readonly MirrorSnapshot[], uuid: string) =>
    copies.flatMap((copy) => {
      const { namespace } = copy
      const original = originals.find(({ id }) => id === namespace.primarySnapId)
      return isNonPrimary(namespace) && namespace.complete && namespace.primaryMirrorUuid === uuid && original ? [{ copy, original }] : []
    })
  const states = [
    ...copiesOf(ours, theirs, remoteMirrorUuid).map(({ copy, original }) => ({ local: copy, remote: original })),
    ...copiesOf(theirs, ours, localMirrorUuid).map(({ copy, original }) => ({ local: original, remote: copy })),
  ]
  return states.reduce<CommonState | undefined>((newest, state) => (newest && newest.local.id > state.local.id ? newest : state), undefined)
}

/** @param base the last state that the other side had too */
async function story(image: Image, base: MirrorSnapshot | undefined, signal: AbortSignal): Promise<string> {
  const all = mirrorSnapshots(image.header.snapshots)
  const newest = all.at(-1)
  if (!newest) return 'has no mirror-snapshot'
  // a promotion removes what the replica had before
  const first = all.find(({ id, namespace }, index) => namespace.state === 'primary' && all[index - 1]?.namespace.state !== 'primary' && id > (base?.id ?? 0n))
  const promoted = first && (base === undefined || all.some(({ id, namespace }) => id < first.id && isNonPrimary(namespace)))
  const what = promoted ? `was promoted at ${timeOf(first)} (snapshot ${first.id})` : 'was primary all the time'
  const from = base ?? first
  const amount = from && from.id !== newest.id ? await written(image, from.id, newest.id, signal) : 'nothing that a snapshot tells'
  return `${what}, and has written ${amount} until ${timeOf(newest)} (snapshot ${newest.id})`
}

/** What object maps say: whole objects, of which any part may have been written. */
async function written(image: Image, from: SnapId, to: SnapId, signal: AbortSignal): Promise<string> {
  const diff = await diffObjects(image.io, image.header, from, to, signal)
  if (!diff.known) return 'an unknown amount'
  let objects = 0
  for (let object = 0; object < diff.states.length; object++) {
    const state = diff.states.get(object)
    if (state === DiffState.dataUpdated || state === DiffState.holeUpdated) objects++
  }
  if (objects === 0) return 'nothing'
  const mebibytes = (objects * layoutOf(image.header).objectSize) / 2 ** 20
  return `at most ${Math.ceil(mebibytes)} MiB (${objects} ${objects === 1 ? 'object' : 'objects'})`
}

function timeOf({ timestamp }: MirrorSnapshot): string {
  return new Date(timestamp.sec * 1000).toISOString().replace('.000Z', 'Z')
}
