import { u64 } from '../../../encoding/codec.ts'
import { crc32c } from '../../../encoding/crc32c.ts'
import { Decoder } from '../../../encoding/decoder.ts'
import { Encoder } from '../../../encoding/encoder.ts'
import { struct } from '../../../encoding/struct.ts'

/*
 * BitVector<2> of Ceph's common/bit_vector.hpp, as it lies in an object: object states 0…3, four to a byte, the first in the highest bits.
 *
 *     length 4 │ header: version 1, compat 1, length 4, number of states 8 │ states │ length 4 │ header sum 4 │ blocks 4 │ a sum per block
 *
 * Sums are CRC-32C with seed 0, over the header and over each block of 4096 bytes of states; a vector without sums ends with length 0.
 */

const Header = struct({ version: 1, compat: 1 }, { count: u64 })
export const HEADER_LENGTH = 18
export const BLOCK_LENGTH = 4096
const SUM_LENGTH = 4
const HEADER_FRAME = 4

export const statesPerByte = 4
export const byteLength = (count: number) => Math.ceil(count / statesPerByte)
const blockCount = (bytes: number) => Math.ceil(bytes / BLOCK_LENGTH)
const shiftOf = (index: number) => 6 - 2 * (index & 3)

/** Where the sum of block `block` lies in an object whose vector has `bytes` bytes of states. */
export const sumOffset = (bytes: number, block: number) => HEADER_LENGTH + bytes + 3 * SUM_LENGTH + block * SUM_LENGTH

export interface BitVector {
  count: number
  /** `byteLength(count)` bytes; a view of what was decoded until it is replaced */
  states: Buffer
  /** whether it has sums */
  summed: boolean
}

export function getState(states: Uint8Array, index: number): number {
  return (states[index >>> 2]! >> shiftOf(index)) & 3
}

export function setState(states: Uint8Array, index: number, state: number): void {
  const shift = shiftOf(index)
  states[index >>> 2] = (states[index >>> 2]! & ~(3 << shift)) | ((state & 3) << shift)
}

/** The number of states that the header announces. */
export function decodeCount(decoder: Decoder): number {
  const count = decoder.within(decoder.u32(), () => Header.decode(decoder).count)
  return count > BigInt(Number.MAX_SAFE_INTEGER) ? decoder.fail(`${count} states`) : Number(count)
}

/** Checks the sums, if there are any. @throws MalformedInput */
export function decodeBitVector(bytes: Buffer, what: string): BitVector {
  const decoder = new Decoder(bytes, what)
  const count = decodeCount(decoder)
  const header = bytes.subarray(HEADER_FRAME, decoder.position)
  const states = decoder.raw(byteLength(count))
  const summed = decoder.within(decoder.u32(), () => {
    if (decoder.remaining === 0) return false
    if (decoder.u32() !== crc32c(0, header)) decoder.fail('the sum of the header is wrong')
    decoder.u32() // the number of blocks, which follows from the number of states
    for (let at = 0; at < states.length; at += BLOCK_LENGTH) {
      if (decoder.u32() !== blockSum(states, at)) decoder.fail(`the sum of the block at byte ${at} is wrong`)
    }
    return true
  })
  return { count, states, summed }
}

export function encodeBitVector({ count, states, summed }: BitVector): Buffer {
  const encoder = new Encoder(sumOffset(states.length, blockCount(states.length)))
  encoder.sized(() => Header.encode(encoder, { count: BigInt(count) }))
  const headerSum = crc32c(0, encoder.since(HEADER_FRAME))
  encoder.raw(states)
  return encoder
    .sized(() => {
      if (!summed) return
      encoder.u32(headerSum).u32(blockCount(states.length))
      for (let at = 0; at < states.length; at += BLOCK_LENGTH) encoder.u32(blockSum(states, at))
    })
    .finish()
}

/** The sum of the block of states that begins at byte `at`. */
export function blockSum(states: Uint8Array, at: number): number {
  return crc32c(0, states, at, Math.min(at + BLOCK_LENGTH, states.length))
}
