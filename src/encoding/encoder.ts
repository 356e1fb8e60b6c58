const initialSize = 128

/** Writes Ceph's binary encoding: little endian, strings and buffers behind a 32-bit length. Its buffer grows as needed. */
export class Encoder {
  private buffer: Buffer
  private length = 0

  constructor(sizeHint = initialSize) {
    this.buffer = Buffer.allocUnsafe(Math.max(sizeHint, 16))
  }

  /** bytes written so far */
  get position(): number {
    return this.length
  }

  u8(value: number): this {
    const at = this.advance(1)
    this.buffer.writeUInt8(value, at)
    return this
  }
  u16(value: number): this {
    const at = this.advance(2)
    this.buffer.writeUInt16LE(value, at)
    return this
  }
  u32(value: number): this {
    const at = this.advance(4)
    this.buffer.writeUInt32LE(value, at)
    return this
  }
  s32(value: number): this {
    const at = this.advance(4)
    this.buffer.writeInt32LE(value, at)
    return this
  }
  u64(value: bigint): this {
    const at = this.advance(8)
    this.buffer.writeBigUInt64LE(value, at)
    return this
  }
  s64(value: bigint): this {
    const at = this.advance(8)
    this.buffer.writeBigInt64LE(value, at)
    return this
  }
  /** A non-negative safe integer as 64 bits: sizes and offsets. */
  size(value: number): this {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a size: ${value}`)
    const at = this.advance(8)
    this.buffer.writeUInt32LE(value % 2 ** 32, at)
    this.buffer.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4)
    return this
  }
  bool(value: boolean): this {
    return this.u8(value ? 1 : 0)
  }
  /** UTF-8 behind its length in bytes. */
  string(value: string): this {
    const length = Buffer.byteLength(value)
    this.u32(length)
    const at = this.advance(length)
    this.buffer.write(value, at, length)
    return this
  }
  /** Bytes behind their length. */
  bytes(value: Buffer): this {
    return this.u32(value.length).raw(value)
  }
  /** Bytes without a length. */
  raw(value: Buffer): this {
    const at = this.advance(value.length)
    value.copy(this.buffer, at)
    return this
  }

  /** ENCODE_START … ENCODE_FINISH of include/encoding.h: version, oldest version that can read it, length of `body`. */
  versioned(version: number, compat: number, body: () => void): this {
    this.u8(version).u8(compat).u32(0)
    const start = this.length
    body()
    this.buffer.writeUInt32LE(this.length - start, start - 4)
    return this
  }

  /** What `body` writes, behind its length in bytes: a buffer that holds an encoding. */
  sized(body: () => void): this {
    this.u32(0)
    const start = this.length
    body()
    this.buffer.writeUInt32LE(this.length - start, start - 4)
    return this
  }

  /** The bytes from `start` to here, as a view that holds until the next write (for checksums over what was encoded). */
  since(start: number): Buffer {
    return this.buffer.subarray(start, this.length)
  }

  /** What was written, without a copy: the encoder is not to be used afterwards. */
  finish(): Buffer {
    return this.buffer.subarray(0, this.length)
  }

  private advance(bytes: number): number {
    const at = this.length
    const needed = at + bytes
    if (needed > this.buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2))
      this.buffer.copy(grown, 0, 0, at)
      this.buffer = grown
    }
    this.length = needed
    return at
  }
}
