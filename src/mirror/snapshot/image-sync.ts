import { abortable, Cancelled, isCancelled } from '../../base/cancelled.ts'
import { setFeatures } from '../../cls/rbd/client.ts'
import { mirrorImageGet, mirrorPeerList } from '../../cls/rbd/mirror-client.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import type { CopyProgress } from '../../rbd/data/copy-engine.ts'
import { planSteps } from '../../rbd/data/copy-steps.ts'
import { layoutOf, objectCount } from '../../rbd/data/striping.ts'
import { FEATURE_NON_PRIMARY, hasFeature } from '../../rbd/features.ts'
import type { ImageSnapshot } from '../../rbd/header.ts'
import type { Image } from '../../rbd/image.ts'
import { setMirrorImage } from '../../rbd/mirror/image-entry.ts'
import { readImageState, writeImageState, type ImageState } from '../../rbd/mirror/image-state.ts'
import { completeNonPrimarySnapshot, createCheckpoint, createNonPrimarySnapshot } from '../../rbd/mirror/non-primary-snapshot.ts'
import { isDemoted, isOrphan, mirrorSnapshots } from '../../rbd/mirror/mirror-snapshot.ts'
import { clearImageMeta } from '../../rbd/mirror/image-meta.ts'
import { RBD_MIRRORING } from '../../rbd/names.ts'
import { removeSnapshot } from '../../rbd/operations/snapshot-remove.ts'
import { copyIntoReplica, type Comparison } from '../copy-into-replica.ts'
import type { ImageContext } from '../image-context.ts'
import { dropGivenUp, keepGivenUp, planKeptSnapshots, type KeptSnapshots } from '../resync/snapshots.ts'
import { applyImageState } from './apply-image-state.ts'
import { CopyProgressKeeper } from './copy-progress.ts'
import type { Step } from './plan.ts'
import { hasCopiedLost, planSnapshotChanges, remoteSnapIdOf, type SnapshotSides } from './snapshot-map.ts'
import { syncSnapshots } from './sync-snapshots.ts'

export const NO_IMAGE_STATE = 'failed to retrieve remote snapshot image state'

/** What a step failed at, in the stock daemon's words, for the operator. */
export class SyncFailure extends Error {
  constructor(
    readonly description: string,
    cause: unknown,
  ) {
    super(description, { cause })
    this.name = 'SyncFailure'
  }
}

/** Gives a failure of `task` its description; cancellation passes. */
export async function describing<T>(description: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task()
  } catch (error) {
    if (isCancelled(error) || error instanceof SyncFailure) throw error
    throw new SyncFailure(description, error)
  }
}

export interface SyncOutcome {
  seconds: number
  bytes: number
}

export interface SyncProgress extends CopyProgress {
  to: SnapId
}

export type SyncStep = Extract<Step, { type: 'sync' | 'resume' }>

/** Why a sync ends before its time. */
export const BEING_PROMOTED = 'the local image is being promoted'

/** Both images open, and what syncing them needs. The exclusive lock of the local one must be held, if it has one. */
export class ImageSync {
  /** Only this process has written to the local image since it was last whole. */
  private pristine = false

  constructor(
    private readonly context: ImageContext,
    private readonly local: Image,
    private readonly remote: Image,
    private readonly onProgress: (progress: SyncProgress) => void,
  ) {}

  /**
   *     sync:   remote image state → user snapshots → incomplete non-primary snapshot → mirror image enabled ┐
   *     resume: local image state ──────────────────────────────────────────────────────────────────────────┴→
   *       copy → image state applied → object map of the snapshot → snapshot complete → peers told
   *
   * Resolves with 'gone' when a remote snapshot was removed meanwhile: what was read of it then may be anything, and the local
   * snapshot stays incomplete. Rejects with SyncFailure, or the signal's reason.
   */
  async run(step: SyncStep, signal: AbortSignal): Promise<SyncOutcome | 'gone'> {
    const { clock, limits } = this.context
    const { pristine } = this
    this.pristine = false
    const backed = this.local.header.parent?.overlap !== undefined
    const prepared = step.type === 'sync' ? await this.prepare(step, pristine, signal) : await this.takeUp(step)
    // what flattening has copied from the parent is nothing that the remote has to have
    const flattened = backed && this.local.header.parent?.overlap === undefined
    const leftovers = (step.base.localSnapId !== 0n && !pristine) || flattened
    const compares = step.type === 'sync' && step.compares
    const started = clock.monotonic()
    let bytes = 0
    if (step.copies) {
      const copied = await limits.imageSyncs.add(() => this.copy(step, prepared, leftovers, signal), { signal })
      bytes = copied ?? 0
    }
    const seconds = (clock.monotonic() - started) / 1000
    signal.throwIfAborted()
    if (!(await this.stillThere(step, signal))) return 'gone'
    await this.finish(step, prepared)
    if (compares) await describing('failed to finish resync', () => this.dropOlder(prepared.snapId, compares === 'resync', signal))
    this.pristine = true
    return { seconds, bytes }
  }

  /** Makes what the local image is now a snapshot that can be rolled back to. */
  async checkpoint({ snapshot }: Extract<Step, { type: 'checkpoint' }>): Promise<void> {
    await describing('failed to create local mirror snapshot', async () => {
      await createCheckpoint(this.local, this.context.globalImageId, snapshot.namespace, await this.takeSnapId())
    })
  }

  private sides(): SnapshotSides {
    const { local, remote } = this.context
    return {
      local: this.local.header.snapshots,
      remote: this.remote.header.snapshots,
      localMirrorUuid: local.mirrorUuid,
      remoteMirrorUuid: remote.mirrorUuid,
    }
  }

  private async prepare(step: Extract<Step, { type: 'sync' }>, pristine: boolean, signal: AbortSignal): Promise<Prepared> {
    const { base, to } = step
    const { globalImageId, remote } = this.context
    const { local } = this
    const demoted = isDemoted(to.namespace)
    const [imageState, mirrorPeerUuids] = await Promise.all([
      describing(NO_IMAGE_STATE, () => abortable(readImageState(this.remote.io, this.remote.id, to.id), signal)),
      demoted ? describing('failed to create local mirror snapshot', () => this.followers()) : new Set<string>(),
    ])
    const objects = mostObjects(local)
    const kept = step.compares && (await describing('failed to compare snapshots', () => this.keptSnapshots(step, signal)))
    if (step.compares === 'resync' && this.context.options.resyncKeepSnapshot) {
      await describing('failed to keep what the resync gives up', () => keepGivenUp(local, base.localSnapId))
    }
    const changes = kept || planSnapshotChanges(this.sides(), base, to.id)
    const takeSnapId = () => this.takeSnapId()
    const snapSeqs = await describing('failed to copy snapshots from remote to local image', () =>
      syncSnapshots({ local, changes, to, state: imageState, pristine, takeSnapId, signal }),
    )
    signal.throwIfAborted()
    // one that we have made for a promotion ourselves: `rbd` of Ceph 16 would roll back to it as if it were the last complete state
    const newest = mirrorSnapshots(local.header.snapshots).at(-1)
    if (newest && isOrphan(newest.namespace)) throw new Cancelled(BEING_PROMOTED)
    const snapId = await describing('failed to create local mirror snapshot', async () =>
      createNonPrimarySnapshot(
        local,
        { globalImageId, demoted, primaryMirrorUuid: remote.mirrorUuid, primarySnapId: to.id, mirrorPeerUuids, snapSeqs, imageState },
        await this.takeSnapId(),
      ),
    )
    if (base.localSnapId === 0n) await describing('failed to update local mirror image state', () => this.enableMirrorImage())
    return { snapId, snapSeqs, imageState, resumeFrom: 0, ...(kept && { comparison: { keptUpTo: kept.keptUpTo, objects } }) }
  }

  /** What is noted by a sync that was never finished does not count. */
  private keptSnapshots({ to }: SyncStep, signal: AbortSignal): Promise<KeptSnapshots> {
    const counts = ({ namespace }: ImageSnapshot) => namespace.type !== 'mirror' || namespace.complete
    const sides = { ...this.sides(), local: this.local.header.snapshots.filter(counts), remote: this.remote.header.snapshots.filter(counts) }
    const isNoted = (localId: SnapId, remoteId: SnapId) => remoteSnapIdOf(sides, localId) === remoteId
    return planKeptSnapshots(this.context, this.local, this.remote, to.id, isNoted, signal)
  }

  /** The image's history begins with this sync: what it was before is over, and so is the request for a resync. */
  private async dropOlder(snapId: SnapId, resync: boolean, signal: AbortSignal): Promise<void> {
    const { local, context } = this
    const { features } = await local.refreshIfNeeded()
    if (!hasFeature(features, FEATURE_NON_PRIMARY)) {
      await setFeatures.call(local.io, local.headerOid, { features: FEATURE_NON_PRIMARY, mask: FEATURE_NON_PRIMARY })
    }
    for (const { id } of mirrorSnapshots(local.header.snapshots)) if (id < snapId) await removeSnapshot(local, id, { signal })
    if (!resync) return
    await dropGivenUp(local, context.options.resyncKeepSnapshot)
    await clearImageMeta(local.io, local.id, context.local.mirrorUuid)
    await local.headerChanged()
  }

  private async takeUp({ into, to, base }: Extract<Step, { type: 'resume' }>): Promise<Prepared> {
    const { snapSeqs, lastCopiedObjectNumber } = into.namespace
    const imageState = await describing('failed to retrieve local snapshot image state', () => this.localImageState(into.id, to.id))
    // a crash may have come between the snapshot and this
    if (base.localSnapId === 0n) await describing('failed to update local mirror image state', () => this.enableMirrorImage())
    return { snapId: into.id, snapSeqs, imageState, resumeFrom: lastCopiedObjectNumber }
  }

  /** The remote's is the same, for as long as the snapshot is there. */
  private async localImageState(localSnapId: SnapId, remoteSnapId: SnapId): Promise<ImageState> {
    try {
      return await readImageState(this.local.io, this.local.id, localSnapId)
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT) && !(error instanceof MalformedInput)) throw error
      const state = await readImageState(this.remote.io, this.remote.id, remoteSnapId)
      await writeImageState(this.local.io, this.local.id, localSnapId, state)
      return state
    }
  }

  private async copy({ base, to }: SyncStep, prepared: Prepared, leftovers: boolean, signal: AbortSignal): Promise<number> {
    const { context, local, remote } = this
    const { clock, log } = context
    const header = await local.refreshIfNeeded()
    // The new snapshot takes no part in the snapshot context: it is to read as the head does after this sync, see READS_AS_SYNCED.
    const older = header.snapContext.snaps.filter((id) => id < prepared.snapId)
    const { comparison, resumeFrom } = prepared
    const fromSnap = base.remoteSnapId
    const remoteIds = new Set(remote.header.snapshots.map(({ id }) => id))
    const changedWhole = mirrorSnapshots(header.snapshots).some(
      (snapshot) => snapshot.id > base.localSnapId && !snapshot.namespace.complete && hasCopiedLost(snapshot, fromSnap, remoteIds),
    )
    const steps = planSteps(comparison?.keptUpTo ?? fromSnap, to.id, prepared.snapSeqs, older)
    const progress = new CopyProgressKeeper(local, prepared.snapId, clock)
    const onProgress = (state: CopyProgress) => {
      progress.advance(state.objects)
      this.onProgress({ ...state, to: to.id })
    }
    const run = () => copyIntoReplica(context, { local, remote, fromSnap, steps, resumeFrom, leftovers, changedWhole, comparison, signal, onProgress })
    try {
      // as long as the copy runs, the lock can't be given away
      return await describing('failed to copy remote image', () => (local.usesLock ? local.lock!.use(run) : run()))
    } finally {
      if (signal.aborted) await progress.flush().catch((error: unknown) => log.debug({ err: error }, 'copy progress not noted'))
      else await describing('failed to update local snapshot progress', () => progress.settle())
    }
  }

  /**
   * What was copied, and what it was taken to differ from. Before its data goes, a snapshot leaves the header, or goes to the trash there.
   */
  private async stillThere({ base, to }: SyncStep, signal: AbortSignal): Promise<boolean> {
    const header = await describing('failed to refresh remote image', () => abortable(this.remote.refresh(), signal))
    const there = new Set(mirrorSnapshots(header.snapshots).map(({ id }) => id))
    return there.has(to.id) && (base.remoteSnapId === 0n || there.has(base.remoteSnapId))
  }

  private async finish(step: SyncStep, { snapId, imageState }: Prepared): Promise<void> {
    const { local } = this
    const sides = this.sides()
    const state = this.withoutLost(imageState, step.base.remoteSnapId)
    const changes = await describing('failed to apply remote image state', () => applyImageState(local, state, (localId) => remoteSnapIdOf(sides, localId)))
    if (changes.rename !== undefined) this.context.report({ type: 'name', name: changes.rename })
    await describing('failed to update local snapshot progress', async () => {
      // a part that was copied by another run may have been written with the snapshot in the context
      const readsAsSynced = step.type === 'sync'
      if (readsAsSynced) await local.objectMap?.createSnapshot(snapId)
      await completeNonPrimarySnapshot(local, snapId, readsAsSynced)
      await local.headerChanged()
    })
  }

  /** What was read of a user snapshot that was removed while it was copied may be anything: it goes at once, not with the next sync. */
  private withoutLost(state: ImageState, base: SnapId): ImageState {
    const there = new Set(this.remote.header.snapshots.map(({ id }) => id))
    return { ...state, snapshots: new Map([...state.snapshots].filter(([id]) => id <= base || there.has(id))) }
  }

  /** Peers that may fetch from here once this image is promoted (mirror peers with direction tx). */
  private async followers(): Promise<Set<string>> {
    const { io } = this.context.local
    const pool = io.namespace === '' ? io : io.duplicate({ namespace: '' })
    try {
      const peers = await mirrorPeerList.call(pool, RBD_MIRRORING)
      return new Set(peers.filter(({ direction }) => direction !== 'rx').map(({ uuid }) => uuid))
    } finally {
      if (pool !== io) pool.close()
    }
  }

  /** Until its first snapshot ties it to the primary, a new image is `creating`: whoever finds it so throws it away. */
  private async enableMirrorImage(): Promise<void> {
    const { io } = this.context.local
    const { id: imageId } = this.local
    const image = await mirrorImageGet.call(io, RBD_MIRRORING, { imageId })
    if (image.state === 'enabled') return
    await setMirrorImage(io, imageId, { ...image, state: 'enabled' }, this.context.log)
  }

  /** Ids allocated ahead are of the header's pool: with a data pool they are of no use. */
  private async takeSnapId(): Promise<SnapId | undefined> {
    return this.local.header.dataPoolId === undefined ? this.context.snapIds.take() : undefined
  }
}

interface Prepared {
  /** the local non-primary snapshot */
  snapId: SnapId
  snapSeqs: ReadonlyMap<SnapId, SnapId>
  imageState: ImageState
  /** objects below it are copied */
  resumeFrom: number
  /** nothing is known to be equal but the snapshots up to `keptUpTo`; the local image may have had so many objects */
  comparison?: Comparison
}

function mostObjects({ header }: Image): number {
  return objectCount(layoutOf(header), Math.max(header.size, ...header.snapshots.map(({ size }) => size)))
}
