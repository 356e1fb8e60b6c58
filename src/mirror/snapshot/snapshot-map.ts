import type { SnapId } from '../../rados/io-ctx.ts'
import { NO_SNAP } from '../../rados/io-ctx.ts'
import type { ImageSnapshot } from '../../rbd/header.ts'
import { isMirrorSnapshot, isNonPrimary, mirrorSnapshots, type MirrorSnapshot } from '../../rbd/mirror/mirror-snapshot.ts'
import type { Base } from './plan.ts'

/** What happens to an image's user snapshots between two mirror-snapshots. */
export interface SnapshotChanges {
  /** Local user snapshots newer than the base: left over from a sync that was begun and given up. */
  remove: ImageSnapshot[]
  /** Remote user snapshots between base and target, oldest first. */
  create: ImageSnapshot[]
  /** Remote id → local id of the user snapshots that both have and that are older than the base. */
  known: Map<SnapId, SnapId>
}

export interface SnapshotSides {
  local: readonly ImageSnapshot[]
  remote: readonly ImageSnapshot[]
  localMirrorUuid: string
  remoteMirrorUuid: string
}

const isUser = ({ namespace }: ImageSnapshot) => namespace.type === 'user'
const byAge = (a: ImageSnapshot, b: ImageSnapshot) => (a.id < b.id ? -1 : 1)

/** What librbd/deep_copy/SnapshotCopyRequest.cc and Replayer.cc's create_non_primary_snapshot decide, ahead of the first change. */
export function planSnapshotChanges(sides: SnapshotSides, base: Base, to: SnapId): SnapshotChanges {
  const { local, remote } = sides
  const users = remote.filter(isUser).sort(byAge)
  return {
    remove: local.filter((snapshot) => isUser(snapshot) && snapshot.id > base.localSnapId).sort(byAge),
    create: users.filter(({ id }) => id > base.remoteSnapId && id < to),
    known: knownSnapshots(sides, base),
  }
}

function knownSnapshots(sides: SnapshotSides, base: Base): Map<SnapId, SnapId> {
  const { local, remote } = sides
  const mapping = baseMapping(sides, base)
  const known = new Map<SnapId, SnapId>()
  for (const snapshot of remote) {
    if (!isUser(snapshot) || snapshot.id > base.remoteSnapId) continue
    const mapped = mapping.get(snapshot.id)
    const found = local.find(({ id }) => id === mapped) ?? (base.afterDemotion ? namesake(local, snapshot, base) : undefined)
    if (found && isUser(found)) known.set(snapshot.id, found.id)
  }
  return known
}

/**
 * Whether a sync that was given up has copied a user snapshot, newer than its base, that the remote does not have any more. Where the OSDs had dropped
 * that one's data already, objects seemed to be missing in it, and were removed here: whoever comes after it can't go on from their parts.
 */
export function hasCopiedLost({ namespace }: MirrorSnapshot, base: SnapId, remoteIds: ReadonlySet<SnapId>): boolean {
  return [...namespace.snapSeqs].some(([remoteId, localId]) => localId !== NO_SNAP && remoteId > base && !remoteIds.has(remoteId))
}

/** Remote id → local id, as the snapshots on either side of the base have noted it. */
function baseMapping({ local, remote }: SnapshotSides, { remoteSnapId, localSnapId, afterDemotion }: Base): Map<SnapId, SnapId> {
  const ours = local.find(({ id }) => id === localSnapId)
  const theirs = remote.find(({ id }) => id === remoteSnapId)
  if (afterDemotion && theirs && isMirrorSnapshot(theirs)) {
    return new Map([...theirs.namespace.snapSeqs].map(([localId, remoteId]) => [remoteId, localId]))
  }
  return ours && isMirrorSnapshot(ours) ? ours.namespace.snapSeqs : new Map<SnapId, SnapId>()
}

function namesake(local: readonly ImageSnapshot[], { name }: ImageSnapshot, { localSnapId }: Base): ImageSnapshot | undefined {
  return local.find((snapshot) => isUser(snapshot) && snapshot.name === name && snapshot.id < localSnapId)
}

/**
 * The remote snapshot that a local one stands for, if any is noted (snapshot/Utils.cc and ApplyImageStateRequest.cc, compute_remote_snap_id):
 * by local non-primary snapshots made since, or else by remote ones that stand for local snapshots.
 */
export function remoteSnapIdOf({ local, remote, localMirrorUuid, remoteMirrorUuid }: SnapshotSides, localId: SnapId): SnapId | undefined {
  for (const { id, namespace } of mirrorSnapshots(local)) {
    if (id < localId || !isNonPrimary(namespace) || namespace.primaryMirrorUuid !== remoteMirrorUuid) continue
    if (id === localId) return namespace.primarySnapId
    for (const [remoteId, mapped] of namespace.snapSeqs) if (mapped === localId) return remoteId
  }
  for (const { id, namespace } of mirrorSnapshots(remote)) {
    if (!isNonPrimary(namespace) || namespace.primaryMirrorUuid !== localMirrorUuid) continue
    if (namespace.primarySnapId === localId) return id
    const mapped = namespace.snapSeqs.get(localId)
    if (mapped !== undefined && mapped !== NO_SNAP) return mapped
  }
  return undefined
}
