import type { ObjectId, OmapId, Shard } from '../engine.ts'

/*
 * Keys of the database: a letter for the kind, fixed-width big-endian numbers, then a name in UTF-8.
 *
 *     T name                          the cluster's table
 *     F address                       until when a client is shut out
 *     N which                         counters: revisions, object numbers
 *     V pool shard                    a shard's newest version
 *     I pool shard entry              a shard's index
 *     O pool shard name               an object: revision, version, object number, head
 *     C number chunk                  bytes of an object
 *     M number omap key               omap entries of an object
 */

/** LMDB's limit with pages of 4 KiB. */
const MAX_KEY_BYTES = 1978
const MAX_HEADER_BYTES = 1 + 8 + 8 + 17

function key(kind: string, numbers: readonly (readonly [value: number | bigint, bytes: 4 | 8])[], name = ''): Buffer {
  let at = 1
  for (const [, bytes] of numbers) at += bytes
  const buffer = Buffer.allocUnsafe(at + Buffer.byteLength(name))
  buffer.write(kind, 0, 'latin1')
  at = 1
  for (const [value, bytes] of numbers) {
    if (bytes === 4) at = buffer.writeUInt32BE(Number(value), at)
    else at = buffer.writeBigUInt64BE(BigInt(value), at)
  }
  if (name !== '') buffer.write(name, at)
  return buffer
}

const numbersOf = ({ pool, shard }: Shard) =>
  [
    [pool, 4],
    [shard, 4],
  ] as const

export const tableKey = (name: string) => key('T', [], name)
export const fenceKey = (address: string) => key('F', [], address)
export const REVISION_COUNTER = key('N', [], 'revision')
export const OBJECT_COUNTER = key('N', [], 'object')
export const versionKey = (shard: Shard) => key('V', numbersOf(shard))
export const indexKey = (shard: Shard, entry: string) => key('I', numbersOf(shard), entry)
export const objectKey = (id: ObjectId) => key('O', numbersOf(id), id.key)
export const objectsOf = (shard: Shard) => key('O', numbersOf(shard))
export const chunksOf = (number: number) => key('C', [[number, 8]])
export const chunkKey = (number: number, chunk: number) =>
  key('C', [
    [number, 8],
    [chunk, 8],
  ])
export const omapsOf = (number: number) => key('M', [[number, 8]])
export const omapKey = (number: number, omap: OmapId, name: string) =>
  key(
    'M',
    [
      [number, 8],
      [omap, 8],
    ],
    name,
  )

/** Whether a key with this name in it is short enough. */
export const fits = (name: string) => Buffer.byteLength(name) + MAX_HEADER_BYTES <= MAX_KEY_BYTES

/** From where to where keys lie that begin with `base` and `prefix` and come after `base` and `after`. */
export function rangeOf(base: Buffer, prefix: string, after: string | undefined): { start: Buffer; end: Buffer } {
  const first = Buffer.concat([base, Buffer.from(prefix)])
  const end = Buffer.from(first)
  // No key begins with 255, and UTF-8 has no such byte: fixed-width numbers before it may, and then the carry goes on.
  let at = end.length - 1
  while (end[at] === 0xff) end[at--] = 0
  end[at]!++
  if (after === undefined) return { start: first, end }
  const behind = Buffer.concat([base, Buffer.from(after), Buffer.from([0])])
  return { start: Buffer.compare(behind, first) > 0 ? behind : first, end }
}
