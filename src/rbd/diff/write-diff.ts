import { mapAhead } from '../../base/map-ahead.ts'
import { NO_SNAP } from '../../rados/io-ctx.ts'
import { layoutOf } from '../data/striping.ts'
import type { ImageSnapshot } from '../header.ts'
import type { Image } from '../image.ts'
import { readImage } from '../read-image.ts'
import { diffImage, type ImageExtent } from './image-diff.ts'
import { DIFF_BANNERS, DiffTag, extentRecord, protectionRecord, sizeRecord, snapNameRecord, type DiffFormat } from './format.ts'

/** Extents that are read at a time (rbd_concurrent_management_ops), as long as they are not larger than usual. */
const extentsAhead = 10
const bytesAhead = 128 * 2 ** 20

/** Takes bytes of a file, one after another. */
export type Write = (bytes: Buffer) => Promise<void>

export interface DiffToWrite {
  format: DiffFormat
  /** undefined: from the beginning of time */
  from: ImageSnapshot | undefined
  /** undefined: to the head */
  to: ImageSnapshot | undefined
  /** Whole objects instead of exactly what was written. */
  wholeObject: boolean
  signal?: AbortSignal | undefined
  onProgress?: (done: number, total: number) => void
}

/** Writes what has changed in an image as a diff (tools/rbd/action/Export.cc, do_export_diff_fd). Rejects with RadosError, or as `write` does. */
export async function writeDiff(image: Image, diff: DiffToWrite, write: Write): Promise<void> {
  const { format, from, to, wholeObject, signal } = diff
  const { size } = to ?? image.header
  const snap = to?.id ?? NO_SNAP
  await write(header(diff, size))
  const { objectSize, stripeCount } = layoutOf(image.header)
  const ahead = Math.max(1, Math.min(extentsAhead, Math.floor(bytesAhead / (objectSize * stripeCount))))
  const extents = diffImage(image, { from: from?.id ?? 0n, to: snap, wholeObject, includeParent: true, signal })
  const read = async (extent: ImageExtent) => ({ extent, data: extent.exists ? await readImage(image, { ...extent, snap, signal }) : undefined })
  for await (const { extent, data } of mapAhead(extents, ahead, read)) {
    const { offset, length } = extent
    const filled = data !== undefined && !isZero(data)
    await write(extentRecord(format, filled, offset, length))
    if (filled) await write(data)
    diff.onProgress?.(offset, size)
  }
  await write(Buffer.of(DiffTag.end))
}

function header({ format, from, to }: DiffToWrite, size: number): Buffer {
  const parts: Buffer[] = [Buffer.from(DIFF_BANNERS[format])]
  if (from) parts.push(snapNameRecord(format, DiffTag.fromSnap, from.name))
  if (to) parts.push(snapNameRecord(format, DiffTag.toSnap, to.name))
  if (to && format === 2) parts.push(protectionRecord(to.protection === 'protected'))
  parts.push(sizeRecord(format, size))
  return Buffer.concat(parts)
}

function isZero(data: Buffer): boolean {
  return data[0] === 0 && data.compare(data, 1, data.length, 0, data.length - 1) === 0
}
