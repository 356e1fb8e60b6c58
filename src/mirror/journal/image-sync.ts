import { Errno, isErrno } from '../../rados/errors.ts'
import { NO_SNAP, type SnapId } from '../../rados/io-ctx.ts'
import type { CopyProgress } from '../../rbd/data/copy-engine.ts'
import { planSteps } from '../../rbd/data/copy-steps.ts'
import { layoutOf, objectCount } from '../../rbd/data/striping.ts'
import { findSnapshotByName, type ImageSnapshot } from '../../rbd/header.ts'
import type { Image } from '../../rbd/image.ts'
import type { MirrorPeerSyncPoint } from '../../rbd/journal/client-data.ts'
import { listMetadata } from '../../rbd/operations/metadata.ts'
import { createSnapshot, createSnapshotHere } from '../../rbd/operations/snapshot-create.ts'
import { protectSnapshotHere, unprotectSnapshotHere } from '../../rbd/operations/snapshot-edit.ts'
import { removeSnapshot, removeSnapshotHere } from '../../rbd/operations/snapshot-remove.ts'
import { copyIntoReplica, type Comparison } from '../copy-into-replica.ts'
import type { ImageContext } from '../image-context.ts'
import { PassingFailure } from '../replayer.ts'
import { planKeptSnapshots } from '../resync/snapshots.ts'
import { applySettings } from '../snapshot/apply-image-state.ts'
import { planSettings, type Settings } from '../snapshot/apply-plan.ts'
import type { SnapshotChanges } from '../snapshot/snapshot-map.ts'
import { describing } from '../snapshot/image-sync.ts'
import { setHead } from '../snapshot/sync-snapshots.ts'
import type { RemoteClient } from './remote-client.ts'

/** How far the copy is gets noted in the remote journal no more often than this (rbd_mirror_sync_point_update_age is 30 s). */
const NOTE_INTERVAL_MS = 5_000

/** Names of the snapshots of the primary that syncs make and remove (image_sync/Utils.cc). */
export function syncPointPrefix(localMirrorUuid: string): string {
  return `.rbd-mirror.${localMirrorUuid}.`
}

/** Removes our sync points of the primary, then the note of them. */
export async function removeSyncPoints(remote: Image, localMirrorUuid: string, client: RemoteClient, signal: AbortSignal): Promise<void> {
  await removeSyncPointSnapshots(remote, localMirrorUuid, signal)
  await client.update({ syncPoints: [] })
}

/**
 * All that bear our name: a note is lost where somebody takes us out of the journal's clients while a snapshot is being made. Those whose removal
 * was cut short are in the snapshot trash.
 */
export async function removeSyncPointSnapshots(remote: Image, localMirrorUuid: string, signal: AbortSignal): Promise<void> {
  const { snapshots } = await remote.refresh()
  const prefix = syncPointPrefix(localMirrorUuid)
  for (const { id, name, namespace, childCount } of [...snapshots]) {
    const ours = namespace.type === 'user' ? name : namespace.type === 'trash' && namespace.originalType === 'user' ? namespace.originalName : ''
    if (ours.startsWith(prefix) && childCount === 0) await removeSnapshot(remote, id, { signal })
  }
}

/**
 * Copies a primary image to a new local one, up to a snapshot made for it: the sync point. What is written meanwhile is in the journal, whose client
 * was registered before (ImageSync.cc). Noted in the client's data, so that any daemon can go on with it:
 *
 *     commit position as the primary's own → sync point noted → snapshot of the primary → user snapshots here → copy, noting how far
 *       → metadata → client `replaying` → snapshot removed → note removed
 */
export class JournalImageSync {
  private notedAt: number
  private noting: Promise<void> | undefined

  constructor(
    private readonly context: ImageContext,
    private readonly local: Image,
    private readonly remote: Image,
    private readonly client: RemoteClient,
    /** `compares`: the local image has been there before, and may differ anywhere */
    private readonly options: { compares: boolean } = { compares: false },
  ) {
    this.notedAt = context.clock.monotonic()
  }

  /** Waits for its turn among all syncs of the daemon. Rejects with SyncFailure, or the signal's reason. */
  async run(signal: AbortSignal): Promise<void> {
    this.report('NOTIFY_SYNC_REQUEST')
    await this.context.limits.imageSyncs.add(() => this.sync(signal), { signal })
    if (signal.aborted) throw signal.reason
  }

  private async sync(signal: AbortSignal): Promise<void> {
    const { clock, metrics } = this.context
    const started = clock.monotonic()
    const { point, startsAnew } = await this.syncPoint(signal)
    const snapshot = findSnapshotByName(this.remote.header, 'user', point.snapName)!
    // the image may have been promoted while the remote was waited for: its snapshots are its users' then
    const prepared = await describing('failed to copy snapshots from remote image', () =>
      this.local.lock!.use(async () => {
        signal.throwIfAborted()
        return this.options.compares ? this.compareSnapshots(snapshot, point, signal) : this.prepareSnapshots(snapshot, point, startsAnew, signal)
      }),
    )
    const bytes = await describing('failed to copy remote image', async () => {
      const copied = await this.copy(snapshot, prepared, signal)
      await this.requireSyncPoint(snapshot)
      return copied
    })
    // as it is now: changes since the sync point are in the journal, and replaying them ends with the newest
    await describing('failed to copy remote image metadata', () => this.copySettings(signal))
    await describing('failed to update client data', () => this.client.update({ state: 'replaying' }))
    await describing('failed to remove sync point', () => removeSyncPoints(this.remote, this.context.local.mirrorUuid, this.client, signal))
    metrics.observeSync((clock.monotonic() - started) / 1000, bytes)
  }

  /** The sync point to copy up to: the one that an earlier run has made, or a new one. `startsAnew`: there was another one before it. */
  private async syncPoint(signal: AbortSignal): Promise<{ point: MirrorPeerSyncPoint; startsAnew: boolean }> {
    this.report('CREATE_SYNC_POINT')
    return describing('failed to create sync point', async () => {
      const [noted] = this.client.meta.syncPoints
      const header = await this.remote.refresh()
      if (noted && findSnapshotByName(header, 'user', noted.snapName)) return { point: noted, startsAnew: false }
      const point: MirrorPeerSyncPoint = {
        snapName: `${syncPointPrefix(this.context.local.mirrorUuid)}${this.context.random.uuid()}`,
        fromSnapName: '',
        objectNumber: undefined,
        snapNamespace: { type: 'user' },
      }
      // the copy may have waited for its turn: operations done over again would leave snapshots that were renamed or removed since
      await this.client.commitAsImage()
      // noted first, so that a snapshot that a crash leaves behind is known to be ours
      await this.client.update({ syncPoints: [point] })
      try {
        await createSnapshot(this.remote, { name: point.snapName, namespace: point.snapNamespace }, { signal })
      } catch (error) {
        if (!isErrno(error, Errno.EEXIST)) throw error
      }
      if (!findSnapshotByName(await this.remote.refresh(), 'user', point.snapName)) throw new Error(`no snapshot ${point.snapName}`)
      return { point, startsAnew: noted !== undefined }
    })
  }

  /**
   * Makes the local image's user snapshots those of the primary that are older than the sync point. A run that had to make one can't go on with
   * what an earlier one has copied.
   */
  private async prepareSnapshots(
    to: ImageSnapshot,
    point: MirrorPeerSyncPoint,
    startsAnew: boolean,
    signal: AbortSignal,
  ): Promise<Prepared> {
    const { local, remote, client } = this
    const localIds = new Set((await local.refreshIfNeeded()).snapshots.map(({ id }) => id))
    const wanted = remote.header.snapshots
      .filter(({ id, namespace, name }) => namespace.type === 'user' && id < to.id && !name.startsWith('.rbd-mirror.'))
      .sort((a, b) => (a.id < b.id ? -1 : 1))
    const known = new Map(wanted.flatMap(({ id }) => {
      const localId = client.meta.snapSeqs.get(id)
      return localId !== undefined && localIds.has(localId) ? [[id, localId] as const] : []
    }))
    const complete = known.size === wanted.length && localIds.size === known.size
    const resumeFrom = complete && point.objectNumber !== undefined ? point.objectNumber + 1 : 0
    if (complete && client.meta.snapSeqs.size === known.size) {
      await setHead(local, to, false, signal)
      return { snapSeqs: known, resumeFrom, leftovers: startsAnew }
    }
    // an earlier run's snapshots are of no use once one is missing: their order is their age
    const snapSeqs = await this.replaceSnapshots(to, point, { remove: [...local.header.snapshots], create: wanted, known: new Map() }, signal)
    return { snapSeqs, resumeFrom: 0, leftovers: startsAnew || localIds.size > 0 }
  }

  /** The same where nothing but a comparison tells which of the local snapshots are the primary's. */
  private async compareSnapshots(to: ImageSnapshot, point: MirrorPeerSyncPoint, signal: AbortSignal): Promise<Prepared> {
    const { context, local, remote } = this
    const { size, snapshots } = await local.refreshIfNeeded()
    const objects = objectCount(layoutOf(local.header), Math.max(size, ...snapshots.map((each) => each.size)))
    const kept = await planKeptSnapshots(context, local, remote, to.id, () => false, signal)
    const snapSeqs = await this.replaceSnapshots(to, point, kept, signal)
    return { snapSeqs, resumeFrom: 0, leftovers: false, comparison: { keptUpTo: kept.keptUpTo, objects } }
  }

  private async replaceSnapshots(to: ImageSnapshot, point: MirrorPeerSyncPoint, changes: SnapshotChanges, signal: AbortSignal): Promise<Map<SnapId, SnapId>> {
    const { local, client } = this
    for (const { id, protection } of changes.remove) {
      if (protection !== 'unprotected') await unprotectSnapshotHere(local, id)
      await removeSnapshotHere(local, id)
    }
    const snapSeqs = new Map(changes.known)
    for (const snapshot of changes.create) {
      const { id, name, protection } = snapshot
      signal.throwIfAborted()
      await setHead(local, snapshot, false, signal)
      const localId = await createSnapshotHere(local, { name, namespace: { type: 'user' } })
      if (protection === 'protected') await protectSnapshotHere(local, localId)
      snapSeqs.set(id, localId)
    }
    await setHead(local, to, false, signal)
    await client.update({ snapSeqs, syncPoints: [{ ...point, objectNumber: undefined }] })
    return snapSeqs
  }

  private async copy(to: ImageSnapshot, { snapSeqs, resumeFrom, leftovers, comparison }: Prepared, signal: AbortSignal): Promise<number> {
    const { context, local, remote } = this
    const header = await local.refreshIfNeeded()
    const steps = planSteps(comparison?.keptUpTo ?? 0n, to.id, new Map(snapSeqs).set(to.id, NO_SNAP), header.snapContext.snaps)
    const onProgress = (progress: CopyProgress) => this.advance(progress)
    this.report('COPY_IMAGE')
    try {
      return await local.lock!.use(() =>
        copyIntoReplica(context, { local, remote, fromSnap: 0n, steps, resumeFrom, leftovers, comparison, signal, onProgress }),
      )
    } finally {
      await this.noting
    }
  }

  /**
   * An operator who removes all snapshots of the primary removes the sync point, too. What was read of it after that may be anything, and no journal has
   * it: the next try makes another sync point, and copies all.
   */
  private async requireSyncPoint({ id, name }: ImageSnapshot): Promise<void> {
    const { snapshots } = await this.remote.refresh()
    if (snapshots.some((snapshot) => snapshot.id === id && snapshot.namespace.type === 'user')) return
    throw new PassingFailure(`snapshot ${name} of the primary was removed while it was copied: the image is copied anew`)
  }

  /** A new image has them from when it was made, and what its primary has done before the sync point is not replayed. */
  private async copySettings(signal: AbortSignal): Promise<void> {
    const { local, remote } = this
    const [have, wanted] = await Promise.all([settingsOf(local, signal), settingsOf(remote, signal)])
    await local.lock!.use(() => applySettings(local, planSettings(have, wanted)))
  }

  private advance({ objects, totalObjects }: CopyProgress): void {
    const { clock, metrics } = this.context
    metrics.setSyncProgress(objects / Math.max(1, totalObjects))
    this.report(`COPY_IMAGE ${Math.floor((100 * objects) / Math.max(1, totalObjects))}%`)
    if (this.noting || objects === 0 || clock.monotonic() - this.notedAt < NOTE_INTERVAL_MS) return
    this.notedAt = clock.monotonic()
    this.noting = this.note(objects).finally(() => (this.noting = undefined))
  }

  /** Only makes a restart cheaper: a failure is for the copy to run into. */
  private async note(objects: number): Promise<void> {
    const { meta } = this.client
    const [point] = meta.syncPoints
    if (!point) return
    try {
      const syncPoints = [{ ...point, objectNumber: objects - 1 }]
      await this.client.update({ syncPoints, syncObjectCount: Math.max(meta.syncObjectCount, objects) })
    } catch (error) {
      this.context.log.debug({ err: error }, 'progress of the image sync not noted')
    }
  }

  private report(description: string): void {
    this.context.report({ type: 'syncing', description: `bootstrapping, IMAGE_SYNC/${description}` })
  }
}

async function settingsOf(image: Image, signal: AbortSignal): Promise<Settings> {
  const [{ name, features }, metadata] = await Promise.all([image.refresh(), listMetadata(image.io, image.id, signal)])
  return { name, features, metadata }
}

interface Prepared {
  /** remote snapshot id → local one */
  snapSeqs: ReadonlyMap<SnapId, SnapId>
  resumeFrom: number
  leftovers: boolean
  /** nothing is known to be equal but the snapshots up to `keptUpTo`; the local image may have had so many objects */
  comparison?: Comparison
}
