import { decode, encode, mapped, nothing, u64, type Codec } from '../encoding/codec.ts'
import { Decoder } from '../encoding/decoder.ts'
import { MalformedInput } from '../encoding/malformed-input.ts'
import type { ObjectContext } from '../objclass/object-context.ts'
import type { ServerMethod } from '../objclass/registry.ts'
import { Errno, isErrno, RadosError } from '../rados/errors.ts'

/*
 * What the server sides of the object classes share: methods from codecs and bodies, and omap values by codec. They do what Ceph's own
 * classes do in src/cls, with the same keys, so that each finds what the other wrote.
 */

/** What a body that answers nothing gives. */
type Done = Promise<void> | void

/** Makes the methods of one class: an input that can't be decoded is EINVAL; what follows it is ignored. */
export function serverClass(cls: string) {
  const define = <I, O>(
    name: string,
    writes: boolean,
    input: Codec<I>,
    output: Codec<O>,
    body: (object: ObjectContext, args: I) => Promise<O> | O,
  ): ServerMethod => ({
    cls,
    name,
    writes,
    run: async (object, bytes) => encode(output, await body(object, decodeInput(input, bytes, `input of ${cls}.${name}`))),
  })
  return {
    /** A method that only reads. */
    read: <I, O>(name: string, input: Codec<I>, output: Codec<O>, body: (object: ObjectContext, args: I) => Promise<O> | O) =>
      define(name, false, input, output, body),
    /** A method that only reads and answers nothing: a guard. */
    guard: <I>(name: string, input: Codec<I>, body: (object: ObjectContext, args: I) => Done) => define(name, false, input, nothing, body),
    /** A method that writes. */
    write: <I>(name: string, input: Codec<I>, body: (object: ObjectContext, args: I) => Done) => define(name, true, input, nothing, body),
  }
}

/** @throws RadosError EINVAL */
export function decodeInput<T>(codec: Codec<T>, bytes: Buffer, what: string): T {
  return decodeOr(Errno.EINVAL, codec, bytes, what)
}

function decodeOr<T>(malformed: number, codec: Codec<T>, bytes: Buffer, what: string): T {
  try {
    return decode(codec, bytes, what)
  } catch (error) {
    if (error instanceof MalformedInput) throw new RadosError(malformed, { op: what, cause: error })
    throw error
  }
}

/** The error with which a method refuses; `why` completes "object class:". */
export function refused(errno: number, why: string): RadosError {
  return new RadosError(errno, { op: `object class: ${why}` })
}

/** A trailing argument that older clients do not send. */
export function trailing<T>(codec: Codec<T>, missing: T): Codec<T> {
  return { encode: (encoder, value) => codec.encode(encoder, value), decode: (decoder) => (decoder.remaining === 0 ? missing : codec.decode(decoder)) }
}

/** Any 64-bit number, as a safe integer at most: page sizes and limits, for which "very many" is good enough. */
export const atMostSafe: Codec<number> = mapped(
  u64,
  (value) => (value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value)),
  (value) => BigInt(value),
)

/** What `codec` takes of the input, as the bytes that they are. */
export function encoded<T>(codec: Codec<T>): Codec<Buffer> {
  return {
    encode: (encoder, value) => encoder.raw(value),
    decode(decoder) {
      const rest = decoder.rest()
      const probe = new Decoder(rest, decoder.what)
      codec.decode(probe)
      return rest.subarray(0, probe.position)
    },
  }
}

/** undefined in place of ENOENT. */
export async function unlessMissing<T>(value: Promise<T>): Promise<T | undefined> {
  try {
    return await value
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

/** Removes a key; it is no error when the object does not exist. */
export function removeKey(object: ObjectContext, key: string): void {
  try {
    object.omapRemoveKeys([key])
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
}

export function setValue<T>(object: ObjectContext, key: string, codec: Codec<T>, value: T): void {
  object.omapSet(new Map([[key, encode(codec, value)]]))
}

/** The most keys that an OSD gives at once (osd_max_omap_entries_per_request). */
const MAX_PAGE = 1024

/**
 * Omap entries that begin with `prefix`, at most `max`, in byte order; keys without the prefix. `after` is the key (without the prefix)
 * behind which they begin: '' leaves out the prefix itself, undefined does not.
 */
export async function entries(
  object: ObjectContext,
  prefix: string,
  after: string | undefined,
  max = Infinity,
): Promise<[key: string, value: Buffer][]> {
  const found: [string, Buffer][] = []
  for (let last = after === undefined ? '' : prefix + after; found.length < max; ) {
    const page = await object.omapGet(last, prefix, Math.min(MAX_PAGE, max - found.length))
    for (const [key, value] of page.entries) {
      found.push([key.slice(prefix.length), value])
      last = key
    }
    if (!page.more || page.entries.size === 0) break
  }
  return found
}

/** Stored values of a class that answers `malformed` where one can't be decoded. */
export function storedValues(malformed: number) {
  const parse = <T>(codec: Codec<T>, bytes: Buffer, key: string): T => decodeOr(malformed, codec, bytes, `omap value of ${key}`)
  return {
    parse,
    /** @throws ENOENT */
    get: async <T>(object: ObjectContext, key: string, codec: Codec<T>): Promise<T> => parse(codec, await object.omapGetValue(key), key),
    /** undefined when the key or the object does not exist */
    find: async <T>(object: ObjectContext, key: string, codec: Codec<T>): Promise<T | undefined> => {
      const bytes = await unlessMissing(object.omapGetValue(key))
      return bytes && parse(codec, bytes, key)
    },
  }
}

/** @throws ENOENT */
export async function requireExists(object: ObjectContext): Promise<void> {
  await object.stat()
}

/** `0123456789abcdef` */
export function hex16(value: bigint): string {
  return BigInt.asUintN(64, value).toString(16).padStart(16, '0')
}
