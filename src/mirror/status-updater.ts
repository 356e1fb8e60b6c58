import { isCancelled } from '../base/cancelled.ts'
import { delay, type Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import { zeroTime } from '../encoding/codec.ts'
import { mirrorImageStatusRemove, mirrorImageStatusRemoveDown, mirrorImageStatusSet } from '../cls/rbd/mirror-client.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { WriteOperation } from '../rados/operation.ts'
import { RBD_MIRRORING } from '../rbd/names.ts'
import type { ImageStatus } from './image-status.ts'

/** A status is written again at least this often, so that its time of last update moves on. */
const REFRESH_MS = 25_000
/** Between two writes; changes in between are gathered. */
const MIN_INTERVAL_MS = 250
const RETRY_MS = 2_000
const MAX_UPDATES_PER_OPERATION = 100
/** How long a stopping daemon tries to write the last statuses. */
const FINAL_FLUSH_MS = 1_500

/** One batch of work: which statuses to set and which to remove in one write operation. */
export interface StatusBatch {
  set: [globalImageId: string, status: ImageStatus][]
  remove: string[]
}

/** Splits what has changed into operations of bounded size; removed images are those without a status. */
export function planBatches(dirty: Iterable<string>, statuses: ReadonlyMap<string, ImageStatus>): StatusBatch[] {
  const batches: StatusBatch[] = []
  let batch: StatusBatch | undefined
  for (const globalImageId of dirty) {
    if (!batch || batch.set.length + batch.remove.length >= MAX_UPDATES_PER_OPERATION) batches.push((batch = { set: [], remove: [] }))
    const status = statuses.get(globalImageId)
    if (status) batch.set.push([globalImageId, status])
    else batch.remove.push(globalImageId)
  }
  return batches
}

/**
 * Writes the statuses of a namespace's images into one site's `rbd_mirroring`. They count as up as long as this client also
 * watches that object, which is the pool watcher's part.
 */
export class StatusUpdater {
  private readonly statuses = new Map<string, ImageStatus>()
  private dirty = new Set<string>()
  private readonly notifier = new Notifier()
  private writing: Promise<unknown> = Promise.resolve()
  /** what was told last of a write that failed: it is tried again every few seconds */
  private lastFailure: string | undefined

  constructor(
    private readonly options: {
      io: IoCtx
      /** '' in the local cluster, our mirror uuid in the remote one */
      mirrorUuid: string
      clock: Clock
      log: Log
      /** called when statuses could not be written; they are tried again */
      onFailure?(): void
    },
  ) {}

  /** A status for an image that is not mirrored there (yet) is dropped by the OSD; it gets there by the next refresh or change. */
  set(globalImageId: string, status: ImageStatus): void {
    const known = this.statuses.get(globalImageId)
    if (known?.state === status.state && known.description === status.description) return
    this.statuses.set(globalImageId, status)
    this.markDirty(globalImageId)
  }

  get(globalImageId: string): ImageStatus | undefined {
    return this.statuses.get(globalImageId)
  }

  /** Writes a known status again: after the image came to be. */
  touch(globalImageId: string): void {
    if (this.statuses.has(globalImageId)) this.markDirty(globalImageId)
  }

  /** Takes the image's statuses, of all sites, out of the cluster. */
  remove(globalImageId: string): void {
    this.statuses.delete(globalImageId)
    this.markDirty(globalImageId)
  }

  /** Leaves the image's status to another daemon: once it resolves, nothing of it is on its way any more. */
  async drop(globalImageId: string): Promise<void> {
    this.statuses.delete(globalImageId)
    this.dirty.delete(globalImageId)
    await this.writing
  }

  /** Resolves when all that is known now has been written, or could not be. */
  async settled(): Promise<void> {
    await this.writing
    if (this.dirty.size > 0) await this.flush()
  }

  private markDirty(globalImageId: string): void {
    this.dirty.add(globalImageId)
    this.notifier.wake()
  }

  /** Writes until the signal is aborted. Rejects when the connection is blocklisted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.options
    await this.removeDown()
    let refreshAt = clock.monotonic() + REFRESH_MS
    try {
      for (;;) {
        await this.notifier.wait(clock, Math.max(0, refreshAt - clock.monotonic()), signal)
        if (clock.monotonic() >= refreshAt) {
          for (const globalImageId of this.statuses.keys()) this.dirty.add(globalImageId)
          refreshAt = clock.monotonic() + REFRESH_MS
        }
        const written = await this.flush()
        await delay(clock, written ? MIN_INTERVAL_MS : RETRY_MS, signal)
      }
    } catch (error) {
      if (!isCancelled(error)) throw error
      await this.finalFlush()
    }
  }

  /** The connection may be dead: the last statuses are worth a short wait only. */
  private async finalFlush(): Promise<void> {
    const limit = new AbortController()
    const timeout = delay(this.options.clock, FINAL_FLUSH_MS, limit.signal)
    timeout.catch(() => undefined) // aborted below
    const flushed = this.flush().catch((error: unknown) => this.options.log.debug({ err: error }, 'last statuses not written'))
    await Promise.race([flushed, timeout])
    limit.abort()
  }

  /** Statuses that daemons left behind which are gone. */
  private async removeDown(): Promise<void> {
    try {
      await mirrorImageStatusRemoveDown.call(this.options.io, RBD_MIRRORING, undefined)
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      if (!isErrno(error, Errno.ENOENT)) this.options.log.warn({ err: error }, 'cannot remove the statuses of daemons that are gone')
    }
  }

  /** True when all that was dirty has been written. One flush at a time, so that the last status is the one that stays. */
  private flush(): Promise<boolean> {
    const flushed = this.writing.then(() => this.writeDirty())
    this.writing = flushed.catch(() => undefined)
    return flushed
  }

  private async writeDirty(): Promise<boolean> {
    const dirty = this.dirty
    this.dirty = new Set()
    let complete = true
    for (const batch of planBatches(dirty, this.statuses)) {
      const operation = new WriteOperation()
      for (const [globalImageId, { state, description }] of batch.set) {
        const status = { mirrorUuid: this.options.mirrorUuid, state, description, lastUpdate: zeroTime, up: true }
        mirrorImageStatusSet.step(operation, { globalImageId, status })
      }
      for (const globalImageId of batch.remove) mirrorImageStatusRemove.step(operation, { globalImageId })
      try {
        await this.options.io.write(RBD_MIRRORING, operation)
      } catch (error) {
        if (isErrno(error, EBLOCKLISTED)) throw error
        const failure = error instanceof Error ? error.message : String(error)
        this.options.log[failure === this.lastFailure ? 'debug' : 'warn']({ err: error }, 'cannot write image statuses')
        this.lastFailure = failure
        this.options.onFailure?.()
        for (const [globalImageId] of batch.set) if (this.statuses.has(globalImageId)) this.markDirty(globalImageId)
        for (const globalImageId of batch.remove) this.markDirty(globalImageId)
        complete = false
      }
    }
    if (complete) this.lastFailure = undefined
    return complete
  }
}
