import { Encoder } from '../../encoding/encoder.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'

/*
 * Files of diffs and of whole images, as `rbd export-diff` and `rbd export --export-format 2` write them (tools/rbd/Utils.h and action/Export.cc):
 *
 *     diff, format 1:   banner, records (tag, body) …, end tag
 *     diff, format 2:   banner, records (tag, bytes of the body as u64, body) …, end tag
 *     image, format 2:  banner, records of the image's properties …, end tag, banner, number of diffs as u64, diffs of format 2:
 *                       of each user snapshot since the one before it, and of the head since the newest
 */

export type DiffFormat = 1 | 2

export const DIFF_BANNERS: Readonly<Record<DiffFormat, string>> = { 1: 'rbd diff v1\n', 2: 'rbd diff v2\n' }
export const IMAGE_BANNER = 'rbd image v2\n'
export const IMAGE_DIFFS_BANNER = 'rbd image diffs v2\n'

const tagOf = (letter: string) => letter.charCodeAt(0)

/** What a record of a diff is about. */
export const DiffTag = {
  /** the snapshot that the diff begins with: string */
  fromSnap: tagOf('f'),
  /** the snapshot that it ends with: string */
  toSnap: tagOf('t'),
  /** whether that is protected: u8 */
  protection: tagOf('p'),
  /** bytes that the image has at the end: u64 */
  size: tagOf('s'),
  /** offset, length as u64, bytes */
  write: tagOf('w'),
  /** offset, length as u64 */
  zero: tagOf('z'),
  end: tagOf('e'),
} as const

/** What a record of an image's properties is about: u64 all, but for metadata: key and value as strings. */
export const ImageTag = {
  order: tagOf('O'),
  features: tagOf('T'),
  stripeUnit: tagOf('U'),
  stripeCount: tagOf('C'),
  metadata: tagOf('M'),
  end: tagOf('E'),
} as const

/** Longer names are no names. */
export const MAX_SNAP_NAME = 4096

/** A file that is not what it should be: cut short, or nonsense. Says what of it and where. */
export class UnreadableFile extends MalformedInput {
  /**
   * @param what e.g. `tag length`
   * @param errno what the C++ tool fails with
   * @param position of the file or pipe, in bytes
   */
  constructor(
    what: string,
    detail: string,
    readonly errno: number,
    readonly position: number,
    private readonly verb: 'failed to decode' | 'invalid or unexpected' = 'failed to decode',
  ) {
    super(what, `${detail} (byte ${position})`)
    this.name = 'UnreadableFile'
  }

  /** What the C++ tool says of it, and where it is. */
  get line(): string {
    return `${this.verb} ${this.what}: ${this.detail}`
  }
}

/** A record's tag, and its length in format 2. */
function record(format: DiffFormat, tag: number, length: number): Encoder {
  const encoder = new Encoder(format === 2 ? length + 9 : length + 1).u8(tag)
  return format === 2 ? encoder.size(length) : encoder
}

export function snapNameRecord(format: DiffFormat, tag: number, name: string): Buffer {
  return record(format, tag, Buffer.byteLength(name) + 4).string(name).finish()
}

export function protectionRecord(isProtected: boolean): Buffer {
  return record(2, DiffTag.protection, 1).bool(isProtected).finish()
}

export function sizeRecord(format: DiffFormat, size: number): Buffer {
  return record(format, DiffTag.size, 8).size(size).finish()
}

/** The record up to its data. */
export function extentRecord(format: DiffFormat, exists: boolean, offset: number, length: number): Buffer {
  const encoder = new Encoder(25).u8(exists ? DiffTag.write : DiffTag.zero)
  if (format === 2) encoder.size(exists ? 16 + length : 16)
  return encoder.size(offset).size(length).finish()
}

export function numberRecord(tag: number, value: bigint): Buffer {
  return record(2, tag, 8).u64(value).finish()
}

export function metadataRecord(key: string, value: Buffer): Buffer {
  return record(2, ImageTag.metadata, Buffer.byteLength(key) + value.length + 8).string(key).bytes(value).finish()
}
