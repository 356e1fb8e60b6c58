import { readdirSync, readFileSync } from 'node:fs'
import { decode, encode, type Codec } from '../../src/encoding/codec.ts'
import { MalformedInput } from '../../src/encoding/malformed-input.ts'

const folder = new URL('../vectors/', import.meta.url)

export interface Vector {
  /** `<release>-<content hash>` */
  name: string
  bytes: Buffer
}

/** Encodings of a type that Ceph itself has written. */
export function vectors(type: string): Vector[] {
  const found = readdirSync(new URL(`${encodeURIComponent(type)}/`, folder))
    .sort()
    .map((name) => ({ name, bytes: readFileSync(new URL(`${encodeURIComponent(type)}/${name}`, folder)) }))
  if (found.length === 0) throw new Error(`no vectors of ${type}`)
  return found
}

/** What decoding and encoding again gives, in hexadecimal, to be compared with the vector's bytes. */
export function roundTrip<T>(codec: Codec<T>, bytes: Buffer): string {
  return encode(codec, decode(codec, bytes, 'vector')).toString('hex')
}

/** Lengths of prefixes that a codec takes for complete, or at which it throws anything but MalformedInput. */
export function acceptedPrefixes<T>(codec: Codec<T>, bytes: Buffer): number[] {
  const accepted: number[] = []
  for (let length = 0; length < bytes.length; length++) {
    try {
      decode(codec, bytes.subarray(0, length), 'prefix')
      accepted.push(length)
    } catch (error) {
      if (!(error instanceof MalformedInput)) accepted.push(length)
    }
  }
  return accepted
}
