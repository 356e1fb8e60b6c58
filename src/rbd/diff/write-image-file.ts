import type { Image } from '../image.ts'
import { isUsersKey, listMetadata } from '../operations/metadata.ts'
import { IMAGE_BANNER, IMAGE_DIFFS_BANNER, ImageTag, metadataRecord, numberRecord } from './format.ts'
import { writeDiff, type Write } from './write-diff.ts'

/** What each diff counts in its progress. */
const steps = 100

export interface ImageFileOptions {
  signal?: AbortSignal | undefined
  onProgress?: (done: number, total: number) => void
}

/**
 * Writes an image with its properties, metadata and user snapshots (tools/rbd/action/Export.cc, do_export_v2). Snapshots of mirroring, of groups
 * and of the trash are not its user's, and have no place in the file. Rejects with RadosError, or as `write` does.
 */
export async function writeImageFile(image: Image, { signal, onProgress }: ImageFileOptions, write: Write): Promise<void> {
  const { header } = image
  const parts = [
    Buffer.from(IMAGE_BANNER),
    numberRecord(ImageTag.order, BigInt(header.order)),
    numberRecord(ImageTag.features, header.features),
    numberRecord(ImageTag.stripeUnit, BigInt(header.stripeUnit)),
    numberRecord(ImageTag.stripeCount, BigInt(header.stripeCount)),
  ]
  for (const [key, value] of await listMetadata(image.io, image.id, signal)) if (isUsersKey(key)) parts.push(metadataRecord(key, value))
  parts.push(Buffer.of(ImageTag.end), Buffer.from(IMAGE_DIFFS_BANNER))
  const ends = [...header.snapshots.filter(({ namespace }) => namespace.type === 'user').sort((a, b) => (a.id < b.id ? -1 : 1)), undefined]
  const count = Buffer.alloc(8)
  count.writeBigUInt64LE(BigInt(ends.length))
  await write(Buffer.concat([...parts, count]))
  for (const [index, to] of ends.entries()) {
    const onDiff = (done: number, total: number) => onProgress?.(index * steps + Math.floor((steps * done) / total), ends.length * steps)
    await writeDiff(image, { format: 2, from: ends[index - 1], to, wholeObject: false, signal, onProgress: onDiff }, write)
  }
}
