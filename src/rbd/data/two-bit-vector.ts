/** A vector of values 0…3, four to a byte, the first in the highest bits (BitVector<2> of Ceph's common/bit_vector.hpp). */
export class TwoBitVector {
  /**
   * @param length number of values
   * @param bytes `ceil(length / 4)` bytes, taken over as they are; zeros by default
   */
  constructor(
    readonly length: number,
    readonly bytes: Uint8Array = new Uint8Array(byteLength(length)),
  ) {}

  /** `length` times the same. */
  static filled(length: number, value: number): TwoBitVector {
    return new TwoBitVector(length, new Uint8Array(byteLength(length)).fill(0b01010101 * value))
  }

  get(index: number): number {
    return (this.bytes[index >>> 2]! >> (6 - 2 * (index & 3))) & 3
  }

  set(index: number, value: number): void {
    const shift = 6 - 2 * (index & 3)
    const at = index >>> 2
    this.bytes[at] = (this.bytes[at]! & ~(3 << shift)) | (value << shift)
  }

  /** A copy with `length` values; new ones are 0. */
  resized(length: number): TwoBitVector {
    const bytes = new Uint8Array(byteLength(length))
    bytes.set(this.bytes.subarray(0, bytes.length))
    const result = new TwoBitVector(length, bytes)
    // bits behind the last value may be anything: they are no values until now
    for (let index = Math.min(this.length, length); index & 3 && index < 4 * bytes.length; index++) result.set(index, 0)
    return result
  }

  /** The first index from `from` whose value is in `wanted` (a mask of 1 << value); `length` when there is none. */
  next(from: number, wanted: number): number {
    const matching = bytesWithAny(wanted)
    let index = from
    while (index < this.length) {
      if ((index & 3) === 0) {
        let at = index >>> 2
        while (at < this.bytes.length && matching[this.bytes[at]!] === 0) at++
        index = at * 4
        if (index >= this.length) break
      }
      if ((wanted >> this.get(index)) & 1) return index
      index++
    }
    return this.length
  }

  /** How many values are in `wanted` (a mask of 1 << value). */
  count(wanted: number): number {
    const matching = bytesWithAny(wanted)
    const whole = this.length >>> 2
    let count = 0
    for (let at = 0; at < whole; at++) count += matching[this.bytes[at]!]!
    for (let index = whole * 4; index < this.length; index++) count += (wanted >> this.get(index)) & 1
    return count
  }
}

export function byteLength(values: number): number {
  return Math.ceil(values / 4)
}

const tables = new Map<number, Uint8Array>()

/** For every byte how many of its four values are in `wanted`. */
function bytesWithAny(wanted: number): Uint8Array {
  let table = tables.get(wanted)
  if (!table) {
    table = new Uint8Array(256)
    for (let byte = 0; byte < 256; byte++) {
      for (let shift = 0; shift < 8; shift += 2) table[byte]! += (wanted >> ((byte >> shift) & 3)) & 1
    }
    tables.set(wanted, table)
  }
  return table
}
