import * as rbd from '../../cls/rbd/client.ts'
import { Decoder } from '../../encoding/decoder.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx, OperationOptions } from '../../rados/io-ctx.ts'
import { crc32c } from '../../encoding/crc32c.ts'
import { byteLength, TwoBitVector } from './two-bit-vector.ts'

/** What an object map says of an object (include/rbd/object_map_types.h). */
export const ObjectState = {
  nonexistent: 0,
  /** exists and was written since the previous snapshot */
  exists: 1,
  /** is being removed */
  pending: 2,
  /** exists and is the same as in the previous snapshot (only with fast-diff) */
  existsClean: 3,
} as const
export type ObjectState = (typeof ObjectState)[keyof typeof ObjectState]

/** One of {@link ObjectState} per object of an image or a snapshot. */
export type ObjectStates = TwoBitVector

/** The OSD refuses larger maps (cls::rbd::MAX_OBJECT_MAP_OBJECT_COUNT). */
export const MAX_OBJECT_MAP_OBJECTS = 256_000_000

/** One update call of the class touches at most so many, a multiple of what a block of sums covers (librbd's own limit). */
export const MAX_OBJECTS_PER_UPDATE = 256 * 1024

/** sums are taken over blocks of so many bytes */
const blockSize = 4096

/**
 * Reads an object map's encoding: its size, the states, and sums of both unless they were left out.
 * Throws MalformedInput, also for a wrong sum. The states are copied out of `bytes`.
 */
export function decodeObjectStates(bytes: Buffer, what = 'object map'): ObjectStates {
  const decoder = new Decoder(bytes, what)
  const header = decoder.bytes()
  const headerDecoder = new Decoder(header, what)
  const length = headerDecoder.versioned(1, () => headerDecoder.size())
  if (length > MAX_OBJECT_MAP_OBJECTS) decoder.fail(`a map of ${length} objects`)
  const data = decoder.raw(byteLength(length))
  const footer = decoder.bytes()
  if (footer.length > 0) {
    const sums = new Decoder(footer, what)
    if (sums.u32() !== crc32c(0, header)) sums.fail('wrong sum of the header')
    const blocks = sums.u32()
    if (blocks !== Math.ceil(data.length / blockSize)) sums.fail(`${blocks} sums for ${data.length} bytes`)
    for (let block = 0; block < blocks; block++) {
      if (sums.u32() !== crc32c(0, data.subarray(block * blockSize, (block + 1) * blockSize))) sums.fail(`wrong sum of block ${block}`)
    }
  }
  return new TwoBitVector(length, Uint8Array.from(data))
}

/** @param sums whether to add them: an object on disk has them, the input and the answer of class methods need not */
export function encodeObjectStates(map: ObjectStates, sums: boolean): Buffer {
  const data = Buffer.from(map.bytes.buffer, map.bytes.byteOffset, map.bytes.byteLength)
  const header = Buffer.alloc(18)
  header.writeUInt32LE(14, 0)
  header.writeUInt8(1, 4)
  header.writeUInt8(1, 5)
  header.writeUInt32LE(8, 6)
  header.writeBigUInt64LE(BigInt(map.length), 10)
  const blocks = Math.ceil(data.length / blockSize)
  const footer = Buffer.alloc(sums ? 12 + 4 * blocks : 4)
  if (sums) {
    footer.writeUInt32LE(8 + 4 * blocks, 0)
    footer.writeUInt32LE(crc32c(0, header.subarray(4)), 4)
    footer.writeUInt32LE(blocks, 8)
    for (let block = 0; block < blocks; block++) {
      footer.writeUInt32LE(crc32c(0, data.subarray(block * blockSize, (block + 1) * blockSize)), 12 + 4 * block)
    }
  }
  return Buffer.concat([header, data, footer])
}

/** Reads the map that lies in `oid`; undefined when there is none. Rejects with RadosError or MalformedInput. */
export async function loadObjectStates(io: IoCtx, oid: string, options?: OperationOptions): Promise<ObjectStates | undefined> {
  try {
    return decodeObjectStates(await rbd.objectMapLoad.call(io, oid, undefined, options), `object map ${oid}`)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

/** Replaces the map that lies in `oid`. */
export async function saveObjectStates(io: IoCtx, oid: string, map: ObjectStates): Promise<void> {
  await rbd.objectMapSave.call(io, oid, { bitVector: encodeObjectStates(map, false) })
}
