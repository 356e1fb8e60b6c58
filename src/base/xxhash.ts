const MASK = 0xffffffffffffffffn
const P1 = 0x9e3779b185ebca87n
const P2 = 0xc2b2ae3d27d4eb4fn
const P3 = 0x165667b19e3779f9n
const P4 = 0x85ebca77c2b2ae63n
const P5 = 0x27d4eb2f165667c5n

const Q1 = 0x9e3779b1
const Q2 = 0x85ebca77
const Q3 = 0xc2b2ae3d
const Q4 = 0x27d4eb2f
const Q5 = 0x165667b1

const rotate64 = (value: bigint, bits: bigint) => ((value << bits) | (value >> (64n - bits))) & MASK
const round64 = (lane: bigint, input: bigint) => (rotate64((lane + input * P2) & MASK, 31n) * P1) & MASK
const merge64 = (hash: bigint, lane: bigint) => (((hash ^ round64(0n, lane)) * P1) & MASK) + P4

/** XXH64 as specified by the xxHash project. */
export function xxhash64(data: Buffer, seed: bigint): bigint {
  let at = 0
  let hash: bigint
  if (data.length >= 32) {
    let [a, b, c, d] = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
    for (; at + 32 <= data.length; at += 32) {
      a = round64(a, data.readBigUInt64LE(at))
      b = round64(b, data.readBigUInt64LE(at + 8))
      c = round64(c, data.readBigUInt64LE(at + 16))
      d = round64(d, data.readBigUInt64LE(at + 24))
    }
    hash = (rotate64(a, 1n) + rotate64(b, 7n) + rotate64(c, 12n) + rotate64(d, 18n)) & MASK
    for (const lane of [a, b, c, d]) hash = merge64(hash, lane) & MASK
  } else {
    hash = (seed + P5) & MASK
  }
  hash = (hash + BigInt(data.length)) & MASK
  for (; at + 8 <= data.length; at += 8) hash = (rotate64(hash ^ round64(0n, data.readBigUInt64LE(at)), 27n) * P1 + P4) & MASK
  if (at + 4 <= data.length) {
    hash = (rotate64(hash ^ ((BigInt(data.readUInt32LE(at)) * P1) & MASK), 23n) * P2 + P3) & MASK
    at += 4
  }
  for (; at < data.length; at++) hash = (rotate64(hash ^ ((BigInt(data[at]!) * P5) & MASK), 11n) * P1) & MASK
  hash = ((hash ^ (hash >> 33n)) * P2) & MASK
  hash = ((hash ^ (hash >> 29n)) * P3) & MASK
  return hash ^ (hash >> 32n)
}

const rotate32 = (value: number, bits: number) => (value << bits) | (value >>> (32 - bits))
const round32 = (lane: number, input: number) => Math.imul(rotate32((lane + Math.imul(input, Q2)) | 0, 13), Q1)

/** XXH32 as specified by the xxHash project. */
export function xxhash32(data: Buffer, seed: number): number {
  let at = 0
  let hash: number
  if (data.length >= 16) {
    let [a, b, c, d] = [(seed + Q1 + Q2) | 0, (seed + Q2) | 0, seed | 0, (seed - Q1) | 0]
    for (; at + 16 <= data.length; at += 16) {
      a = round32(a, data.readInt32LE(at))
      b = round32(b, data.readInt32LE(at + 4))
      c = round32(c, data.readInt32LE(at + 8))
      d = round32(d, data.readInt32LE(at + 12))
    }
    hash = (rotate32(a, 1) + rotate32(b, 7) + rotate32(c, 12) + rotate32(d, 18)) | 0
  } else {
    hash = (seed + Q5) | 0
  }
  hash = (hash + data.length) | 0
  for (; at + 4 <= data.length; at += 4) hash = Math.imul(rotate32((hash + Math.imul(data.readInt32LE(at), Q3)) | 0, 17), Q4)
  for (; at < data.length; at++) hash = Math.imul(rotate32((hash + Math.imul(data[at]!, Q5)) | 0, 11), Q1)
  hash = Math.imul(hash ^ (hash >>> 15), Q2)
  hash = Math.imul(hash ^ (hash >>> 13), Q3)
  return (hash ^ (hash >>> 16)) >>> 0
}
