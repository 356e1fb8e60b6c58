import type { Codec } from './codec.ts'
import type { Decoder } from './decoder.ts'
import type { Encoder } from './encoder.ts'

declare const isReserved: unique symbol

/** A field whose encoding differs between versions of its struct; it is always written as the newest. */
export interface VersionedField<T> extends Codec<T> {
  decodeAt(decoder: Decoder, version: number): T
}

/** A field that lies in the bytes but not in the value. */
export interface Reserved extends Codec<unknown> {
  readonly [isReserved]: true
}

/** A field present from struct version `version` on; older structs give `fallback`. */
export function since<T>(version: number, codec: Codec<T>, fallback: T | (() => T)): Codec<T> {
  const missing = typeof fallback === 'function' ? (fallback as () => T) : () => fallback
  const field: VersionedField<T> = {
    ...codec,
    decodeAt: (decoder, structVersion) => (structVersion >= version ? codec.decode(decoder) : missing()),
  }
  return field
}

const reservedFields = new WeakSet<object>()

/** A field that is always written as `value`, and skipped when read. Its key says what it is. */
export function reserved<T>(codec: Codec<T>, value: T): Reserved {
  const field = {
    encode: (encoder: Encoder) => codec.encode(encoder, value),
    decode: (decoder: Decoder) => codec.decode(decoder),
  } as unknown as Reserved
  reservedFields.add(field)
  return field
}

export type Fields = Readonly<Record<string, Codec<any>>> // eslint-disable-line @typescript-eslint/no-explicit-any -- invariant in T

export type Struct<F extends Fields> = {
  [K in keyof F as F[K] extends Reserved ? never : K]: F[K] extends Codec<infer T> ? T : never
}

interface Field {
  readonly name: string
  readonly codec: Codec<unknown>
  /** of a field that depends on the struct's version */
  readonly decodeAt: VersionedField<unknown>['decodeAt'] | undefined
  readonly isValue: boolean
}

function fieldsOf(definition: Fields): readonly Field[] {
  return Object.entries(definition).map(([name, codec]) => ({
    name,
    codec: codec as Codec<unknown>,
    decodeAt: (codec as Partial<VersionedField<unknown>>).decodeAt?.bind(codec),
    isValue: !reservedFields.has(codec),
  }))
}

function encodeFields(fields: readonly Field[], encoder: Encoder, value: object): void {
  for (const { name, codec } of fields) codec.encode(encoder, (value as Record<string, unknown>)[name])
}

function decodeFields(fields: readonly Field[], decoder: Decoder, version: number, value: Record<string, unknown> = {}): Record<string, unknown> {
  for (const { name, codec, decodeAt, isValue } of fields) {
    const read = decodeAt ? decodeAt(decoder, version) : codec.decode(decoder)
    if (isValue) value[name] = read
  }
  return value
}

/** Fields one after the other, in the order of the object's keys, with nothing around them. */
export function fields<const F extends Fields>(definition: F): Codec<Struct<F>> {
  const all = fieldsOf(definition)
  return {
    encode: (encoder, value) => encodeFields(all, encoder, value),
    decode: (decoder) => decodeFields(all, decoder, Infinity) as Struct<F>,
  }
}

/**
 * A struct between ENCODE_START and ENCODE_FINISH. Written as `version`; read if its writer says that readers of `version` may;
 * fields after the last one known are skipped.
 */
export function struct<const F extends Fields>(header: { version: number; compat: number }, definition: F): Codec<Struct<F>> {
  const all = fieldsOf(definition)
  return {
    encode: (encoder, value) => encoder.versioned(header.version, header.compat, () => encodeFields(all, encoder, value)),
    decode: (decoder) => decoder.versioned(header.version, (version) => decodeFields(all, decoder, version) as Struct<F>),
  }
}

/** Puts a codec between ENCODE_START and ENCODE_FINISH; a versioned field is decoded at the struct's version. */
export function versioned<T>(header: { version: number; compat: number }, body: Codec<T> | VersionedField<T>): Codec<T> {
  return {
    encode: (encoder, value) => encoder.versioned(header.version, header.compat, () => body.encode(encoder, value)),
    decode: (decoder) => decoder.versioned(header.version, (version) => ('decodeAt' in body ? body.decodeAt(decoder, version) : body.decode(decoder))),
  }
}

/** A variant that this program does not know: its tag and its bytes, written back as they were. */
export interface UnknownVariant {
  type: 'unknown'
  tag: number
  raw: Buffer
}

export type Variants = Readonly<Record<string, readonly [tag: number, fields: Fields]>>

export type Variant<V extends Variants> =
  | { [K in keyof V & string]: { type: K } & Struct<V[K][1]> }[keyof V & string]
  | UnknownVariant

/**
 * One of several structs, told apart by a number in front: `{ type: 'snapCreate', … }`. An unknown one takes all bytes that
 * are left, so that a variant has to be the last thing in its enclosing struct, whose version `decodeAt` gets.
 */
export function variant<const V extends Variants>(tag: Codec<number>, variants: V): VersionedField<Variant<V>> {
  const newest = Infinity
  const byTag = new Map(Object.entries(variants).map(([type, [number, definition]]) => [number, { type, fields: fieldsOf(definition) }]))
  return {
    encode(encoder, value) {
      if (value.type === 'unknown') {
        const unknown = value as UnknownVariant
        tag.encode(encoder, unknown.tag)
        encoder.raw(unknown.raw)
        return
      }
      const [number] = variants[value.type]!
      tag.encode(encoder, number)
      encodeFields(byTag.get(number)!.fields, encoder, value)
    },
    decode(decoder) {
      return this.decodeAt(decoder, newest)
    },
    decodeAt(decoder, version) {
      const number = tag.decode(decoder)
      const known = byTag.get(number)
      if (!known) return { type: 'unknown', tag: number, raw: decoder.rest() } satisfies UnknownVariant
      return decodeFields(known.fields, decoder, version, { type: known.type }) as Variant<V>
    },
  }
}
