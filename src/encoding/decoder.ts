import { MalformedInput } from './malformed-input.ts'

/** Reads Ceph's binary encoding. Whatever is wrong with the bytes is a MalformedInput naming `what`. */
export class Decoder {
  private at = 0
  private end: number

  /**
   * @param what what these bytes are, for messages, e.g. `rbd.mirror_image_get`
   */
  constructor(
    private readonly buffer: Buffer,
    readonly what: string,
  ) {
    this.end = buffer.length
  }

  /** offset of the next byte */
  get position(): number {
    return this.at
  }

  /** bytes left, in the enclosing versioned struct if there is one */
  get remaining(): number {
    return this.end - this.at
  }

  fail(detail: string): never {
    throw new MalformedInput(this.what, `${detail} (at byte ${this.at} of ${this.buffer.length})`)
  }

  u8(): number {
    return this.buffer[this.advance(1)]!
  }
  u16(): number {
    return this.buffer.readUInt16LE(this.advance(2))
  }
  u32(): number {
    return this.buffer.readUInt32LE(this.advance(4))
  }
  s32(): number {
    return this.buffer.readInt32LE(this.advance(4))
  }
  u64(): bigint {
    return this.buffer.readBigUInt64LE(this.advance(8))
  }
  s64(): bigint {
    return this.buffer.readBigInt64LE(this.advance(8))
  }
  /** 64 bits that have to be a safe integer: sizes and offsets. */
  size(): number {
    const at = this.advance(8)
    const high = this.buffer.readUInt32LE(at + 4)
    if (high >= 2 ** 21) return this.fail(`${this.buffer.readBigUInt64LE(at)} is out of range`)
    return high * 2 ** 32 + this.buffer.readUInt32LE(at)
  }
  /** Any byte but 0 is true, as in Ceph. */
  bool(): boolean {
    return this.u8() !== 0
  }
  string(): string {
    const length = this.u32()
    const at = this.advance(length)
    return this.buffer.toString('utf8', at, at + length)
  }
  /** Length-prefixed bytes, as a view of the input. */
  bytes(): Buffer {
    return this.raw(this.u32())
  }
  /** `length` bytes, as a view of the input. */
  raw(length: number): Buffer {
    const at = this.advance(length)
    return this.buffer.subarray(at, at + length)
  }
  /** All that is left, as a view of the input. */
  rest(): Buffer {
    return this.raw(this.remaining)
  }
  /** The number of elements that follow, each at least one byte long. */
  count(): number {
    const count = this.u32()
    if (count > this.remaining) this.fail(`${count} elements in ${this.remaining} bytes`)
    return count
  }

  /**
   * DECODE_START … DECODE_FINISH of include/encoding.h: `body` gets the struct's version and compat version and sees only its bytes; what a
   * newer version has appended is skipped. Refuses a struct that readers of `supported` can't understand.
   */
  versioned<T>(supported: number, body: (version: number, compat: number) => T): T {
    const version = this.u8()
    const compat = this.u8()
    const length = this.u32()
    if (compat > supported) this.fail(`version ${version} needs a reader of version ${compat}, this one knows ${supported}`)
    return this.within(length, () => body(version, compat))
  }

  /** Runs `body` over the next `length` bytes and goes on behind them. */
  within<T>(length: number, body: () => T): T {
    if (length > this.remaining) this.fail(`${length} bytes announced, ${this.remaining} left`)
    const outer = this.end
    this.end = this.at + length
    const result = body()
    this.at = this.end
    this.end = outer
    return result
  }

  private advance(bytes: number): number {
    const at = this.at
    if (bytes > this.end - at) this.fail(`${bytes} bytes wanted, ${this.end - at} left`)
    this.at = at + bytes
    return at
  }
}
