import { decode, encode, zeroTime, type Codec, type Utime } from '../../../src/encoding/codec.ts'
import type { AnyMethod, Call, Choices, MaskValue, Side, Step } from '../class-comparison.ts'


/* Random calls of every method that the project has, by the kind of object they are for. */

/** What is called on one kind of object: calls are drawn from small sets of values, so that they meet. */
export interface ObjectKind {
  readonly name: string
  /** first steps of most runs, so that the others find something */
  start?(choices: Choices): Step[]
  readonly calls: readonly ((choices: Choices) => Call)[]
  readonly extra?: readonly ((choices: Choices) => Step)[]
  readonly mask?: MaskValue
  /** Kinds with many methods get more runs; 1 if not given. */
  readonly weight?: number
  /**
   * Its methods read data that others write: not in one operation, where an OSD compares the old bytes with the new checksum, takes the
   * object for damaged and never answers.
   */
  readonly readsData?: boolean
}

const MASKED_TIME: Utime = { sec: 1, nsec: 0 }
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/
export const maskTime = (time: Utime) => (time.sec === 0 && time.nsec === 0 ? zeroTime : MASKED_TIME)
export const maskUuid = (text: string) => text.replace(UUID, 'made-up')

export function call<A>(method: { readonly definition: AnyMethod['definition'] & { readonly input: Codec<A> } }, args: A | ((side: Side) => A), mask?: (answer: never, side: Side) => unknown): Call {
  const make = typeof args === 'function' ? (args as (side: Side) => A) : () => args
  return { method, args: make, ...(mask && { mask }) }
}

/** Changes a stored value that the codec writes back as it was read; one that it does not stays as it is, and differs. */
export function masked<T>(codec: Codec<T>, value: Buffer, change: (decoded: T) => T): Buffer {
  const decoded = decode(codec, value, 'stored value')
  if (!encode(codec, decoded).equals(value)) return value
  return encode(codec, change(decoded))
}

export const page = (choices: Choices, keys: readonly string[]) => ({
  startAfter: choices.pick(['', '', '', ...keys]),
  max: choices.pick([0, 1, 2, 3, 64, 1024, Number.MAX_SAFE_INTEGER]),
})
export const exec = (made: Call, client = 0): Step => ({ type: 'exec', client, call: made })

/** The arguments of a method that takes none. */
export const noneOf = undefined as void

export const names = ['one', 'two', 'three', 'ö']
export const ids = ['1', 'a2', 'zz', 'no valid id', '']
export const named = (choices: Choices) => ({ name: choices.pick([...names, '']), id: choices.pick(ids) })
export const images = ['id1', 'id2', 'id3', 'id4']
