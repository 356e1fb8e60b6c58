/** A vector of values 0…3, four to a byte, the first in the highest bits (BitVector<2> of Ceph's common/bit_vector.hpp). */
export class TwoBitVector {
  constructor(
    /** number of values */
    readonly length: number,
    readonly bytes: Uint8Array = new Uint8Array(Math.ceil(length / 4)),
  ) {}

  get(index: number): number {
    return (this.bytes[index >>> 2]! >> (6 - 2 * (index & 3))) & 3
  }

  set(index: number, value: number): void {
    const shift = 6 - 2 * (index & 3)
    const at = index >>> 2
    this.bytes[at] = (this.bytes[at]! & ~(3 << shift)) | (value << shift)
  }
}
