import { Errno } from '../../rados/errors.ts'
import { UnreadableFile } from './format.ts'

/** The next bytes of a file or a pipe; fewer than asked for at its end only. */
export type Read = (length: number) => Promise<Buffer>

/** Bytes that are read at a time where they are only passed over. */
const skippedAtATime = 2 ** 20

/** Reads a file from its beginning to its end, and knows where it is. All of it throws UnreadableFile where the file ends before it should. */
export class ByteReader {
  private at = 0

  constructor(private readonly read: Read) {}

  /** bytes read so far */
  get position(): number {
    return this.at
  }

  async exact(length: number, what: string): Promise<Buffer> {
    const bytes = await this.read(length)
    this.at += bytes.length
    if (bytes.length < length) throw this.unreadable(what, 'the file ends here', Errno.EDOM)
    return bytes
  }

  async u8(what: string): Promise<number> {
    return (await this.exact(1, what))[0]!
  }

  async u64(what: string): Promise<bigint> {
    return (await this.exact(8, what)).readBigUInt64LE()
  }

  /** A number of bytes or things, as 64 bits. */
  async size(what: string): Promise<number> {
    const value = await this.u64(what)
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.unreadable(what, `${value} is not possible`, Errno.EBADMSG)
    return Number(value)
  }

  /** Bytes behind their length as 32 bits, at most `max`. */
  async bytes(max: number, what: string): Promise<Buffer> {
    const length = (await this.exact(4, what)).readUInt32LE()
    if (length > max) throw this.unreadable(what, `${length} bytes are too many`, Errno.EINVAL)
    return this.exact(length, what)
  }

  async expect(text: string, what: string): Promise<void> {
    const start = this.at
    const bytes = await this.exact(Buffer.byteLength(text), what)
    if (!bytes.equals(Buffer.from(text))) {
      throw new UnreadableFile(what, `not ${JSON.stringify(text.trimEnd())}`, Errno.EINVAL, start, 'invalid or unexpected')
    }
  }

  async skip(length: number, what: string): Promise<void> {
    for (let left = length; left > 0; left -= skippedAtATime) await this.exact(Math.min(left, skippedAtATime), what)
  }

  unreadable(what: string, detail: string, errno: number): UnreadableFile {
    return new UnreadableFile(what, detail, errno, this.at)
  }
}
