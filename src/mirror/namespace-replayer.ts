import { delay } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import { untilAborted } from '../base/until-aborted.ts'
import { mirrorModeGet } from '../cls/rbd/mirror-client.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import type { ImageMetrics } from '../observability/metrics.ts'
import { headerName, RBD_MIRRORING } from '../rbd/names.ts'
import { offerCommands } from './admin-commands.ts'
import { confirmGone } from './confirm-gone.ts'
import { ImageDeleter } from './image-deleter.ts'
import { ImageReplayer } from './image-replayer.ts'
import { planImageSet, type Listings } from './image-set.ts'
import { healthOf, REMOTE_UNREACHABLE, type ImageStatus } from './image-status.ts'
import { InstanceObject, type KnownMessage } from './instances/instance-object.ts'
import { InstanceRequests } from './instances/requests.ts'
import { SyncSlots } from './instances/sync-slots.ts'
import type { PoolContext } from './pool-context.ts'
import { PoolWatcher, type ImageListing } from './pool-watcher.ts'
import type { RemotePool } from './remote-pool.ts'
import { followScheduleTargets } from './schedule-targets.ts'
import type { ImageCounts, ServiceStatus } from './service-status.ts'
import { StatusUpdater } from './status-updater.ts'
import { BackgroundVerifier, type VerifiableImage } from './verify/background-verifier.ts'
import { keepWatch } from './watch-keeper.ts'

/** How often a remote namespace without mirroring is looked at again. */
const REMOTE_MODE_POLL_MS = 5_000
/** So many images are called by their ids in one callout. */
const MAX_NAMED = 3

/** What the images of one stretch of replaying share. */
interface RemoteSession {
  remote: RemotePool
  /** remote, of this namespace */
  io: IoCtx
  status: StatusUpdater
  signal: AbortSignal
  onFailure: (error: unknown, task: string) => void
}

interface RunningImage {
  replayer: ImageReplayer
  scope: Scope
  /** its run has come to its end: the image is gone, as far as it could tell */
  done: boolean
  withdrawCommands: () => void
}

/** What the leader of a namespace follows, and does for other daemons, if that is us. */
export interface NamespaceLead {
  onListings(): void
  onSyncRequest(from: string, syncId: string, signal: AbortSignal): Promise<number>
}

/**
 * One pool namespace: those of its images that the pool's leader has assigned to this daemon (tools/rbd_mirror/InstanceReplayer.cc).
 * `run` has the local side, `replay` what needs the remote. The remote comes and goes; the local statuses go on without it.
 */
export class NamespaceReplayer {
  private readonly log: Log
  private readonly localStatus: StatusUpdater
  private readonly deleter: ImageDeleter
  private readonly localWatcher: PoolWatcher
  private readonly images = new Map<string, RunningImage>()
  private readonly metrics = new Map<string, ImageMetrics>()
  private readonly stoppedByOperator = new Set<string>()
  /** global image ids */
  private readonly assigned = new Set<string>()
  private session: RemoteSession | undefined
  /** the last try to reach the remote has failed */
  private remoteIsLost = false
  private readonly instance: InstanceObject
  readonly requests: InstanceRequests
  readonly syncs: SyncSlots
  /** while we lead */
  lead: NamespaceLead | undefined
  private local: ImageListing | undefined
  private remote: ImageListing | undefined
  private localListings = 0
  private reconcile: () => void = () => undefined
  private readonly callouts: Record<'local' | 'remote' | 'verify', ReturnType<ServiceStatus['callout']>>
  private allStopped = false

  constructor(
    readonly context: PoolContext,
    /** local, of this namespace */
    readonly io: IoCtx,
  ) {
    this.log = context.log.child({ namespace: io.namespace })
    const { clock } = context
    this.localStatus = new StatusUpdater({ io, mirrorUuid: '', clock, log: this.log })
    this.deleter = new ImageDeleter(context, io, this.log)
    const self = String(context.cluster.instanceId)
    this.requests = new InstanceRequests({ io, self, log: this.log })
    const throttler = context.syncThrottler
    this.syncs = new SyncSlots({ self, namespace: io.namespace, throttler, requests: this.requests, clock, log: this.log, leader: () => context.leader() })
    this.instance = new InstanceObject({ ...context, io, log: this.log, onMessage: (from, message, signal) => this.onMessage(from, message, signal) })
    this.localWatcher = new PoolWatcher(io, { ...context, log: this.log }, {
      onListing: (images) => {
        this.local = images
        this.localListings++
        this.reconcile()
        this.lead?.onListings()
        this.context.serviceStatus.touch()
      },
      onUnreadable: (ids) => this.onUnreadable('local', ids),
      onImageUpdated: (id, enabled) => this.onImageUpdated(id, enabled),
    })
    const { poolId, serviceStatus } = context
    this.callouts = { local: serviceStatus.callout(poolId), remote: serviceStatus.callout(poolId), verify: serviceStatus.callout(poolId) }
  }

  get name(): string {
    return this.io.namespace
  }

  get imageDeleter(): ImageDeleter {
    return this.deleter
  }

  /** What is mirrored on either side, as far as it is known. @param count how often the local side was listed */
  get listings(): Partial<Listings> & { count: number } {
    return { ...(this.local && { local: this.local }), ...(this.remote && { remote: this.remote }), count: this.localListings }
  }

  /** While the remote is reached. */
  get remoteMirrorUuid(): string | undefined {
    return this.session?.remote.mirrorUuid
  }

  /** List the local images again. */
  relist(): void {
    this.localWatcher.wake()
  }

  /** The local side, until the signal is aborted. Rejects when the connection is blocklisted, or others take this daemon for dead. */
  async run(signal: AbortSignal): Promise<void> {
    const { serviceStatus, poolId } = this.context
    serviceStatus.setCounts(poolId, this.name, () => this.counts())
    const scope = new Scope(signal)
    scope.spawn('status', (stop) => this.localStatus.run(stop))
    scope.spawn('images', (stop) => this.localWatcher.run(stop))
    scope.spawn('instance', (stop) => this.instance.run(() => this.log.debug({}, 'other daemons can speak to us'), stop))
    try {
      await untilAborted(scope.signal)
      await scope.close()
      signal.throwIfAborted()
    } finally {
      serviceStatus.setCounts(poolId, this.name, undefined)
      this.callouts.local.set(undefined)
      for (const metrics of this.metrics.values()) metrics.remove()
      this.metrics.clear()
    }
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
    const status = new StatusUpdater({ io, mirrorUuid, clock, log: this.log.child({ site: 'remote' }), onFailure: onDoubt })
    try {
      await this.remoteEnabled(io, signal)
      let failure: { error: unknown } | undefined
      const onFailure = (error: unknown, task: string) => {
        this.log.error({ err: error, task }, 'image replayer failed')
        failure ??= { error }
        outer.cancel()
      }
      let before: Listings | undefined
      const session: RemoteSession = { remote, io, status, signal: outer.signal, onFailure }
      this.session = session
      this.remoteIsLost = false
      for (const id of this.assigned) if (this.isListed(id)) this.startImage(id, session)
      this.reconcile = () => {
        if (!this.local || !this.remote || outer.signal.aborted) return
        this.apply(session, before)
        before = { local: this.local, remote: this.remote }
      }
      const watcher = new PoolWatcher(io, { ...this.context, log: this.log.child({ site: 'remote' }) }, {
        onListing: (listing) => {
          this.remote = listing
          this.reconcile()
          this.lead?.onListings()
          this.context.serviceStatus.touch()
        },
        onUnreadable: (ids) => this.onUnreadable('remote', ids),
        onSilent: onDoubt,
        onImageUpdated: (id, enabled) => this.onImageUpdated(id, enabled),
      })
      const verifier = new BackgroundVerifier({
        context: { ...this.context, log: this.log },
        local: this.io,
        remote: { cluster: remote.cluster, io },
        images: () => this.verifiable(),
        onDifferent: (names) => this.onDifferent(names),
      })
      outer.spawn('verify', (stop) => verifier.run(stop))
      updating.spawn('remote status', (stop) => status.run(stop))
      const targets = {
        io: remote.io,
        namespace: this.name,
        images: () => this.remote,
        setTarget: (id: string, seconds: number | undefined) => this.metrics.get(id)?.setRpo(seconds),
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
      this.session = undefined
      this.remote = undefined
      this.callouts.remote.set(undefined)
      // the images stop first: their last statuses are then written by the updaters, which are still there
      await this.dropImages()
      await updating.close().finally(() => io.close())
    }
  }

  /** Images that nobody can replay now say so, unless what they said holds without the remote as well. */
  remoteLost(): void {
    this.remoteIsLost = true
    for (const id of this.assigned) this.showUnreachable(id)
  }

  private showUnreachable(id: string): void {
    const known = this.localStatus.get(id)
    if (known?.state === 'error' || known?.description === 'local image is primary') return
    this.localStatus.set(id, REMOTE_UNREACHABLE)
    this.metrics.get(id)?.setState(REMOTE_UNREACHABLE.state, REMOTE_UNREACHABLE.description)
  }

  // --- what the leader asks for ---

  private async onMessage(from: string, message: KnownMessage, signal: AbortSignal): Promise<number> {
    switch (message.type) {
      case 'imageAcquire':
        if (this.context.stopping.aborted) return -Errno.ECANCELED
        this.acquire(message.globalImageId)
        return 0
      case 'imageRelease':
        await this.release(message.globalImageId)
        return 0
      case 'peerImageRemoved':
        this.images.get(message.globalImageId)?.replayer.reconsider()
        return 0
      case 'syncRequest':
        return this.lead ? this.lead.onSyncRequest(from, message.syncId, signal) : -Errno.ESTALE
      case 'syncStart':
        await this.syncs.onStart(message.syncId, signal)
        return 0
    }
  }

  /** The image is ours from now on. One that is ours already is looked at again: a new leader makes sure. */
  acquire(id: string): void {
    this.assigned.add(id)
    const running = this.images.get(id)
    if (running && !running.done) return running.replayer.wake()
    if (running) this.forget(id, running)
    if (this.session && !this.session.signal.aborted) this.startImage(id, this.session)
    else if (this.remoteIsLost) this.showUnreachable(id)
  }

  /** The image is no longer ours: once it resolves, this daemon does nothing to it any more. */
  async release(id: string): Promise<void> {
    this.assigned.delete(id)
    this.stoppedByOperator.delete(id)
    const image = this.images.get(id)
    if (image) {
      await image.scope.close()
      if (this.images.get(id) === image) this.forget(id, image)
    }
    if (this.assigned.has(id)) return this.acquire(id) // it has come back meanwhile
    this.metrics.get(id)?.remove()
    this.metrics.delete(id)
    const remoteStatus = this.session?.status
    if (this.local && this.remote && !this.isListed(id)) {
      // nothing of an image stays behind that is mirrored on neither side
      this.localStatus.remove(id)
      remoteStatus?.remove(id)
      await Promise.all([this.localStatus.settled(), remoteStatus?.settled()])
    } else await Promise.all([this.localStatus.drop(id), remoteStatus?.drop(id)])
  }

  private isListed(id: string): boolean {
    return (this.local?.has(id) ?? false) || (this.remote?.has(id) ?? false)
  }

  // --- what an operator commands ---

  async start(): Promise<void> {
    this.allStopped = false
    this.stoppedByOperator.clear()
    for (const { replayer } of this.images.values()) replayer.start()
  }

  async stop(): Promise<void> {
    this.allStopped = true
    await this.each((replayer) => replayer.stop())
  }

  async restart(): Promise<void> {
    this.allStopped = false
    this.stoppedByOperator.clear()
    await this.each((replayer) => replayer.restart())
  }

  async flush(): Promise<void> {
    await this.each((replayer) => replayer.flush())
  }

  private async each(command: (replayer: ImageReplayer) => Promise<void>): Promise<void> {
    await Promise.all([...this.images.values()].map(({ replayer }) => command(replayer)))
  }

  status(): { image_replayers: unknown[]; image_deleter?: unknown } {
    const replayers = [...this.images.values()].map(({ replayer }) => replayer.status())
    replayers.sort((a, b) => (a.name < b.name ? -1 : 1))
    return { image_replayers: replayers, ...(this.lead && { image_deleter: { image_deleter_status: this.deleter.status() } }) }
  }

  /** The leader's, who alone deletes. */
  deletionStatus(): unknown {
    return this.lead && this.deleter.status()
  }

  private counts(): ImageCounts {
    const counts: ImageCounts = { assigned: 0, warning: 0, error: 0 }
    if (this.lead) Object.assign(counts, { local: this.local?.size ?? 0, remote: this.remote?.size ?? 0 })
    for (const { replayer } of this.images.values()) {
      counts.assigned++
      const health = replayer.lastStatus ? healthOf(replayer.lastStatus) : 'ok'
      if (health !== 'ok') counts[health]++
    }
    return counts
  }

  // --- images ---

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

  private apply(session: RemoteSession, before: Listings | undefined): void {
    const running = new Set([...this.images].filter(([, image]) => !image.done).map(([id]) => id))
    const plan = planImageSet(this.assigned, running, { local: this.local!, remote: this.remote! }, before)
    for (const [id, image] of [...this.images]) {
      if (image.done) this.forget(id, image)
    }
    for (const id of plan.start) this.startImage(id, session)
    for (const id of plan.reconsider) this.images.get(id)?.replayer.reconsider()
    this.removeStaleMetrics()
  }

  private removeStaleMetrics(): void {
    for (const [id, metrics] of this.metrics) {
      if (this.isListed(id) || this.images.has(id)) continue
      metrics.remove()
      this.metrics.delete(id)
    }
  }

  private forget(id: string, image: RunningImage): void {
    image.withdrawCommands()
    this.images.delete(id)
    this.context.serviceStatus.touch()
  }

  private startImage(id: string, session: RemoteSession): void {
    const { context } = this
    const log = this.log.child({ globalImageId: id })
    const metrics = this.metricsOf(id)
    const local = { cluster: context.cluster, io: this.io, mirrorUuid: context.localMirrorUuid }
    const { cluster, mirrorUuid, mirrorPeerUuid } = session.remote
    const labels = { peer: context.peer.siteName, pool: this.io.poolName, image: (): string => replayer.name }
    const flow = context.limits.bandwidth?.flow(labels)
    const replayer = new ImageReplayer({
      context: {
        ...context,
        limits: { ...context.limits, imageSyncs: this.syncs.slot(id) },
        globalImageId: id,
        local,
        remote: { cluster, io: session.io, mirrorUuid, mirrorPeerUuid },
        log,
        metrics,
        throttle: flow,
      },
      bootstrap: context.bootstrap,
      starts: context.starts,
      options: context.options,
      clock: context.clock,
      random: context.random,
      log,
      metrics,
      startStopped: this.allStopped || this.stoppedByOperator.has(id),
      onStatus: (status) => this.onStatus(id, status, session.status),
      onName: () => this.onName(id),
      watchDemoted: (onChange, stop) => this.watchHeaders(session.io, id, onChange, stop),
      trashMove: async (resync) => {
        if (!resync) await confirmGone(session.remote, session.io, id)
        await this.deleter.moveToTrash(id, resync)
      },
    })
    const image: RunningImage = {
      replayer,
      scope: new Scope(session.signal, session.onFailure),
      done: false,
      withdrawCommands: () => undefined,
    }
    this.images.set(id, image)
    this.offer(id)
    this.context.serviceStatus.touch()
    image.scope.spawn(`image ${id}`, async (signal) => {
      try {
        await replayer.run(signal)
      } finally {
        flow?.close()
      }
      image.done = true
      // what is listed decides whether the image is really gone
      if (!signal.aborted) this.localWatcher.wake()
    })
  }

  private async watchHeaders(remote: IoCtx, id: string, onChange: () => void, signal: AbortSignal): Promise<void> {
    const sides: [IoCtx, string | undefined][] = [[this.io, this.local?.get(id)], [remote, this.remote?.get(id)]]
    const watches = sides.map(async ([io, imageId]) => {
      if (imageId === undefined) return // its listing tells when it is there again
      let watched = false
      const onWatched = () => {
        if (watched) onChange()
        watched = true
      }
      await keepWatch({ io, oid: headerName(imageId), onNotify: onChange, onWatched }, { ...this.context, log: this.log }, signal)
    })
    await Promise.all(watches)
  }

  private metricsOf(id: string): ImageMetrics {
    const { metrics, peer } = this.context
    const known = this.metrics.get(id)
    if (known) return known
    const added = metrics.image({ pool: this.io.poolName, namespace: this.name, peer: peer.siteName, globalImageId: id })
    this.metrics.set(id, added)
    return added
  }

  private onStatus(id: string, status: ImageStatus, remoteStatus: StatusUpdater): void {
    const before = this.localStatus.get(id)
    this.localStatus.set(id, status)
    remoteStatus.set(id, status)
    if (!before || healthOf(before) !== healthOf(status)) this.context.serviceStatus.touch()
  }

  private onUnreadable(site: 'local' | 'remote', imageIds: readonly string[]): void {
    const some = imageIds.slice(0, MAX_NAMED).join(', ') + (imageIds.length > MAX_NAMED ? ', …' : '')
    this.callouts[site].set(imageIds.length === 0 ? undefined : { level: 'error', text: `unreadable mirroring entry on ${site} cluster: image ${some}` })
  }

  private verifiable(): VerifiableImage[] {
    return [...this.images].flatMap(([globalImageId, { replayer }]) => {
      const [localImageId, remoteImageId] = [this.local?.get(globalImageId), this.remote?.get(globalImageId)]
      if (replayer.lastStatus?.state !== 'replaying' || localImageId === undefined || remoteImageId === undefined) return []
      return [{ globalImageId, localImageId, remoteImageId, metrics: this.metricsOf(globalImageId) }]
    })
  }

  private onDifferent(names: readonly string[]): void {
    const some = names.slice(0, MAX_NAMED).join(', ') + (names.length > MAX_NAMED ? ', …' : '')
    this.callouts.verify.set(names.length === 0 ? undefined : { level: 'error', text: `replica differs from its primary: image ${some}` })
  }

  /** Somebody changed the image's mirroring on either side. */
  private onImageUpdated(id: string, enabled: boolean): void {
    const replayer = this.images.get(id)?.replayer
    if (enabled) replayer?.wake()
    else replayer?.reconsider()
  }

  private onName(id: string): void {
    this.localStatus.touch(id) // it was dropped as long as there was no local image
    this.offer(id)
  }

  /** Commands go by the image's name, which may change. */
  private offer(id: string): void {
    const image = this.images.get(id)
    if (!image) return
    image.withdrawCommands()
    try {
      image.withdrawCommands = offerCommands(this.context.adminCommands, [image.replayer.name], image.replayer.name, image.replayer)
    } catch (error) {
      image.withdrawCommands = () => undefined // another image still goes by that name
      this.log.debug({ err: error, globalImageId: id }, 'no admin commands for this image yet')
    }
  }

  /** Stops all; what they leave is for whoever comes next. */
  private async dropImages(): Promise<void> {
    const all = [...this.images]
    await Promise.all(all.map(([, { scope }]) => scope.close()))
    for (const [id, image] of all) {
      if (image.replayer.isStoppedByOperator) this.stoppedByOperator.add(id)
      image.replayer.publishStopped()
      this.forget(id, image)
    }
  }
}
