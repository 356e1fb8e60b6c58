import type { SnapId } from '../../rados/io-ctx.ts'
import { isDemoted, isNonPrimary, isOrphan, isPrimary, readsAsSynced, type MirrorSnapshot } from '../../rbd/mirror/mirror-snapshot.ts'
import { hasCopiedLost } from './snapshot-map.ts'

/** Why nothing is known to be equal. */
export type Compares = 'resync' | 'baseLost' | 'targetLost'

/** All that the next step of an image's replay depends on. */
export interface Observation {
  resyncRequested: boolean
  /** how a resync is done (`rbd_mirror_resync_mode`) */
  resyncMode?: 'delta' | 'recreate'
  /** mirror-snapshots of the local image, oldest first */
  local: readonly MirrorSnapshot[]
  /** mirror-snapshots of the remote image, oldest first */
  remote: readonly MirrorSnapshot[]
  /** all snapshots of the remote image */
  remoteIds: ReadonlySet<SnapId>
  localMirrorUuid: string
  remoteMirrorUuid: string
  /** what remote snapshots call us in `mirrorPeerUuids` */
  mirrorPeerUuid: string
  /** remote snapshots that can't be synced to, with newer ones behind them */
  passedOver?: ReadonlySet<SnapId>
}

/** A state that both images have had: what a delta starts from. */
export interface Base {
  /** 0 for nothing at all */
  remoteSnapId: SnapId
  /** the local snapshot with that state; 0 for nothing at all */
  localSnapId: SnapId
  /** the local image was demoted there, and the remote one took over: user snapshots are matched by name */
  afterDemotion: boolean
}

export type Step =
  /** The local image is to be thrown away and made anew. */
  | { type: 'resyncRequested' }
  /** A resync is asked for, and the remote has nothing that it could be done from: what is here may be all there is. */
  | { type: 'resyncWaits'; for: 'primary' | 'snapshot' }
  /** The local image has a primary snapshot as its newest. */
  | { type: 'localPromoted' }
  /** A forced promotion of the local image has begun. */
  | { type: 'orphan' }
  | { type: 'splitBrain'; reason: 'split-brain' | 'local image linked to unknown peer' }
  /** The first sync can't be finished nor begun anew over what it left behind: the local image is to be made again. */
  | { type: 'startOver' }
  | { type: 'invalid'; reason: string }
  /** Make the local head's state a snapshot that can be rolled back to, in place of `snapshot`, which can't. */
  | { type: 'checkpoint'; snapshot: MirrorSnapshot }
  /**
   * Bring the local image from `base` to `to`; `pending` snapshots wait on the remote, `to` included. With `compares` nothing is known to be equal:
   * because a resync was asked for, or because the remote has removed the snapshot that the local image was synced to, or was being synced to.
   */
  | { type: 'sync'; base: Base; to: MirrorSnapshot; copies: boolean; pending: number; compares?: Compares }
  /** Go on with the sync that `into` was made for. */
  | { type: 'resume'; base: Base; to: MirrorSnapshot; into: MirrorSnapshot; copies: boolean; pending: number }
  /** Remove local snapshots that nobody needs, unlink us from remote ones. */
  | { type: 'tidy'; prune: readonly MirrorSnapshot[]; unlink: readonly MirrorSnapshot[] }
  | { type: 'remoteDemoted' }
  /** Everything is synced, or what comes next is not complete yet. */
  | { type: 'idle' }

/** With more than this to tidy, tidying goes before the next sync; otherwise the sync is not kept waiting. */
export const MAX_UNTIDY = 4

/**
 * What to do next. Total: any two lists of mirror-snapshots give a step, and doing the steps ends in `idle` or in an outcome.
 * The rules are those of Ceph's tools/rbd_mirror/image_replayer/snapshot/Replayer.cc (scan_local_mirror_snapshots,
 * scan_remote_mirror_snapshots), with these differences:
 * - an orphan or a primary snapshot is seen also behind an incomplete one, so that a forced promotion in mid-sync is not ignored;
 * - the newest remote snapshot that is sure to stay is synced, not each one in turn;
 * - an incomplete non-primary snapshot at the remote proves no common state;
 * - a sync whose target is gone is replaced by one to the newest snapshot, never continued towards another one; what it has copied may be anything,
 *   so that the new one compares, and its unfinished snapshot says so until the new one is whole;
 * - an unfinished snapshot also stays while it tells of user snapshots that were copied and that the remote has removed (`hasCopiedLost`);
 * - a replica that was never promoted has nothing of its own: when the primary has removed the snapshot that it was synced to, that is no
 *   split-brain, they are compared;
 * - a promotion goes before a resync, and a resync never begins before the remote can give what is given up here.
 */
export function planNext(observation: Observation): Step {
  return localOutcome(observation) ?? (observation.resyncRequested ? planResync(observation) : planWithLocal(observation))
}

function planResync(observation: Observation): Step {
  const { remote, resyncMode = 'delta' } = observation
  if (remote.at(-1)?.namespace.state !== 'primary') return { type: 'resyncWaits', for: 'primary' }
  const pending = linked(observation).filter(({ id, namespace }) => isPrimary(namespace) && !observation.passedOver?.has(id))
  const to = target(observation, pending)
  if (!to) return { type: 'resyncWaits', for: 'snapshot' }
  return resyncMode === 'recreate' ? { type: 'resyncRequested' } : compared(observation, 'resync', to, pending.length)
}

/** What a comparison has begun with is made anew after a crash: what it has copied is found to be equal then. */
function compared(observation: Observation, compares: Compares, to: MirrorSnapshot, pending: number): Step {
  const { local } = observation
  const { inProgress, complete } = localSituation(observation)
  if (inProgress && !complete) return tidy([inProgress], [])
  if (!inProgress && lacksCheckpoint(complete)) return { type: 'checkpoint', snapshot: complete }
  const given = compares === 'resync' ? local.findLast((snapshot) => snapshot !== inProgress) : complete
  const base = { remoteSnapId: 0n, localSnapId: given?.id ?? 0n, afterDemotion: false }
  return { type: 'sync', base, to, copies: true, pending, compares }
}

/** Only as long as the head reads as it does. */
function lacksCheckpoint(complete: MirrorSnapshot | undefined): complete is MirrorSnapshot {
  return complete !== undefined && isNonPrimary(complete.namespace) && !readsAsSynced(complete.namespace)
}

/** Whether a sync under way has to end because of what happened to the local image. */
export function mustStop(observation: Observation): boolean {
  return localOutcome(observation) !== undefined
}

function localOutcome({ local, remoteMirrorUuid, resyncRequested }: Observation): Step | undefined {
  const newest = local.at(-1)?.namespace
  if (!newest) return undefined
  if (newest.state === 'primary') return { type: 'localPromoted' }
  if (resyncRequested && !isOrphan(newest)) return undefined
  if (isPrimary(newest)) return newest.complete ? undefined : { type: 'invalid', reason: 'incomplete local primary snapshot' }
  if (isOrphan(newest)) return { type: 'orphan' }
  if (newest.primaryMirrorUuid !== remoteMirrorUuid) return { type: 'splitBrain', reason: 'local image linked to unknown peer' }
  return undefined
}

/** What the newest local snapshots say: what is being copied, and what was whole before. */
interface LocalSituation {
  inProgress: MirrorSnapshot | undefined
  /** the newest complete snapshot before it */
  complete: MirrorSnapshot | undefined
  prunable: MirrorSnapshot[]
}

function localSituation(observation: Observation): LocalSituation {
  const { local } = observation
  const newest = local.at(-1)
  const inProgress = newest && !newest.namespace.complete ? newest : undefined
  const complete = local.findLast(({ namespace }) => namespace.complete && !isOrphan(namespace))
  const tells = (snapshot: MirrorSnapshot) => lostTarget(observation, snapshot, complete) || lostOnTheWay(observation, snapshot, complete)
  const prunable = local.filter(
    (snapshot) => snapshot !== inProgress && snapshot !== complete && isNonPrimary(snapshot.namespace) && isUnneeded(snapshot) && !tells(snapshot),
  )
  return { inProgress, complete, prunable }
}

/** A sync that was given up, and has left something that the next one has to know of. */
function isGivenUp({ id, namespace }: MirrorSnapshot, complete: MirrorSnapshot | undefined): boolean {
  return !namespace.complete && isNonPrimary(namespace) && !isOrphan(namespace) && id > (complete?.id ?? 0n)
}

/** Whether the remote has removed a user snapshot that was copied, see `hasCopiedLost`. */
function lostOnTheWay({ remoteIds }: Observation, snapshot: MirrorSnapshot, complete: MirrorSnapshot | undefined): boolean {
  const base = complete && isNonPrimary(complete.namespace) ? complete.namespace.primarySnapId : 0n
  return isGivenUp(snapshot, complete) && hasCopiedLost(snapshot, base, remoteIds)
}

/**
 * Whether the remote has removed the snapshot that this one was to become the copy of. Where an object was written since, nothing of the removed one
 * is left to read, and what was copied in its place may be anything.
 */
function lostTarget({ remote }: Observation, snapshot: MirrorSnapshot, complete: MirrorSnapshot | undefined): boolean {
  return isGivenUp(snapshot, complete) && !remote.some(({ id }) => id === snapshot.namespace.primarySnapId)
}

/** The copy of a demotion is for the peers that may follow this site, once it is whole. */
function isUnneeded({ namespace }: MirrorSnapshot): boolean {
  return namespace.mirrorPeerUuids.size === 0 || !namespace.complete
}

function planWithLocal(observation: Observation): Step {
  const { inProgress, complete, prunable } = localSituation(observation)
  const base = findBase(observation, complete)
  const unlinkable = linked(observation).filter(({ id }) => id < synced(base, complete))
  const untidy = prunable.length + unlinkable.length
  const chores = untidy > 0 ? tidy(prunable, unlinkable) : undefined
  if (base === 'diverged') return { type: 'splitBrain', reason: 'split-brain' }
  if (base === 'lost') return planWithoutBase(observation, complete!) ?? chores ?? rest(observation)
  if (base === 'unknown') return chores ?? rest(observation)
  if (chores && untidy > MAX_UNTIDY) return chores

  const pending = candidates(observation, complete, base)
  if (complete && observation.local.some((snapshot) => lostTarget(observation, snapshot, complete))) {
    const to = target(observation, pending)
    return to ? compared(observation, 'targetLost', to, pending.length) : (chores ?? rest(observation))
  }
  const resumed = inProgress && planResume(observation, complete, base, inProgress, pending.length)
  if (resumed) return resumed
  const to = target(observation, pending)
  if (!to) return chores ?? rest(observation)
  if (!inProgress && lacksCheckpoint(complete)) return { type: 'checkpoint', snapshot: complete }
  return { type: 'sync', base, to, copies: copies(base, to), pending: pending.length }
}

function planWithoutBase(observation: Observation, { namespace: { primarySnapId } }: MirrorSnapshot): Step | undefined {
  const pending = linked(observation).filter(({ id, namespace }) => isPrimary(namespace) && id > primarySnapId && !observation.passedOver?.has(id))
  const to = target(observation, pending)
  return to && compared(observation, 'baseLost', to, pending.length)
}

/**
 * Undefined: a sync is begun anew, from the last complete state, since what was copied lies between that and whatever the remote has now. The
 * unfinished snapshot stays until the new sync has made its own: as long as the head may have some of its data, a promotion has to roll back.
 */
function planResume({ remote }: Observation, complete: MirrorSnapshot | undefined, base: Base, into: MirrorSnapshot, pending: number): Step | undefined {
  // before its first object is copied an incomplete snapshot may lack its image state or object map
  if (complete && into.namespace.lastCopiedObjectNumber === 0) return undefined
  const to = remote.find(({ id }) => id === into.namespace.primarySnapId)
  if (to && isPrimary(to.namespace) && to.namespace.complete && to.id > base.remoteSnapId) {
    return { type: 'resume', base, to, into, copies: copies(base, to), pending: Math.max(1, pending) }
  }
  return complete ? undefined : { type: 'startOver' }
}

/**
 * A primary may promise that nothing was written since an older snapshot, or 0 for its creation (`clean_since_snap_id`, in the place of
 * primarySnapId).
 */
function copies(base: Base, to: MirrorSnapshot): boolean {
  return to.namespace.primarySnapId !== base.remoteSnapId
}

/**
 * `diverged`: the remote went on from a state that the local image has not had, or that nothing proves it has had.
 * `lost`: the local image has only had states of the remote, and the last of them is no longer there.
 * `unknown`: nothing of the remote concerns us yet.
 */
function findBase(observation: Observation, complete: MirrorSnapshot | undefined): Base | 'diverged' | 'lost' | 'unknown' {
  if (!complete) return { remoteSnapId: 0n, localSnapId: 0n, afterDemotion: false }
  const { remote, localMirrorUuid } = observation
  if (isNonPrimary(complete.namespace)) {
    // an older one would not do: user snapshots made since are here already
    const remoteSnapId = complete.namespace.primarySnapId
    if (!remote.some(({ id }) => id === remoteSnapId)) return 'lost'
    return { remoteSnapId, localSnapId: complete.id, afterDemotion: false }
  }
  const takeover = remote.find(
    ({ namespace }) =>
      namespace.state === 'non-primary-demoted' &&
      namespace.complete &&
      namespace.primaryMirrorUuid === localMirrorUuid &&
      namespace.primarySnapId === complete.id,
  )
  if (takeover) return { remoteSnapId: takeover.id, localSnapId: complete.id, afterDemotion: true }
  return linked(observation).length > 0 ? 'diverged' : 'unknown'
}

/** Remote snapshots that wait for us. */
function linked({ remote, mirrorPeerUuid }: Observation): MirrorSnapshot[] {
  return remote.filter(({ namespace }) => namespace.mirrorPeerUuids.has(mirrorPeerUuid))
}

/** The remote snapshot that the local image is whole up to: older ones need not wait for us. */
function synced(base: Base | 'diverged' | 'lost' | 'unknown', complete: MirrorSnapshot | undefined): SnapId {
  if (typeof base === 'string' || !complete) return 0n
  return base.remoteSnapId
}

/** Primary snapshots that wait for us and are newer than what the local image has, oldest first. */
function candidates(observation: Observation, complete: MirrorSnapshot | undefined, base: Base): MirrorSnapshot[] {
  const after = complete && isNonPrimary(complete.namespace) ? complete.namespace.primarySnapId : base.remoteSnapId
  return linked(observation).filter(({ id, namespace }) => isPrimary(namespace) && id > after && !observation.passedOver?.has(id))
}

/**
 * Where linked snapshots are more than `rbd_mirroring_max_mirroring_snapshots` (at least 3), the primary removes the one before the
 * newest when it makes another (librbd/mirror/snapshot/CreatePrimaryRequest.cc, unlink_peer): the two oldest are never taken away
 * while they are copied.
 */
function target(observation: Observation, pending: readonly MirrorSnapshot[]): MirrorSnapshot | undefined {
  const kept = linked(observation).filter(({ namespace }) => isPrimary(namespace))[1]?.id
  const complete = pending.filter(({ namespace }) => namespace.complete)
  return complete.findLast(({ id }) => kept === undefined || id <= kept) ?? complete[0]
}

function tidy(prune: readonly MirrorSnapshot[], unlink: readonly MirrorSnapshot[]): Step {
  return { type: 'tidy', prune, unlink }
}

function rest({ remote }: Observation): Step {
  const newest = remote.at(-1)?.namespace
  return newest && isDemoted(newest) && newest.complete ? { type: 'remoteDemoted' } : { type: 'idle' }
}
