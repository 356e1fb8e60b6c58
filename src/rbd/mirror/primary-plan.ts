import type { SnapId } from '../../rados/io-ctx.ts'
import type { ImageSnapshot } from '../header.ts'
import { isGivenUp } from './given-up.ts'
import { isDemoted, isMirrorSnapshot, isNonPrimary, isOrphan, mirrorSnapshots, readsAsSynced, type MirrorSnapshot } from './mirror-snapshot.ts'

/** What has to come before a promotion's primary snapshot. */
export type PromotionPlan =
  /** the image follows nobody: the snapshot can be made at once */
  | { type: 'promote' }
  /** its daemon has to let go first: a snapshot without a primary says so, if an attempt before has not made one */
  | { type: 'forcePromote'; orphaned: boolean; rollBackTo: SnapId | undefined }
  | { type: 'refuse'; reason: string }

/**
 * What a promotion of an image of snapshot mode has to do (librbd/mirror/snapshot/Utils.cc, can_create_primary_snapshot). The copy of a primary's last
 * snapshot, with which it was demoted, has to be as complete as any other; librbd takes it as it is. A sync that has just begun has nothing but the
 * head's size changed, before it makes its own snapshot: that is gone back from too.
 *
 * @param headSize bytes
 */
export function planPromotion(snapshots: readonly ImageSnapshot[], headSize: number): PromotionPlan {
  const ascending = mirrorSnapshots(snapshots)
  // an earlier attempt may have ended before it had rolled back, and the daemon may have begun a sync after it: an orphan reads as whatever the head was
  const synced = ascending.filter(({ namespace }) => !isOrphan(namespace))
  const orphaned = synced.at(-1) !== ascending.at(-1)
  const newest = synced.at(-1)
  if (!newest || isWhole(newest)) {
    const followsNobody = newest?.namespace.state !== 'non-primary'
    if (followsNobody && !orphaned) return { type: 'promote' }
    const resized = newest && headSize !== newest.size && (!isNonPrimary(newest.namespace) || readsAsSynced(newest.namespace))
    return { type: 'forcePromote', orphaned, rollBackTo: resized ? newest.id : undefined }
  }
  const before = synced.slice(0, -1).findLast(isWhole)
  return before ? { type: 'forcePromote', orphaned, rollBackTo: before.id } : { type: 'refuse', reason: 'cannot rollback' }
}

/**
 * What an unfinished sync has left besides data, when a forced promotion gives it up: user snapshots that it has made, whose contents are not what the
 * primary's are, and such as it has begun to remove, which nobody can use any more.
 */
export function unsyncedSnapshots(snapshots: readonly ImageSnapshot[], { rollBackTo }: Extract<PromotionPlan, { type: 'forcePromote' }>): ImageSnapshot[] {
  const newest = mirrorSnapshots(snapshots).findLast(({ namespace }) => !isOrphan(namespace))
  const kept = rollBackTo ?? (newest && isNonPrimary(newest.namespace) ? newest.id : undefined)
  return snapshots.filter((snapshot) => {
    const { id, namespace, childCount } = snapshot
    if (namespace.type === 'trash') return childCount === 0
    return kept !== undefined && id > kept && namespace.type === 'user' && !isGivenUp(snapshot)
  })
}

function isWhole({ namespace }: MirrorSnapshot): boolean {
  return !isNonPrimary(namespace) || namespace.complete
}

/** Why the head may not get a primary snapshot now; undefined when it may. */
export function primarySnapshotRefusal(snapshots: readonly ImageSnapshot[], { demoted, force }: { demoted: boolean; force: boolean }): string | undefined {
  const newest = mirrorSnapshots(snapshots).at(-1)
  if (!newest) return undefined
  const { namespace } = newest
  if (isDemoted(namespace) && !force) return 'trying to create primary snapshot without force when previous primary snapshot is demoted'
  if (namespace.state !== 'non-primary') return undefined
  if (!force) return 'trying to create primary snapshot without force when previous snapshot is non-primary'
  if (demoted) return 'trying to create primary demoted snapshot when previous snapshot is non-primary'
  if (!namespace.complete) return 'trying to create primary snapshot when previous non-primary snapshot is not copied yet'
  return undefined
}

export interface Unlink {
  snapId: SnapId
  peerUuid: string
}

/**
 * The next mirror-snapshot that a peer has to do without, after a new one was made: such as nobody follows, such as were never finished, and
 * the oldest but one where there are more than `limit` since the last promotion (librbd/mirror/snapshot/CreatePrimaryRequest.cc, unlink_peer).
 */
export function nextUnlink(snapshots: readonly ImageSnapshot[], peerUuids: Iterable<string>, limit: number): Unlink | undefined {
  const ascending = [...snapshots].sort((a, b) => (a.id < b.id ? -1 : 1)).filter(isMirrorSnapshot)
  const peers = [...peerUuids].sort()
  for (const peerUuid of peers) {
    const useless = ascending.find(({ namespace }) => isUseless(namespace, peerUuid))
    if (useless) return { snapId: useless.id, peerUuid }
  }
  for (const peerUuid of peers) {
    const surplus = surplusOf(ascending, peerUuid, limit)
    if (surplus !== undefined) return { snapId: surplus, peerUuid }
  }
  return undefined
}

function isUseless({ mirrorPeerUuids, state, complete }: MirrorSnapshot['namespace'], peerUuid: string): boolean {
  const primary = state === 'primary' || state === 'primary-demoted'
  return mirrorPeerUuids.size === 0 || (mirrorPeerUuids.has(peerUuid) && primary && !complete)
}

/** Not the oldest one, which the peer may be copying, but the newest that is within the limit. */
function surplusOf(ascending: readonly MirrorSnapshot[], peerUuid: string, limit: number): SnapId | undefined {
  let linked: SnapId[] = []
  for (const { id, namespace } of ascending) {
    if (namespace.state !== 'primary') linked = []
    else if (namespace.mirrorPeerUuids.has(peerUuid)) linked.push(id)
  }
  return linked.length > limit ? linked[limit - 1] : undefined
}
