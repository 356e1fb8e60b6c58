import { Decoder } from './decoder.ts'
import { Encoder } from './encoder.ts'
import { MalformedInput } from './malformed-input.ts'

/** How a value lies in bytes. `decode` throws MalformedInput and nothing else. */
export interface Codec<T> {
  encode(encoder: Encoder, value: T): void
  decode(decoder: Decoder): T
}

/** The type of a codec's values: `type Tag = Infer<typeof Tag>`. */
export type Infer<C> = C extends Codec<infer T> ? T : never

export function encode<T>(codec: Codec<T>, value: T): Buffer {
  const encoder = new Encoder()
  codec.encode(encoder, value)
  return encoder.finish()
}

/** Decodes `bytes`; what follows the value is ignored, as Ceph's decoders do. */
export function decode<T>(codec: Codec<T>, bytes: Buffer, what: string): T {
  return codec.decode(new Decoder(bytes, what))
}

export const u8: Codec<number> = { encode: (encoder, value) => encoder.u8(value), decode: (decoder) => decoder.u8() }
export const u16: Codec<number> = { encode: (encoder, value) => encoder.u16(value), decode: (decoder) => decoder.u16() }
export const u32: Codec<number> = { encode: (encoder, value) => encoder.u32(value), decode: (decoder) => decoder.u32() }
export const s32: Codec<number> = { encode: (encoder, value) => encoder.s32(value), decode: (decoder) => decoder.s32() }
export const u64: Codec<bigint> = { encode: (encoder, value) => encoder.u64(value), decode: (decoder) => decoder.u64() }
export const s64: Codec<bigint> = { encode: (encoder, value) => encoder.s64(value), decode: (decoder) => decoder.s64() }
/** An unsigned 64-bit size, offset or object number, as a safe integer. */
export const size: Codec<number> = { encode: (encoder, value) => encoder.size(value), decode: (decoder) => decoder.size() }
export const bool: Codec<boolean> = { encode: (encoder, value) => encoder.bool(value), decode: (decoder) => decoder.bool() }
export const string: Codec<string> = { encode: (encoder, value) => encoder.string(value), decode: (decoder) => decoder.string() }
/** Length-prefixed; decoded as a view of the input. */
export const bytes: Codec<Buffer> = { encode: (encoder, value) => encoder.bytes(value), decode: (decoder) => decoder.bytes() }
/** Everything up to the end, without a length. */
export const rest: Codec<Buffer> = { encode: (encoder, value) => encoder.raw(value), decode: (decoder) => decoder.rest() }
/** Nothing at all: the input or output of many methods. */
export const nothing: Codec<void> = { encode() {}, decode() {} }

/** A point in time, or a duration, of utime_t. */
export interface Utime {
  /** seconds, 32 bits */
  sec: number
  nsec: number
}
export const utime: Codec<Utime> = {
  encode: (encoder, value) => encoder.u32(value.sec).u32(value.nsec),
  decode: (decoder) => ({ sec: decoder.u32(), nsec: decoder.u32() }),
}
export const zeroTime: Utime = { sec: 0, nsec: 0 }
/** @param ms milliseconds since the epoch */
export function utimeFromMs(ms: number): Utime {
  const sec = Math.floor(ms / 1000)
  return { sec, nsec: Math.floor((ms - sec * 1000) * 1e6) }
}
/** milliseconds, with the fraction that a double can hold */
export function utimeToMs(time: Utime): number {
  return time.sec * 1000 + time.nsec / 1e6
}

/** uuid_d: sixteen bytes, as the usual text. */
export const uuid: Codec<string> = {
  encode(encoder, value) {
    const raw = Buffer.from(value.replaceAll('-', ''), 'hex')
    if (raw.length !== 16) throw new MalformedInput('uuid', value)
    encoder.raw(raw)
  },
  decode(decoder) {
    const hex = decoder.raw(16).toString('hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  },
}

/** Gives the values of `codec` another shape. `from` may call `decoder.fail`. */
export function mapped<A, B>(codec: Codec<A>, from: (value: A, decoder: Decoder) => B, to: (value: B) => A): Codec<B> {
  return {
    encode: (encoder, value) => codec.encode(encoder, to(value)),
    decode: (decoder) => from(codec.decode(decoder), decoder),
  }
}

/** Names for numbers. A number without a name is malformed, unless `fallback` names it (then it can't be written back as it was). */
export function enumeration<const V extends Readonly<Record<string, number>>>(
  codec: Codec<number>,
  values: V,
  fallback?: keyof V & string,
): Codec<keyof V & string> {
  const names = new Map(Object.entries(values).map(([name, value]) => [value, name as keyof V & string]))
  return {
    encode: (encoder, value) => codec.encode(encoder, values[value]!),
    decode(decoder) {
      const value = codec.decode(decoder)
      return names.get(value) ?? fallback ?? decoder.fail(`${value} is none of ${[...names.values()].join(', ')}`)
    },
  }
}

/** A 32-bit count and the elements: vector, list, deque, set. */
export function list<T>(element: Codec<T>): Codec<T[]> {
  return {
    encode(encoder, values) {
      encoder.u32(values.length)
      for (const value of values) element.encode(encoder, value)
    },
    decode(decoder) {
      const values: T[] = []
      for (let left = decoder.count(); left > 0; left--) values.push(element.decode(decoder))
      return values
    },
  }
}

type Key = string | number | bigint

/** The order in which std::map and std::set keep their keys: bytes of strings, values of numbers. */
function compareKeys(a: Key, b: Key): number {
  if (typeof a === 'string' && typeof b === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b))
  return a < b ? -1 : a > b ? 1 : 0
}

/** std::set, written in its order. */
export function set<K extends Key>(element: Codec<K>): Codec<Set<K>> {
  return mapped(
    list(element),
    (values) => new Set(values),
    (values) => [...values].sort(compareKeys),
  )
}

/** std::map, written in its order. */
export function map<K extends Key, V>(key: Codec<K>, value: Codec<V>): Codec<Map<K, V>> {
  return mapped(
    list(pair(key, value)),
    (entries) => new Map(entries),
    (entries) => [...entries].sort(([a], [b]) => compareKeys(a, b)),
  )
}

export function pair<A, B>(first: Codec<A>, second: Codec<B>): Codec<[A, B]> {
  return {
    encode(encoder, [a, b]) {
      first.encode(encoder, a)
      second.encode(encoder, b)
    },
    decode: (decoder) => [first.decode(decoder), second.decode(decoder)],
  }
}

/** std::optional: one byte says whether the value follows. */
export function optional<T>(codec: Codec<T>): Codec<T | undefined> {
  return {
    encode(encoder, value) {
      encoder.bool(value !== undefined)
      if (value !== undefined) codec.encode(encoder, value)
    },
    decode: (decoder) => (decoder.bool() ? codec.decode(decoder) : undefined),
  }
}

/** interval_set: a map of start → length. */
export function intervals<T extends number | bigint>(offset: Codec<T>): Codec<[start: T, length: T][]> {
  return list(pair(offset, offset))
}

/** A value encoded into a buffer of its own, behind its length. */
export function sized<T>(codec: Codec<T>): Codec<T> {
  return {
    encode: (encoder, value) => encoder.sized(() => codec.encode(encoder, value)),
    decode: (decoder) => decoder.within(decoder.u32(), () => codec.decode(decoder)),
  }
}
