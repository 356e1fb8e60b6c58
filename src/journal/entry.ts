import { Encoder } from '../encoding/encoder.ts'
import { crc32c } from '../encoding/crc32c.ts'

/** One record of a journal (Entry.cc): its payload belongs to whoever writes the journal. */
export interface JournalEntry {
  /** the epoch that it was written in */
  tagTid: bigint
  /** counts up from 0 within its tag, without gaps */
  entryTid: bigint
  data: Buffer
}

const preambleLow = 0x53589793
const preambleHigh = 0x31415926
const version = 1
/** preamble, version, entry tid, tag tid */
const headerBytes = 25
/** bytes that an entry has beside its payload: header, payload length, checksum */
export const ENTRY_OVERHEAD = headerBytes + 8

export function encodeEntry({ tagTid, entryTid, data }: JournalEntry): Buffer {
  const encoder = new Encoder(ENTRY_OVERHEAD + data.length)
  encoder.u32(preambleLow).u32(preambleHigh).u8(version).u64(entryTid).u64(tagTid).bytes(data)
  encoder.u32(crc32c(0, encoder.since(0)))
  return encoder.finish()
}

/** What stands at a position of a journal object. */
export type Parsed =
  | { type: 'entry'; entry: JournalEntry; length: number }
  /** an entry that goes on behind the end of the buffer; `length` is what it takes as far as is known */
  | { type: 'partial'; length: number }
  /** zeros up to the next entry or the end */
  | { type: 'padding'; length: number }
  | { type: 'corrupt'; detail: string }

/** OSDs pad objects with zeros to units that are multiples of this. */
const paddingUnit = 8

/**
 * Reads what stands at `at`, where bytes are left. The payload is a view of the buffer.
 *
 * @param base offset in the object of the buffer's first byte: padding is aligned there
 */
export function parseEntry(buffer: Buffer, at: number, base: number): Parsed {
  const left = buffer.length - at
  if (buffer[at] === 0) return parsePadding(buffer, at, base)
  if (left < headerBytes + 4) {
    return left >= 8 && !hasPreamble(buffer, at) ? { type: 'corrupt', detail: 'no preamble' } : { type: 'partial', length: ENTRY_OVERHEAD }
  }
  if (!hasPreamble(buffer, at)) return { type: 'corrupt', detail: 'no preamble' }
  if (buffer[at + 8] !== version) return { type: 'corrupt', detail: `unknown version ${buffer[at + 8]}` }
  const dataStart = at + headerBytes + 4
  const dataEnd = dataStart + buffer.readUInt32LE(at + headerBytes)
  const end = dataEnd + 4
  if (end > buffer.length) return { type: 'partial', length: end - at }
  const expected = buffer.readUInt32LE(dataEnd)
  const actual = crc32c(0, buffer, at, dataEnd)
  if (expected !== actual) return { type: 'corrupt', detail: `checksum ${actual} instead of ${expected}` }
  return {
    type: 'entry',
    entry: {
      entryTid: buffer.readBigUInt64LE(at + 9),
      tagTid: buffer.readBigUInt64LE(at + 17),
      data: buffer.subarray(dataStart, dataEnd),
    },
    length: end - at,
  }
}

function hasPreamble(buffer: Buffer, at: number): boolean {
  return buffer.readUInt32LE(at) === preambleLow && buffer.readUInt32LE(at + 4) === preambleHigh
}

function parsePadding(buffer: Buffer, at: number, base: number): Parsed {
  let end = at
  while (end < buffer.length && buffer[end] === 0) end++
  if (end < buffer.length && (base + end) % paddingUnit !== 0) return { type: 'corrupt', detail: 'padding that ends within a unit' }
  return { type: 'padding', length: end - at }
}
