import { Semaphore } from '../../base/semaphore.ts'
import { Errno } from '../../rados/errors.ts'
import { findSnapshotByName } from '../header.ts'
import type { Image } from '../image.ts'
import { ImageWriter } from '../image-writer.ts'
import { operationError } from '../operations/invoke.ts'
import { resizeImage } from '../operations/resize.ts'
import { createSnapshot } from '../operations/snapshot-create.ts'
import { protectSnapshot } from '../operations/snapshot-edit.ts'
import type { ByteReader } from './byte-reader.ts'
import { DIFF_BANNERS, DiffTag, MAX_SNAP_NAME, type DiffFormat } from './format.ts'

/** Writes under way (rbd_concurrent_management_ops). */
const concurrency = 10
/** Data that is read and written at a time, but for larger sparse units. */
const chunkSize = 4 * 2 ** 20

export interface ApplyDiffOptions {
  format: DiffFormat
  /** Whole runs of so many zero bytes are not written, but made holes of. */
  sparseSize: number
  signal?: AbortSignal | undefined
  onProgress?: (position: number) => void
  /** A record that nobody knows is passed over. */
  onUnknownTag?: (tag: number) => void
}

/** Why a diff is not for this image. Nothing has been changed. */
export class DiffRefused extends Error {
  constructor(
    readonly errno: number,
    line: string,
  ) {
    super(line)
    this.name = 'DiffRefused'
  }
}

export interface AppliedDiff {
  /** Whether the image was, or may have been, changed. */
  changed: boolean
}

/**
 * Makes the changes of a diff in an image, and its snapshot at the end (tools/rbd/action/Import.cc, do_import_diff_fd). Rejects with UnreadableFile
 * for a file that is not as it should be, DiffRefused when it begins with a snapshot that is not there or ends with one that is, or RadosError.
 *
 * @param applied told what has come of it, also when it fails
 */
export async function applyDiff(image: Image, reader: ByteReader, options: ApplyDiffOptions, applied: AppliedDiff = { changed: false }): Promise<void> {
  await reader.expect(DIFF_BANNERS[options.format], 'diff banner')
  const application = new Application(image, reader, options, applied)
  try {
    await application.records()
  } finally {
    // nothing of it may reach the image after it has ended
    await application.settle()
  }
  await application.finish()
}

class Application {
  private readonly writer: ImageWriter
  private readonly places = new Semaphore(concurrency)
  private readonly underWay = new Set<Promise<void>>()
  private failure: { error: unknown } | undefined
  private toSnap: string | undefined
  private isProtected = false

  constructor(
    private readonly image: Image,
    private readonly reader: ByteReader,
    private readonly options: ApplyDiffOptions,
    private readonly applied: AppliedDiff,
  ) {
    this.writer = new ImageWriter(image)
  }

  async records(): Promise<void> {
    const { reader, options } = this
    for (;;) {
      options.signal?.throwIfAborted()
      const tag = await reader.u8('tag')
      if (tag === DiffTag.end) return
      const length = options.format === 2 ? await reader.size('tag length') : undefined
      await this.record(tag, length)
      options.onProgress?.(reader.position)
    }
  }

  async settle(): Promise<void> {
    await Promise.allSettled(this.underWay)
  }

  async finish(): Promise<void> {
    const { image, toSnap } = this
    const { signal } = this.options
    if (this.failure) throw this.failure.error
    if (this.applied.changed) await this.writer.flush()
    if (toSnap === undefined) return
    this.applied.changed = true
    await createSnapshot(image, { name: toSnap, namespace: { type: 'user' }, quiesce: 'quiesce' }, { signal })
    if (!this.isProtected) return
    const created = findSnapshotByName(await image.refresh(), 'user', toSnap)
    if (!created) throw operationError(image, Errno.ENOENT, `find snapshot ${toSnap}`)
    await protectSnapshot(image, created.id, { signal })
  }

  private async record(tag: number, length: number | undefined): Promise<void> {
    const { reader, image } = this
    switch (tag) {
      case DiffTag.fromSnap: {
        const name = (await reader.bytes(MAX_SNAP_NAME, 'start snap name')).toString()
        if (findSnapshotByName(await image.refresh(), 'user', name)) return
        throw new DiffRefused(Errno.EINVAL, `start snapshot '${name}' does not exist in the image, aborting`)
      }
      case DiffTag.toSnap: {
        const name = (await reader.bytes(MAX_SNAP_NAME, 'end snap name')).toString()
        if (findSnapshotByName(await image.refresh(), 'user', name)) throw new DiffRefused(Errno.EEXIST, `end snapshot '${name}' already exists, aborting`)
        this.toSnap = name
        return
      }
      case DiffTag.protection:
        this.isProtected = (await reader.u8('snap protection status')) !== 0
        return
      case DiffTag.size:
        return this.resize(await reader.size('image size'))
      case DiffTag.write:
        return this.copy(await this.extent())
      case DiffTag.zero: {
        const { offset, length: zeros } = await this.extent()
        return this.start(() => this.writer.discard(offset, zeros))
      }
      default:
        // without its length there is no knowing where the next one begins
        if (length === undefined) throw reader.unreadable('tag', `${tag} is none`, Errno.EBADMSG)
        this.options.onUnknownTag?.(tag)
        await reader.skip(length, 'skipped tag data')
    }
  }

  private async resize(size: number): Promise<void> {
    await this.settle() // what was written before may lie behind the new end
    if ((await this.image.refreshIfNeeded()).size === size) return
    this.applied.changed = true
    await resizeImage(this.image, { size, allowShrink: true }, { signal: this.options.signal })
  }

  private async extent(): Promise<{ offset: number; length: number }> {
    const { reader } = this
    const offset = await reader.size('IO length')
    const length = await reader.size('IO length')
    const { size } = this.image.header
    if (offset + length > size) throw reader.unreadable('IO length', `bytes ${offset} to ${offset + length} are not within the image, which has ${size}`, Errno.EINVAL)
    return { offset, length }
  }

  private async copy({ offset, length }: { offset: number; length: number }): Promise<void> {
    const { sparseSize, signal } = this.options
    const chunk = Math.max(1, Math.floor(chunkSize / sparseSize)) * Math.min(sparseSize, chunkSize)
    for (let done = 0; done < length; ) {
      signal?.throwIfAborted()
      const data = await this.reader.exact(Math.min(chunk, length - done), 'write data')
      const at = offset + done
      done += data.length
      await this.start(() => this.writeSparsely(at, data))
    }
  }

  private async writeSparsely(offset: number, data: Buffer): Promise<void> {
    let end = 0
    for (const [from, to] of dataRuns(data, this.options.sparseSize)) {
      if (from > end) await this.writer.discard(offset + end, from - end)
      await this.writer.write(offset + from, data.subarray(from, to))
      end = to
    }
    if (end < data.length) await this.writer.discard(offset + end, data.length - end)
  }

  /** Resolves once there is a place for it; after a failure no other begins. */
  private async start(change: () => Promise<void>): Promise<void> {
    const release = await this.places.acquire(1, this.options.signal)
    if (this.failure) {
      release()
      throw this.failure.error
    }
    this.applied.changed = true
    const running: Promise<void> = change()
      .catch((error: unknown) => {
        this.failure ??= { error }
      })
      .finally(() => {
        release()
        this.underWay.delete(running)
      })
    this.underWay.add(running)
  }
}

/** Runs [from, to) of whole sparse units that are not all zeros (tools/rbd/Utils.cc, calc_sparse_extent). */
export function* dataRuns(data: Buffer, unit: number): Generator<readonly [number, number]> {
  const zeros = Buffer.alloc(Math.min(unit, data.length))
  let start: number | undefined
  for (let at = 0; at < data.length; at += unit) {
    const part = data.subarray(at, at + unit)
    const empty = part.equals(zeros.subarray(0, part.length))
    if (!empty) start ??= at
    else if (start !== undefined) {
      yield [start, at]
      start = undefined
    }
  }
  if (start !== undefined) yield [start, data.length]
}
