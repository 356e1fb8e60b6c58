import { abortable } from '../base/cancelled.ts'
import { delay } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import { untilAborted } from '../base/until-aborted.ts'
import { mirrorModeGet } from '../cls/rbd/mirror-client.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { RBD_MIRRORING } from '../rbd/names.ts'
import { AssignedImages } from './assigned-images.ts'
import { ImageDeleter } from './image-deleter.ts'
import type { Listings } from './image-set.ts'
import { InstanceObject, type KnownMessage } from './instances/instance-object.ts'
import { InstanceRequests } from './instances/requests.ts'
import { SyncSlots } from './instances/sync-slots.ts'
import type { PoolContext } from './pool-context.ts'
import { PoolWatcher, type ImageListing } from './pool-watcher.ts'
import type { RemotePool } from './remote-pool.ts'
import { followScheduleTargets } from './schedule-targets.ts'
import type { ImageCounts, ServiceStatus } from './service-status.ts'
import { StatusUpdater } from './status-updater.ts'
import { BackgroundVerifier } from './verify/background-verifier.ts'

/** How often a remote namespace without mirroring is looked at again. */
const REMOTE_MODE_POLL_MS = 5_000
/** So many images are called by their ids in one callout. */
const MAX_NAMED = 3

/** What the leader of a namespace follows, and does for other daemons, if that is us. */
export interface NamespaceLead {
  onListings(): void
  onSyncRequest(from: string, syncId: string, signal: AbortSignal): Promise<number>
}

/**
 * This daemon's part of one pool namespace: the images that the pool's leader has assigned to it (tools/rbd_mirror/InstanceReplayer.cc).
 * `run` has the local side, `replay` what needs the remote. The remote comes and goes; the local statuses go on without it.
 */
export class NamespaceReplayer {
  private readonly log: Log
  private readonly localStatus: StatusUpdater
  readonly deleter: ImageDeleter
  readonly images: AssignedImages
  readonly requests: InstanceRequests
  private readonly syncs: SyncSlots
  private readonly instance: InstanceObject
  private readonly localWatcher: PoolWatcher
  /** while we lead */
  lead: NamespaceLead | undefined
  private local: ImageListing | undefined
  private localListings = 0
  private remote: ImageListing | undefined
  private reached: RemotePool | undefined
  private reconcile: () => void = () => undefined
  private readonly callouts: Record<'local' | 'remote' | 'verify', ReturnType<ServiceStatus['callout']>>

  constructor(
    readonly context: PoolContext,
    /** local, of this namespace */
    readonly io: IoCtx,
  ) {
    const log = (this.log = context.log.child({ namespace: io.namespace }))
    const { clock, poolId, serviceStatus, syncThrottler: throttler } = context
    const self = String(context.cluster.instanceId)
    this.localStatus = new StatusUpdater({ io, mirrorUuid: '', clock, log })
    this.deleter = new ImageDeleter(context, io, log)
    const requests = (this.requests = new InstanceRequests({ io, self, log }))
    this.syncs = new SyncSlots({ self, namespace: io.namespace, throttler, requests, clock, log, leader: () => context.leader() })
    this.instance = new InstanceObject({ ...context, io, log, onMessage: (from, message, signal) => this.onMessage(from, message, signal) })
    this.images = new AssignedImages({
      context,
      io,
      log,
      localStatus: this.localStatus,
      deleter: this.deleter,
      syncs: this.syncs,
      listings: () => this.listings,
      relist: () => this.relist(),
    })
    this.localWatcher = new PoolWatcher(io, { ...context, log }, {
      onListing: (images) => {
        this.local = images
        this.localListings++
        this.onListings()
      },
      onUnreadable: (ids) => this.onUnreadable('local', ids),
      onImageUpdated: (id, enabled) => this.images.onUpdated(id, enabled),
    })
    this.callouts = { local: serviceStatus.callout(poolId), remote: serviceStatus.callout(poolId), verify: serviceStatus.callout(poolId) }
  }

  get name(): string {
    return this.io.namespace
  }

  /** What is mirrored on either side, as far as it is known; `count`: how often the local side was listed. */
  get listings(): Partial<Listings> & { count: number } {
    return { ...(this.local && { local: this.local }), ...(this.remote && { remote: this.remote }), count: this.localListings }
  }

  /** While the remote is reached. */
  get remoteMirrorUuid(): string | undefined {
    return this.reached?.mirrorUuid
  }

  /** Resolves once it is known whether others can assign images to us: at once, or not for a while. */
  get introduced(): Promise<void> {
    return this.instance.settled
  }

  /** Whether others can assign images to us, and take them away. */
  get isInstance(): boolean {
    return this.instance.ready
  }

  /** List the local images again. */
  relist(): void {
    this.localWatcher.wake()
  }

  private onListings(): void {
    this.reconcile()
    this.lead?.onListings()
    this.context.serviceStatus.touch()
  }

  /** The local side, until the signal is aborted. Rejects when the connection is blocklisted, or others take this daemon for dead. */
  async run(signal: AbortSignal): Promise<void> {
    const { serviceStatus, poolId } = this.context
    serviceStatus.setCounts(poolId, this.name, () => this.counts())
    const scope = new Scope(signal)
    const afterwards = new Scope(undefined, (error) => {
      failure ??= { error }
      scope.cancel()
    })
    let failure: { error: unknown } | undefined
    // whoever takes our images over does so once this instance is gone: by then the last statuses are written
    afterwards.spawn('instance', async (stop) => {
      await abortable(this.context.takingPart, stop)
      await this.instance.run(stop)
    })
    scope.spawn('status', (stop) => this.localStatus.run(stop))
    scope.spawn('images', (stop) => this.localWatcher.run(stop))
    try {
      await untilAborted(scope.signal)
      await scope.close()
    } finally {
      await afterwards.close()
      serviceStatus.setCounts(poolId, this.name, undefined)
      this.callouts.local.set(undefined)
      this.images.removeMetrics()
    }
    if (failure) throw failure.error
    signal.throwIfAborted()
  }

  /**
   * Replays from the remote until the signal is aborted; all images have stopped when it resolves.
   * @param onDoubt called when the remote seems not to answer
   */
  async replay(remote: RemotePool, onDoubt: () => void, signal: AbortSignal): Promise<void> {
    const io = remote.io.duplicate({ namespace: this.name })
    const outer = new Scope(signal)
    const updating = new Scope()
    const { localMirrorUuid: mirrorUuid, clock } = this.context
    const log = this.log.child({ site: 'remote' })
    const status = new StatusUpdater({ io, mirrorUuid, clock, log, onFailure: onDoubt })
    try {
      await this.remoteEnabled(io, signal)
      let failure: { error: unknown } | undefined
      const onFailure = (error: unknown, task: string) => {
        this.log.error({ err: error, task }, 'image replayer failed')
        failure ??= { error }
        outer.cancel()
      }
      this.reached = remote
      this.images.open({ remote, io, status, signal: outer.signal, onFailure })
      let before: Listings | undefined
      this.reconcile = () => {
        if (!this.local || !this.remote) return
        const listings = { local: this.local, remote: this.remote }
        this.images.follow(listings, before)
        before = listings
      }
      const watcher = new PoolWatcher(io, { ...this.context, log }, {
        onListing: (listing) => {
          this.remote = listing
          this.onListings()
        },
        onUnreadable: (ids) => this.onUnreadable('remote', ids),
        onSilent: onDoubt,
        onImageUpdated: (id, enabled) => this.images.onUpdated(id, enabled),
      })
      const verifier = new BackgroundVerifier({
        context: { ...this.context, log: this.log },
        local: this.io,
        remote: { cluster: remote.cluster, io },
        images: () => this.images.verifiable(),
        onDifferent: (names) => this.onDifferent(names),
      })
      outer.spawn('verify', (stop) => verifier.run(stop))
      updating.spawn('remote status', (stop) => status.run(stop))
      const targets = {
        io: remote.io,
        namespace: this.name,
        images: () => this.remote,
        setTarget: (id: string, seconds: number | undefined) => this.images.setRpo(id, seconds),
        clock,
        log: this.log,
      }
      outer.spawn('schedule targets', (stop) => followScheduleTargets(targets, stop))
      outer.spawn('remote images', async (stop) => {
        try {
          await watcher.run(stop)
        } catch (error) {
          onDoubt()
          throw error
        }
      })
      await untilAborted(outer.signal)
      await outer.close()
      if (failure) throw failure.error
      signal.throwIfAborted()
    } finally {
      this.reconcile = () => undefined
      this.reached = undefined
      this.remote = undefined
      this.callouts.remote.set(undefined)
      // the images stop first: their last statuses are then written by the updaters, which are still there
      await this.images.close()
      await updating.close().finally(() => io.close())
    }
  }

  private async remoteEnabled(io: IoCtx, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        if ((await mirrorModeGet.call(io, RBD_MIRRORING, undefined, { signal })) !== 'disabled') return
      } catch (error) {
        if (!isErrno(error, Errno.ENOENT)) throw error
      }
      await delay(this.context.clock, REMOTE_MODE_POLL_MS, signal)
    }
  }

  /** What other daemons ask for, the leader above all. */
  private async onMessage(from: string, message: KnownMessage, signal: AbortSignal): Promise<number> {
    switch (message.type) {
      case 'imageAcquire':
        if (this.context.stopping.aborted) return -Errno.ECANCELED
        this.images.acquire(message.globalImageId)
        return 0
      case 'imageRelease':
        await this.images.release(message.globalImageId)
        return 0
      case 'peerImageRemoved':
        this.images.reconsider(message.globalImageId)
        return 0
      case 'syncRequest':
        return this.lead ? this.lead.onSyncRequest(from, message.syncId, signal) : -Errno.ESTALE
      case 'syncStart':
        await this.syncs.onStart(message.syncId, signal)
        return 0
    }
  }

  // --- what an operator sees ---

  status(): { image_replayers: unknown[]; image_deleter?: unknown } {
    return { image_replayers: this.images.statuses(), ...(this.lead && { image_deleter: { image_deleter_status: this.deleter.status() } }) }
  }

  /** The leader's, who alone deletes. */
  deletionStatus(): unknown {
    return this.lead && this.deleter.status()
  }

  private counts(): ImageCounts {
    const counts = this.images.counts()
    return this.lead ? { ...counts, local: this.local?.size ?? 0, remote: this.remote?.size ?? 0 } : counts
  }

  private onUnreadable(site: 'local' | 'remote', imageIds: readonly string[]): void {
    const some = imageIds.slice(0, MAX_NAMED).join(', ') + (imageIds.length > MAX_NAMED ? ', …' : '')
    this.callouts[site].set(imageIds.length === 0 ? undefined : { level: 'error', text: `unreadable mirroring entry on ${site} cluster: image ${some}` })
  }

  private onDifferent(names: readonly string[]): void {
    const some = names.slice(0, MAX_NAMED).join(', ') + (names.length > MAX_NAMED ? ', …' : '')
    this.callouts.verify.set(names.length === 0 ? undefined : { level: 'error', text: `replica differs from its primary: image ${some}` })
  }
}
