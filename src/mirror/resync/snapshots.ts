import { checksumSeed } from '../../rbd/data/compare-objects.ts'
import { sameContent } from '../../rbd/compare-images.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import type { ImageSnapshot } from '../../rbd/header.ts'
import type { Image } from '../../rbd/image.ts'
import { createSnapshotHere } from '../../rbd/operations/snapshot-create.ts'
import { removeSnapshotHere } from '../../rbd/operations/snapshot-remove.ts'
import type { SnapshotChanges } from '../snapshot/snapshot-map.ts'
import type { ImageContext } from '../image-context.ts'
import { GIVEN_UP_PREFIX, isGivenUp } from '../../rbd/mirror/given-up.ts'

export interface KeptSnapshots extends SnapshotChanges {
  /** the newest remote snapshot whose local counterpart stays; 0 for none */
  keptUpTo: SnapId
}

/**
 * Which user snapshots of a replica stay when it is resynced to the remote snapshot `to`: the oldest ones, as long as each is known to stand for
 * the remote's next one, or is of the same name and size and has the same contents. The age of snapshots is the order of their ids: behind the
 * first that is missing all have to be made anew.
 *
 * @param isNoted whether a local snapshot is known to hold what that remote one holds
 */
export async function planKeptSnapshots(
  context: Pick<ImageContext, 'random' | 'options'>,
  local: Image,
  remote: Image,
  to: SnapId,
  isNoted: (localId: SnapId, remoteId: SnapId) => boolean,
  signal: AbortSignal,
): Promise<KeptSnapshots> {
  const wanted = userSnapshots(remote).filter(({ id }) => id < to)
  const there = userSnapshots(local)
  const known = new Map<SnapId, SnapId>()
  let [keptUpTo, newest] = [0n, 0n]
  for (const snapshot of wanted) {
    const found = there.find(({ id }) => isNoted(id, snapshot.id)) ?? there.find(({ name }) => name === snapshot.name)
    if (!found || found.id <= newest || found.size !== snapshot.size) break
    if (!isNoted(found.id, snapshot.id) && !(await same(context, local, remote, found.id, snapshot.id, signal))) break
    known.set(snapshot.id, found.id)
    ;[keptUpTo, newest] = [snapshot.id, found.id]
  }
  const kept = new Set(known.values())
  return {
    known,
    keptUpTo,
    // what a crash has left in the trash goes too, and the sync points of copies that were made from here
    remove: local.header.snapshots.filter(
      (snapshot) =>
        there.some(({ id }) => id === snapshot.id && !kept.has(id)) ||
        (snapshot.namespace.type === 'trash' && snapshot.childCount === 0) ||
        (snapshot.namespace.type === 'user' && snapshot.name.startsWith('.rbd-mirror.')),
    ),
    create: wanted.filter(({ id }) => id > keptUpTo),
  }
}

/** Oldest first; neither those that mirroring makes for itself, nor those that keep what was given up. */
function userSnapshots({ header }: Image): ImageSnapshot[] {
  return header.snapshots
    .filter((snapshot) => snapshot.namespace.type === 'user' && !isGivenUp(snapshot) && !snapshot.name.startsWith('.rbd-mirror.'))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
}

function same(
  { random, options }: Pick<ImageContext, 'random' | 'options'>,
  local: Image,
  remote: Image,
  localId: SnapId,
  remoteId: SnapId,
  signal: AbortSignal,
): Promise<boolean> {
  const compare = { concurrency: options.concurrentManagementOps, seed: checksumSeed(random), signal }
  return sameContent({ image: remote, snap: remoteId }, { image: local, snap: localId }, compare)
}

/**
 * Keeps the head's state, before a resync writes over it, as a user snapshot.
 * @param since a resync that begins anew finds the snapshot that it has made already: newer than this one, which marks the state that is given up
 */
export async function keepGivenUp(local: Image, since?: SnapId): Promise<void> {
  const header = await local.refreshIfNeeded()
  if (since !== undefined && header.snapshots.some((snapshot) => isGivenUp(snapshot) && snapshot.id > since)) return
  const name = GIVEN_UP_PREFIX + new Date(local.options.clock.now()).toISOString()
  await createSnapshotHere(local, { name, namespace: { type: 'user' } })
  local.options.log.info({ snapshot: name }, 'what the resync gives up is kept')
}

/** What earlier resyncs have kept goes with the next one: nobody else may remove a replica's snapshots. */
export async function dropGivenUp(local: Image, keepNewest: boolean): Promise<void> {
  const kept = (await local.refreshIfNeeded()).snapshots.filter(isGivenUp).sort((a, b) => (a.id < b.id ? -1 : 1))
  if (keepNewest) kept.pop()
  for (const { id, protection } of kept) if (protection === 'unprotected') await removeSnapshotHere(local, id)
}
