import { isCancelled } from '../base/cancelled.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import { Scope } from '../base/scope.ts'
import { untilAborted } from '../base/until-aborted.ts'
import { mirrorImageGet, mirrorImageGetImageId } from '../cls/rbd/mirror-client.ts'
import type { MirrorImageState } from '../cls/rbd/mirror-types.ts'
import { dirGetName } from '../cls/rbd/client.ts'
import { utimeFromMs } from '../encoding/codec.ts'
import { EBLOCKLISTED, Errno, isErrno, RadosError, ifThere } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { WriteOperation } from '../rados/operation.ts'
import { RBD_DIRECTORY, RBD_MIRRORING, RBD_TRASH } from '../rbd/names.ts'
import { loadMirrorInfo } from '../rbd/mirror/mirror-info.ts'
import { listTrash, moveToTrash } from '../rbd/trash.ts'
import { deferredMs, DeletionQueue, type Deletion } from './deletion-queue.ts'
import { leaveMirroring } from './leave-mirroring.ts'
import type { PoolContext } from './pool-context.ts'
import { isThrownAway, removeTrashedImage } from './trash-operations.ts'
import { keepWatch } from './watch-keeper.ts'

/** An image that somebody has open, or whose snapshot a clone still uses, is tried again soon. */
const BUSY_RETRY_MS = 1_000
/** How often the trash is listed, in case a notification was lost. */
const RELIST_MS = 60_000

/** The local image is primary, or has lost its primary without a resync being asked for: it is not for mirroring to delete. */
export class NotDeletable extends Error {
  constructor(globalImageId: string, state: string) {
    super(`image ${globalImageId} is not deleted: it is ${state}`)
    this.name = 'NotDeletable'
  }
}

/**
 * Local images whose primary is gone go through the trash: moved there at once, removed when their deferment is over.
 *
 *     moveToTrash: trash entry, name freed → out of mirroring (leave-mirroring.ts)
 *     run:         trash entry due → out of mirroring, if it is not yet → snapshots unprotected and removed → image removed → trash entry removed
 *
 * The trash entry says what is to become of the image, from the first step on: where it is missing, an entry that is DISABLING is an
 * operator's doing, and the image stays.
 */
export class ImageDeleter {
  private readonly queue = new DeletionQueue()
  private readonly notifier = new Notifier()
  /** monotonic: when the trash is listed again, whatever was heard of it */
  private relistAt = 0

  constructor(
    private readonly context: PoolContext,
    private readonly io: IoCtx,
    private readonly log: Log,
  ) {}

  status(): unknown {
    return this.queue.status()
  }

  /**
   * Takes a local image out of mirroring and moves it to the trash; every step may be repeated. Nothing happens to an image that is not
   * mirrored. Rejects with NotDeletable for a primary image.
   * @param resync an operator asked for it, so that an orphan goes as well
   */
  async moveToTrash(globalImageId: string, resync: boolean): Promise<void> {
    const { io } = this
    const imageId = await ifThere(mirrorImageGetImageId.call(io, RBD_MIRRORING, { globalImageId }))
    if (imageId === undefined) return
    const mirrorImage = await ifThere(mirrorImageGet.call(io, RBD_MIRRORING, { imageId }))
    if (mirrorImage === undefined) return
    const thrownAway = await isThrownAway(io, imageId)
    if (mirrorImage.state !== 'creating' && !thrownAway) await this.checkDeletable(globalImageId, imageId, mirrorImage.state, resync)
    const name = await ifThere(dirGetName.call(io, RBD_DIRECTORY, { id: imageId }))
    if (name !== undefined) {
      const now = this.context.clock.now()
      const delayMs = this.context.options.mirroringDeleteDelay * 1000
      const [deletionTime, defermentEndTime] = [utimeFromMs(now), utimeFromMs(now + delayMs)]
      const spec = { source: 'mirroring', name, deletionTime, defermentEndTime, state: 'normal' } as const
      await moveToTrash(io, imageId, spec) // which tells the leader, who deletes
    }
    await leaveMirroring(io, imageId, mirrorImage, this.log)
    this.log.info({ globalImageId, imageId, name, resync }, 'image moved to trash')
  }

  private async checkDeletable(globalImageId: string, imageId: string, mirroring: MirrorImageState, resync: boolean): Promise<void> {
    const info = await ifThere(loadMirrorInfo(this.io, imageId))
    if (info === undefined) return // no image, only its mirroring entry is left
    const { state } = info.promotion
    if (state === 'primary' || (state === 'orphan' && !resync)) throw new NotDeletable(globalImageId, state)
    // an image whose mirroring an operator is disabling has lost its mirror-snapshots already: it stays
    const bare = info.image.mode === 'snapshot' && state === 'unknown'
    if (bare && mirroring !== 'enabled') throw new NotDeletable(globalImageId, 'being disabled')
  }

  /** Deletes what is due until the signal is aborted: the leader's part. Rejects when the connection is blocklisted. */
  async run(signal: AbortSignal): Promise<void> {
    const scope = new Scope(signal)
    scope.spawn('trash', (stop) => this.watchTrash(stop))
    scope.spawn('deletions', (stop) => this.work(stop))
    await untilAborted(scope.signal)
    await scope.close()
    signal.throwIfAborted()
  }

  /** Whoever throws an image away tells (tools/rbd_mirror/image_deleter/TrashWatcher.cc). */
  private async watchTrash(signal: AbortSignal): Promise<void> {
    const { io } = this
    const relist = () => {
      this.relistAt = 0
      this.notifier.wake()
    }
    try {
      await io.write(RBD_TRASH, new WriteOperation().create(false))
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      this.log.warn({ err: error }, 'cannot make the trash object') // it comes with the first image that is thrown away
    }
    await keepWatch({ io, oid: RBD_TRASH, onNotify: relist, onWatched: relist }, { ...this.context, log: this.log }, signal)
  }

  private async work(signal: AbortSignal): Promise<void> {
    const { clock, deletions } = this.context
    this.relistAt = 0
    const running = new Set<Promise<void>>()
    let failure: { error: unknown } | undefined
    try {
      for (;;) {
        if (clock.monotonic() >= this.relistAt) {
          this.relistAt = clock.monotonic() + RELIST_MS
          await this.list()
        }
        for (const deletion of this.queue.takeDue(clock.monotonic())) {
          const task = deletions
            .add(() => this.delete(deletion, signal))
            .catch((error: unknown) => {
              failure ??= { error }
            })
            .finally(() => {
              running.delete(task)
              this.notifier.wake()
            })
          running.add(task)
        }
        const next = Math.min(this.relistAt, this.queue.nextDue() ?? Infinity)
        await this.notifier.wait(clock, Math.max(0, next - clock.monotonic()), signal)
        if (failure) throw failure.error
      }
    } finally {
      await Promise.all(running)
    }
  }

  private async list(): Promise<void> {
    const { clock } = this.context
    try {
      for (const [imageId, spec] of await listTrash(this.io)) {
        if (spec.source !== 'mirroring') continue
        this.queue.add(imageId, clock.monotonic() + deferredMs(spec, clock.now()))
      }
    } catch (error) {
      if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
      this.log.warn({ err: error }, 'cannot list the trash')
    }
  }

  private async delete(deletion: Deletion, signal: AbortSignal): Promise<void> {
    const { clock, options } = this.context
    const { imageId } = deletion
    if (signal.aborted) return this.queue.done(deletion)
    try {
      await removeTrashedImage(this.context, this.io, imageId, signal)
      this.queue.done(deletion)
      this.log.info({ imageId }, 'trashed image removed')
    } catch (error) {
      if (signal.aborted) return this.queue.done(deletion)
      if (isErrno(error, EBLOCKLISTED)) throw error
      const busy = isErrno(error, Errno.EBUSY, Errno.ENOTEMPTY)
      const waitMs = busy ? BUSY_RETRY_MS : options.deleteRetryInterval * 1000
      const errno = error instanceof RadosError ? error.errno : Errno.EIO
      const message = error instanceof Error ? error.message : String(error)
      this.queue.failed(deletion, clock.monotonic() + waitMs, errno, message)
      if (!busy || deletion.retries === 0) this.log.warn({ imageId, err: error, waitMs }, 'cannot remove a trashed image yet')
    }
  }
}
