import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bool, bytes, decode, encode, enumeration, intervals, list, map, optional, pair, s32, s64, set, size, sized, string, u16, u32, u64, u8 } from './codec.ts'
import { utime, utimeFromMs, utimeToMs, uuid, type Codec } from './codec.ts'
import { Decoder } from './decoder.ts'
import { Encoder } from './encoder.ts'
import { MalformedInput } from './malformed-input.ts'
import { fields, reserved, since, struct, variant, versioned } from './struct.ts'

const everything = struct(
  { version: 3, compat: 1 },
  {
    small: u8,
    medium: u16,
    number: u32,
    signed: s32,
    id: u64,
    pool: s64,
    length: size,
    yes: bool,
    text: string,
    data: bytes,
    names: list(string),
    unique: set(u64),
    table: map(string, pair(u32, bool)),
    maybe: optional(u8),
    spans: intervals(size),
    inner: sized(fields({ time: utime, id: uuid })),
  },
)

const u32s = fc.integer({ min: 0, max: 0xffffffff })
const u64s = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn })
const sizes = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const buffers = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
const anything = fc.record({
  small: fc.integer({ min: 0, max: 255 }),
  medium: fc.integer({ min: 0, max: 65535 }),
  number: u32s,
  signed: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  id: u64s,
  pool: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  length: sizes,
  yes: fc.boolean(),
  text: fc.string({ unit: 'grapheme', maxLength: 80 }),
  data: buffers,
  names: fc.array(fc.string()),
  unique: fc.array(u64s).map((values) => new Set(values)),
  table: fc.array(fc.tuple(fc.string(), fc.tuple(u32s, fc.boolean()))).map((entries) => new Map(entries)),
  maybe: fc.option(fc.integer({ min: 0, max: 255 }), { nil: undefined }),
  spans: fc.array(fc.tuple(sizes, sizes)),
  inner: fc.record({ time: fc.record({ sec: u32s, nsec: u32s }), id: fc.uuid() }),
})

describe('properties', () => {
  test('what is encoded is decoded', () => {
    fc.assert(
      fc.property(anything, (value) => {
        expect(decode(everything, encode(everything, value), 'value')).toEqual(value)
      }),
    )
  })

  test('garbage is either read or malformed', () => {
    fc.assert(
      fc.property(anything, fc.nat(), fc.integer({ min: 0, max: 255 }), (value, at, byte) => {
        const garbled = Buffer.from(encode(everything, value))
        garbled[at % garbled.length] = byte
        try {
          decode(everything, garbled, 'garbage')
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedInput)
        }
      }),
    )
  })
})

test('keys of maps and sets are written in the order of std::map', () => {
  const byName = map(string, u8)
  // U+FF5E is below U+1F600 in UTF-8, above it in UTF-16
  expect([...decode(byName, encode(byName, new Map([['😀', 1], ['~', 2], ['a', 3]])), 'map').keys()]).toEqual(['a', '~', '😀'])
  const byId = set(u64)
  expect([...decode(byId, encode(byId, new Set([10n, 9n, 2n ** 40n])), 'set')]).toEqual([9n, 10n, 2n ** 40n])
})

test('a count larger than what is left is refused before it is believed', () => {
  expect(() => decode(list(u8), Buffer.from('ffffffff01', 'hex'), 'list')).toThrow('malformed list: 4294967295 elements in 1 bytes')
})

test('a size beyond the safe integers is malformed', () => {
  expect(() => decode(size, Buffer.from('0000000000002000', 'hex'), 'size')).toThrow('9007199254740992 is out of range')
  expect(() => encode(size, -1)).toThrow(RangeError)
})

test('a nested struct ends where it says', () => {
  const inner = struct({ version: 1, compat: 1 }, { a: u8 })
  const outer = fields({ inner, b: u8 })
  const bytes = Buffer.from('0201' + '03000000' + '07' + 'eeee' + '09', 'hex')
  expect(decode(outer, bytes, 'outer')).toEqual({ inner: { a: 7 }, b: 9 })
  const beyond = Buffer.from('0101' + '00000000' + '09', 'hex')
  expect(() => decode(outer, beyond, 'outer')).toThrow(MalformedInput)
})

test('fields of later versions have their fallback in older structs', () => {
  const older = struct({ version: 1, compat: 1 }, { a: u8 })
  const newer = struct({ version: 2, compat: 1 }, { a: u8, b: since(2, string, 'none'), c: since(2, list(u8), () => []) })
  expect(decode(newer, encode(older, { a: 1 }), 'struct')).toEqual({ a: 1, b: 'none', c: [] })
  expect(decode(older, encode(newer, { a: 1, b: 'x', c: [2] }), 'struct')).toEqual({ a: 1 })
})

test('reserved fields lie in the bytes only', () => {
  const codec = fields({ a: u8, _pad: reserved(u16, 0x0102), b: u8 })
  expect(encode(codec, { a: 1, b: 2 }).toString('hex')).toBe('01020102')
  expect(decode(codec, Buffer.from('01ffff02', 'hex'), 'fields')).toEqual({ a: 1, b: 2 })
})

test('variants', () => {
  const shape = versioned({ version: 1, compat: 1 }, variant(u8, { circle: [1, { radius: u8 }], square: [2, { side: u16 }] }))
  const roundTrip = <T>(codec: Codec<T>, value: T) => decode(codec, encode(codec, value), 'shape')
  expect(roundTrip(shape, { type: 'circle', radius: 3 })).toEqual({ type: 'circle', radius: 3 })
  expect(roundTrip(shape, { type: 'square', side: 4 })).toEqual({ type: 'square', side: 4 })
  expect(roundTrip(shape, { type: 'unknown', tag: 9, raw: Buffer.from('abc') })).toEqual({ type: 'unknown', tag: 9, raw: Buffer.from('abc') })
})

test('enumerations', () => {
  const colour = enumeration(u8, { red: 0, blue: 5 })
  expect(decode(colour, Buffer.from([5]), 'colour')).toBe('blue')
  expect(() => decode(colour, Buffer.from([1]), 'colour')).toThrow('1 is none of red, blue')
  expect(decode(enumeration(u8, { red: 0, blue: 5 }, 'red'), Buffer.from([1]), 'colour')).toBe('red')
})

test('times', () => {
  expect(utimeFromMs(1_700_000_000_123.5)).toEqual({ sec: 1_700_000_000, nsec: 123_500_000 })
  expect(utimeToMs({ sec: 1_700_000_000, nsec: 123_500_000 })).toBe(1_700_000_000_123.5)
})

test('the encoder grows and patches lengths at the right place', () => {
  const encoder = new Encoder(16)
  encoder.versioned(1, 1, () => encoder.raw(Buffer.alloc(1000, 7)).sized(() => encoder.u32(5)))
  const decoder = new Decoder(encoder.finish(), 'encoder')
  expect(decoder.versioned(1, () => [decoder.raw(1000).every((byte) => byte === 7), decoder.u32(), decoder.u32(), decoder.remaining])).toEqual([
    true,
    4,
    5,
    0,
  ])
})
