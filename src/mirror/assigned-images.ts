import type { Log } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import type { ImageMetrics } from '../observability/metrics.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { headerName } from '../rbd/names.ts'
import { offerCommands } from './admin-commands.ts'
import { confirmGone } from './confirm-gone.ts'
import type { ImageDeleter } from './image-deleter.ts'
import { ImageReplayer } from './image-replayer.ts'
import { planImageSet, type Listings } from './image-set.ts'
import { healthOf, REMOTE_UNREACHABLE, type ImageStatus } from './image-status.ts'
import type { SyncSlots } from './instances/sync-slots.ts'
import type { PoolContext } from './pool-context.ts'
import type { RemotePool } from './remote-pool.ts'
import type { ImageCounts } from './service-status.ts'
import type { StatusUpdater } from './status-updater.ts'
import type { VerifiableImage } from './verify/background-verifier.ts'
import { keepWatch } from './watch-keeper.ts'

/** What the images of one stretch of replaying share. */
export interface RemoteSession {
  readonly remote: RemotePool
  /** remote, of this namespace */
  readonly io: IoCtx
  readonly status: StatusUpdater
  readonly signal: AbortSignal
  readonly onFailure: (error: unknown, task: string) => void
}

interface RunningImage {
  readonly replayer: ImageReplayer
  readonly scope: Scope
  /** its run has come to its end: the image is gone, as far as it could tell */
  done: boolean
  withdrawCommands: () => void
}

export interface AssignedImagesOptions {
  readonly context: PoolContext
  /** local, of the namespace */
  readonly io: IoCtx
  readonly log: Log
  readonly localStatus: StatusUpdater
  readonly deleter: ImageDeleter
  readonly syncs: SyncSlots
  /** what is mirrored on either side, as far as it is known */
  listings(): Partial<Listings>
  /** Lists the local images again. */
  relist(): void
}

/** The images of a namespace that the pool's leader has assigned to this daemon, each with its replayer while the remote is reached. */
export class AssignedImages {
  /** global image ids */
  private readonly assigned = new Set<string>()
  private readonly images = new Map<string, RunningImage>()
  private readonly metrics = new Map<string, ImageMetrics>()
  private readonly stoppedByOperator = new Set<string>()
  private allStopped = false
  private session: RemoteSession | undefined
  /** the last try to reach the remote has failed */
  private remoteIsLost = false

  constructor(private readonly options: AssignedImagesOptions) {}

  // --- the remote comes and goes ---

  open(session: RemoteSession): void {
    this.session = session
    this.remoteIsLost = false
    for (const id of this.assigned) if (this.isListed(id)) this.start(id, session)
  }

  /** Stops all; what they leave is for whoever comes next. */
  async close(): Promise<void> {
    this.session = undefined
    const all = [...this.images]
    await Promise.all(all.map(([, { scope }]) => scope.close()))
    for (const [id, image] of all) {
      if (image.replayer.isStoppedByOperator) this.stoppedByOperator.add(id)
      image.replayer.publishStopped()
      this.forget(id, image)
    }
  }

  /** Images that nobody can replay now say so, unless what they said holds without the remote as well. */
  remoteLost(): void {
    this.remoteIsLost = true
    for (const id of this.assigned) this.showUnreachable(id)
  }

  private showUnreachable(id: string): void {
    const { localStatus } = this.options
    const known = localStatus.get(id)
    if (known?.state === 'error' || known?.description === 'local image is primary') return
    localStatus.set(id, REMOTE_UNREACHABLE)
    this.metrics.get(id)?.setState(REMOTE_UNREACHABLE.state, REMOTE_UNREACHABLE.description)
  }

  // --- what the leader asks for ---

  /** The image is ours from now on. One that is ours already is looked at again: a new leader makes sure. */
  acquire(id: string): void {
    this.assigned.add(id)
    const running = this.images.get(id)
    if (running && !running.done) return running.replayer.wake()
    if (running) this.forget(id, running)
    if (this.session && !this.session.signal.aborted) this.start(id, this.session)
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
    const { local, remote } = this.options.listings()
    const statuses = [this.options.localStatus, ...(this.session ? [this.session.status] : [])]
    if (!local || !remote || this.isListed(id)) await Promise.all(statuses.map((status) => status.drop(id)))
    else {
      // nothing of an image stays behind that is mirrored on neither side
      for (const status of statuses) status.remove(id)
      await Promise.all(statuses.map((status) => status.settled()))
    }
  }

  async releaseAll(): Promise<void> {
    await Promise.all([...this.assigned].map((id) => this.release(id)))
  }

  /** Something is no longer there that belongs to the image. */
  reconsider(id: string): void {
    this.images.get(id)?.replayer.reconsider()
  }

  // --- what is listed ---

  private isListed(id: string): boolean {
    const { local, remote } = this.options.listings()
    return (local?.has(id) ?? false) || (remote?.has(id) ?? false)
  }

  /** Both sides were listed. @param before what they listed before */
  follow(listings: Listings, before: Listings | undefined): void {
    const { session } = this
    if (!session || session.signal.aborted) return
    const running = new Set([...this.images].filter(([, image]) => !image.done).map(([id]) => id))
    const plan = planImageSet(this.assigned, running, listings, before)
    for (const [id, image] of [...this.images]) {
      if (image.done) this.forget(id, image)
    }
    for (const id of plan.start) this.start(id, session)
    for (const id of plan.reconsider) this.reconsider(id)
    for (const [id, metrics] of this.metrics) {
      if (this.isListed(id) || this.images.has(id)) continue
      metrics.remove()
      this.metrics.delete(id)
    }
  }

  /** Somebody changed the image's mirroring on either side. */
  onUpdated(id: string, enabled: boolean): void {
    if (enabled) this.images.get(id)?.replayer.wake()
    else this.reconsider(id)
  }

  // --- what an operator commands, and sees ---

  startAll(): void {
    this.allStopped = false
    this.stoppedByOperator.clear()
    for (const { replayer } of this.images.values()) replayer.start()
  }

  async stopAll(): Promise<void> {
    this.allStopped = true
    await this.each((replayer) => replayer.stop())
  }

  async restartAll(): Promise<void> {
    this.allStopped = false
    this.stoppedByOperator.clear()
    await this.each((replayer) => replayer.restart())
  }

  async flushAll(): Promise<void> {
    await this.each((replayer) => replayer.flush())
  }

  private async each(command: (replayer: ImageReplayer) => Promise<void>): Promise<void> {
    await Promise.all([...this.images.values()].map(({ replayer }) => command(replayer)))
  }

  /** By name. */
  statuses(): { name: string; state: string }[] {
    const all = [...this.images.values()].map(({ replayer }) => replayer.status())
    return all.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  counts(): ImageCounts {
    const counts: ImageCounts = { assigned: 0, warning: 0, error: 0 }
    for (const { replayer } of this.images.values()) {
      counts.assigned++
      const health = replayer.lastStatus ? healthOf(replayer.lastStatus) : 'ok'
      if (health !== 'ok') counts[health]++
    }
    return counts
  }

  verifiable(): VerifiableImage[] {
    const { local, remote } = this.options.listings()
    return [...this.images].flatMap(([globalImageId, { replayer }]) => {
      const [localImageId, remoteImageId] = [local?.get(globalImageId), remote?.get(globalImageId)]
      if (replayer.lastStatus?.state !== 'replaying' || localImageId === undefined || remoteImageId === undefined) return []
      return [{ globalImageId, localImageId, remoteImageId, metrics: this.metricsOf(globalImageId) }]
    })
  }

  setRpo(id: string, seconds: number | undefined): void {
    this.metrics.get(id)?.setRpo(seconds)
  }

  removeMetrics(): void {
    for (const metrics of this.metrics.values()) metrics.remove()
    this.metrics.clear()
  }

  // --- one image ---

  private forget(id: string, image: RunningImage): void {
    image.withdrawCommands()
    this.images.delete(id)
    this.options.context.serviceStatus.touch()
  }

  private start(id: string, session: RemoteSession): void {
    const { context, io, deleter, syncs } = this.options
    const log = this.options.log.child({ globalImageId: id })
    const metrics = this.metricsOf(id)
    const local = { cluster: context.cluster, io, mirrorUuid: context.localMirrorUuid }
    const { cluster, mirrorUuid, mirrorPeerUuid } = session.remote
    const labels = { peer: context.peer.siteName, pool: io.poolName, image: (): string => replayer.name }
    const flow = context.limits.bandwidth?.flow(labels)
    const replayer = new ImageReplayer({
      context: {
        ...context,
        limits: { ...context.limits, imageSyncs: syncs.slot(id) },
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
        await deleter.moveToTrash(id, resync)
      },
    })
    const image: RunningImage = { replayer, scope: new Scope(session.signal, session.onFailure), done: false, withdrawCommands: () => undefined }
    this.images.set(id, image)
    this.offer(id)
    context.serviceStatus.touch()
    image.scope.spawn(`image ${id}`, async (signal) => {
      try {
        await replayer.run(signal)
      } finally {
        flow?.close()
      }
      image.done = true
      // what is listed decides whether the image is really gone
      if (!signal.aborted) this.options.relist()
    })
  }

  private async watchHeaders(remoteIo: IoCtx, id: string, onChange: () => void, signal: AbortSignal): Promise<void> {
    const { io: localIo, context, log } = this.options
    const { local, remote } = this.options.listings()
    const sides: [IoCtx, string | undefined][] = [[localIo, local?.get(id)], [remoteIo, remote?.get(id)]]
    const watches = sides.map(async ([io, imageId]) => {
      if (imageId === undefined) return // its listing tells when it is there again
      let watched = false
      const onWatched = () => {
        if (watched) onChange()
        watched = true
      }
      await keepWatch({ io, oid: headerName(imageId), onNotify: onChange, onWatched }, { ...context, log }, signal)
    })
    await Promise.all(watches)
  }

  private metricsOf(id: string): ImageMetrics {
    const { context, io } = this.options
    const known = this.metrics.get(id)
    if (known) return known
    const added = context.metrics.image({ pool: io.poolName, namespace: io.namespace, peer: context.peer.siteName, globalImageId: id })
    this.metrics.set(id, added)
    return added
  }

  private onStatus(id: string, status: ImageStatus, remoteStatus: StatusUpdater): void {
    const { localStatus, context } = this.options
    const before = localStatus.get(id)
    localStatus.set(id, status)
    remoteStatus.set(id, status)
    if (!before || healthOf(before) !== healthOf(status)) context.serviceStatus.touch()
  }

  private onName(id: string): void {
    this.options.localStatus.touch(id) // it was dropped as long as there was no local image
    this.offer(id)
  }

  /** Commands go by the image's name, which may change. */
  private offer(id: string): void {
    const image = this.images.get(id)
    if (!image) return
    image.withdrawCommands()
    try {
      image.withdrawCommands = offerCommands(this.options.context.adminCommands, [image.replayer.name], image.replayer.name, image.replayer)
    } catch (error) {
      image.withdrawCommands = () => undefined // another image still goes by that name
      this.options.log.debug({ err: error, globalImageId: id }, 'no admin commands for this image yet')
    }
  }
}
