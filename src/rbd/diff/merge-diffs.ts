import { Errno } from '../../rados/errors.ts'
import { DiffRefused } from './apply-diff.ts'
import type { ByteReader } from './byte-reader.ts'
import { DIFF_BANNERS, DiffTag, extentRecord, MAX_SNAP_NAME, sizeRecord, snapNameRecord, UnreadableFile } from './format.ts'
import type { Write } from './write-diff.ts'

/** Data that is copied at a time. */
const chunkSize = 4 * 2 ** 20

/**
 * Makes one diff of two that follow one another, as if there had been no snapshot between them (tools/rbd/action/MergeDiff.cc). Both are of
 * format 1, with their extents in order. Rejects with DiffRefused, whose text says what of which file is wrong, or as `write` does.
 */
export async function mergeDiffs(first: ByteReader, second: ByteReader, write: Write, onProgress?: (done: number, total: number) => void): Promise<void> {
  const [a, b] = [new DiffFile(first, 'first'), new DiffFile(second, 'second')]
  await a.begin()
  await b.begin()
  if (a.to !== b.from) throw new DiffRefused(Errno.EINVAL, 'The first TO snapshot must be equal with the second FROM snapshot, aborting')
  await write(Buffer.from(DIFF_BANNERS[1]))
  if (a.from !== '') await write(snapNameRecord(1, DiffTag.fromSnap, a.from))
  if (b.to !== '') await write(snapNameRecord(1, DiffTag.toSnap, b.to))
  await write(sizeRecord(1, b.size))
  for (;;) {
    onProgress?.(a.offset + b.offset, 2 * Math.max(a.size, b.size))
    // behind its end the first has zeros, as far as the image has grown, and the second nothing
    if (a.length === 0 && !a.ended && !(await a.next())) a.stand(a.size, b.size - a.size)
    if (b.length === 0 && !b.ended && !(await b.next())) b.stand(b.size, a.size - b.size)
    if (a.length > 0 && a.offset < b.offset) await a.copy(Math.min(a.length, b.offset - a.offset), write)
    else if (a.length > 0 && a.offset < b.offset + b.length) await a.skip(Math.min(a.length, b.offset + b.length - a.offset))
    else if (b.ended) {
      if (a.length > 0) throw a.broken('failed to read first diff data chunk header', 'it is behind the end of the image')
      break
    } else await b.copy(b.length, write)
  }
  await write(Buffer.of(DiffTag.end))
}

/** One of the two, and the extent that it is at. */
class DiffFile {
  from = ''
  to = ''
  /** bytes of the image */
  size = 0
  offset = 0
  /** bytes that are left of the extent */
  length = 0
  ended = false
  private exists = false
  private tag = 0

  constructor(
    private readonly reader: ByteReader,
    private readonly name: 'first' | 'second',
  ) {}

  async begin(): Promise<void> {
    const { reader } = this
    await this.reading(`failed to parse ${this.name} diff header`, async () => {
      await reader.expect(DIFF_BANNERS[1], 'diff banner')
      for (;;) {
        this.tag = await reader.u8('tag')
        if (this.tag === DiffTag.fromSnap) this.from = (await reader.bytes(MAX_SNAP_NAME, 'start snap name')).toString()
        else if (this.tag === DiffTag.toSnap) this.to = (await reader.bytes(MAX_SNAP_NAME, 'end snap name')).toString()
        else if (this.tag === DiffTag.size) this.size = await reader.size('image size')
        else return
      }
    })
  }

  /** Resolves with false at the end. */
  async next(): Promise<boolean> {
    const { reader, offset: before } = this
    const step = `failed to read ${this.name} diff data chunk header`
    await this.reading(step, async () => {
      const tag = this.tag === 0 ? await reader.u8('tag') : this.tag
      this.tag = 0
      this.ended = tag === DiffTag.end
      if (this.ended) return
      if (tag !== DiffTag.write && tag !== DiffTag.zero) throw reader.unreadable('tag', `${tag} is none`, Errno.EOPNOTSUPP)
      this.exists = tag === DiffTag.write
      this.offset = await reader.size('offset')
      this.length = await reader.size('length')
      if (this.length === 0) throw reader.unreadable('length', 'an extent of nothing', Errno.EOPNOTSUPP)
    })
    if (before > this.offset) throw new DiffRefused(Errno.EOPNOTSUPP, `rbd: out-of-order offset from ${this.name} diff (${before} > ${this.offset})`)
    return !this.ended
  }

  /** After its end: zeros. */
  stand(offset: number, length: number): void {
    Object.assign(this, { offset, length: Math.max(0, length), exists: false })
  }

  /** Of what is left of the extent the first `length` bytes. */
  async copy(length: number, write: Write): Promise<void> {
    await write(extentRecord(1, this.exists, this.offset, length))
    await this.pass(length, 'failed to merge diff chunk', write)
  }

  skip(length: number): Promise<void> {
    return this.pass(length, 'failed to skip first diff data', () => Promise.resolve())
  }

  broken(step: string, detail: string): DiffRefused {
    return new DiffRefused(Errno.EBADMSG, `rbd: ${step}: ${detail} (byte ${this.reader.position})`)
  }

  private async pass(length: number, step: string, write: Write): Promise<void> {
    for (let left = this.exists ? length : 0; left > 0; left -= chunkSize) {
      await write(await this.reading(step, () => this.reader.exact(Math.min(left, chunkSize), 'data')))
    }
    this.offset += length
    this.length -= length
  }

  private async reading<T>(step: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act()
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error
      throw new DiffRefused(error.errno, `rbd: ${step}: ${error.detail}`)
    }
  }
}
