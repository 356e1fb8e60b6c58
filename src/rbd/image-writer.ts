import { setModifyTimestamp } from '../cls/rbd/client.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { Image } from './image.ts'
import { operationError, requirePrimary } from './operations/invoke.ts'
import { discardHere, writeHere } from './write-image.ts'

/** Times that the lock is asked for again when a peer takes it between asking and writing. */
const maxTries = 100

/**
 * Writes to an image as its user does: with the exclusive lock, which is asked for when it is needed and given to whoever asks; recorded in the
 * journal first; with object map, copy-up and snapshots kept. The image has to be open for writing and `journaled`. A write is on stable storage
 * when it resolves. Rejects with RadosError: EROFS for an image that is not primary, or a lock that is not to be had.
 */
export class ImageWriter {
  /** when the header was told last that the image is written to, on the monotonic clock */
  private touched = -Infinity

  constructor(private readonly image: Image) {}

  async write(offset: number, data: Buffer): Promise<void> {
    await this.change((journal) => {
      if (!journal) return writeHere(this.image, offset, data)
      const events = []
      for (let at = 0; at < data.length; at += journal.maxPayload) {
        const part = data.subarray(at, at + journal.maxPayload)
        events.push({ type: 'aioWrite' as const, offset: offset + at, length: part.length, data: part })
      }
      return journal.data(events, () => writeHere(this.image, offset, data))
    })
  }

  /** The range reads as zeros afterwards. */
  async discard(offset: number, length: number): Promise<void> {
    await this.change((journal) => {
      const apply = () => discardHere(this.image, offset, length)
      return journal ? journal.data([{ type: 'aioDiscard', offset, length, discardGranularityBytes: 0 }], apply) : apply()
    })
  }

  /**
   * Writes are on stable storage already: what remains is to note in the journal that its user counts on it, so that no replica has later writes
   * without the earlier ones, and how far the journal is done.
   */
  async flush(): Promise<void> {
    const { image } = this
    if (!image.journal) return
    await this.change((journal) => journal?.data([{ type: 'aioFlush' }], () => Promise.resolve()) ?? Promise.resolve())
    await image.journal?.commit()
  }

  private async change(act: (journal: Image['journal']) => Promise<void>): Promise<void> {
    const { image } = this
    for (let tries = 1; ; tries++) {
      await image.refreshIfNeeded()
      requirePrimary(image, 'write')
      await this.touch()
      if (!image.usesLock) return image.gate.write(() => act(undefined))
      await this.acquire()
      try {
        return await image.gate.write(() => image.lock!.use(() => act(image.journal)))
      } catch (error) {
        if (!isErrno(error, Errno.ERESTART) || tries === maxTries) throw error
      }
    }
  }

  /** The time of the last change, as exact as rbd_mtime_update_interval wants it. */
  private async touch(): Promise<void> {
    const { image } = this
    const intervalMs = image.numericOption('rbd_mtime_update_interval', 60) * 1000
    const now = image.options.clock.monotonic()
    if (intervalMs === 0 || now - this.touched < intervalMs) return
    this.touched = now
    await setModifyTimestamp.call(image.io, image.headerOid, undefined)
  }

  private async acquire(): Promise<void> {
    const { image } = this
    if (image.lock!.wanted) return
    let taken: Awaited<ReturnType<NonNullable<Image['lock']>['acquire']>>
    try {
      taken = await image.lock!.acquire()
    } catch (error) {
      if (isErrno(error, Errno.EPERM)) throw operationError(image, Errno.EROFS, 'write')
      throw error
    }
    if (taken !== 'acquired') throw operationError(image, Errno.EROFS, 'write')
  }
}
