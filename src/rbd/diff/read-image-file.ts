import { Errno } from '../../rados/errors.ts'
import type { Image } from '../image.ts'
import { applyDiff, type ApplyDiffOptions } from './apply-diff.ts'
import type { ByteReader } from './byte-reader.ts'
import { IMAGE_BANNER, IMAGE_DIFFS_BANNER, ImageTag } from './format.ts'

/** Longer records of metadata are no metadata. */
const maxMetadata = 64 * 2 ** 20

/** What a file says of the image in it. What it leaves out is as usual. */
export interface ImageProperties {
  order?: number
  /** bits of features.ts, with those that follow from others and those of its site alone */
  features?: bigint
  stripeUnit?: number
  stripeCount?: number
  metadata: Map<string, string>
}

/** The first part of an image's file (tools/rbd/action/Import.cc, do_import_header). Rejects with UnreadableFile. */
export async function readImageProperties(reader: ByteReader, onUnknownTag: (tag: number) => void): Promise<ImageProperties> {
  await reader.expect(IMAGE_BANNER, 'diff banner')
  const properties: ImageProperties = { metadata: new Map() }
  for (;;) {
    const tag = await reader.u8('tag')
    if (tag === ImageTag.end) return properties
    const length = await reader.size('tag length')
    if (tag === ImageTag.order) properties.order = await reader.size('image option')
    else if (tag === ImageTag.features) properties.features = await reader.u64('image option')
    else if (tag === ImageTag.stripeUnit) properties.stripeUnit = await reader.size('image option')
    else if (tag === ImageTag.stripeCount) properties.stripeCount = await reader.size('image option')
    else if (tag === ImageTag.metadata) {
      const max = Math.min(length, maxMetadata)
      const key = (await reader.bytes(max, 'metadata key')).toString()
      properties.metadata.set(key, (await reader.bytes(max, 'metadata value')).toString())
    } else {
      onUnknownTag(tag)
      await reader.skip(length, 'skipped tag data')
    }
  }
}

export interface ReadDiffsOptions extends Omit<ApplyDiffOptions, 'format' | 'onProgress'> {
  onProgress?: (done: number, total: number) => void
}

/** The rest of it: snapshots and head, into an image that has none yet (do_import_v2). Rejects as {@link applyDiff} does. */
export async function readImageDiffs(image: Image, reader: ByteReader, { onProgress, ...options }: ReadDiffsOptions): Promise<void> {
  await reader.expect(IMAGE_DIFFS_BANNER, 'diff banner')
  const count = await reader.size('diff count')
  if (count === 0) throw reader.unreadable('diff count', 'an image has at least one', Errno.EBADMSG)
  for (let done = 0; done < count; done++) {
    await applyDiff(image, reader, { ...options, format: 2 })
    onProgress?.(done + 1, count)
  }
}
