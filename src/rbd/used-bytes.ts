import { diffImage, type ImageDiffOptions } from './diff/image-diff.ts'
import type { Image } from './image.ts'

export interface UsedBytes extends Pick<ImageDiffOptions, 'from' | 'to' | 'signal'> {
  /** Only the bytes of objects that were written; whole objects count without it. */
  exact: boolean
}

/** How many bytes of an image were written between two of its snapshots and still are there. A parent's bytes do not count. */
export async function usedBytes(image: Image, { exact, ...range }: UsedBytes): Promise<number> {
  let bytes = 0
  for await (const { length, exists } of diffImage(image, { ...range, wholeObject: !exact, includeParent: false })) if (exists) bytes += length
  return bytes
}
