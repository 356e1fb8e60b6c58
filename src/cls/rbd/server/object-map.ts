import { nothing, optional, rest, u64, u8 } from '../../../encoding/codec.ts'
import { Decoder } from '../../../encoding/decoder.ts'
import { Encoder } from '../../../encoding/encoder.ts'
import { MalformedInput } from '../../../encoding/malformed-input.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ObjectContext } from '../../../objclass/object-context.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno, RadosError } from '../../../rados/errors.ts'
import { refused, unlessMissing } from '../../server-method.ts'
import {
  BLOCK_LENGTH,
  blockSum,
  byteLength,
  decodeBitVector,
  decodeCount,
  encodeBitVector,
  getState,
  HEADER_LENGTH,
  setState,
  statesPerByte,
  sumOffset,
  type BitVector,
} from './bit-vector.ts'
import { read, write } from './shared.ts'

/* Object maps: what each object of an image, or of a snapshot, is (rbd_object_map.ID[.SNAP]). */

const EXISTS = 1
const EXISTS_CLEAN = 3
/** Larger maps than this are refused (MAX_OBJECT_MAP_OBJECT_COUNT). */
const MAX_OBJECTS = 256_000_000n

/** @throws EINVAL */
function decoded<T>(decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    if (error instanceof MalformedInput) throw new RadosError(Errno.EINVAL, { op: 'decode an object map', cause: error })
    throw error
  }
}

/** @throws ENOENT also for an empty object, EINVAL for a malformed map */
async function readMap(object: ObjectContext): Promise<BitVector> {
  const { size } = await object.stat()
  if (size === 0) throw refused(Errno.ENOENT, 'the object map is empty')
  const bytes = await object.read(0, size)
  return decoded(() => decodeBitVector(bytes, 'object map'))
}

const objectMapLoad = read('object_map_load', nothing, rest, async (object) => encodeBitVector({ ...(await readMap(object)), summed: false }))

const objectMapSave = write('object_map_save', rest, (object, input) => {
  const map = decoded(() => decodeBitVector(input, 'input of rbd.object_map_save'))
  object.writeFull(encodeBitVector({ ...map, summed: true }))
})

const objectMapResize = write('object_map_resize', fields({ objectCount: u64, defaultState: u8 }), async (object, args) => {
  if (args.objectCount > MAX_OBJECTS) throw refused(Errno.EINVAL, `an object map of ${args.objectCount} objects is too large`)
  const count = Number(args.objectCount)
  const before = (await unlessMissing(readMap(object))) ?? { count: 0, states: Buffer.alloc(0), summed: true }
  for (let index = count; index < before.count; index++) {
    if (getState(before.states, index) !== args.defaultState) throw refused(Errno.ESTALE, `object ${index} still exists`)
  }
  object.writeFull(encodeBitVector({ ...before, count, states: resizedStates(before, count, args.defaultState) }))
})

function resizedStates({ count: before, states }: BitVector, count: number, state: number): Buffer {
  const length = byteLength(count)
  if (count <= before) return states.subarray(0, length)
  const resized = Buffer.alloc(length, (state & 3) * 0b01010101)
  states.copy(resized)
  for (let index = before; index < states.length * statesPerByte && index < count; index++) setState(resized, index, state)
  // behind the last state the new bytes are zeros
  for (let index = Math.max(count, states.length * statesPerByte); index < length * statesPerByte; index++) setState(resized, index, 0)
  return resized
}

/** Reads and writes only the blocks that the objects' states lie in. */
const objectMapUpdate = write(
  'object_map_update',
  fields({ start: u64, end: u64, newState: u8, currentState: optional(u8) }),
  async (object, { start: first, end: beyond, newState, currentState }) => {
    await object.stat()
    const header = await object.read(0, HEADER_LENGTH)
    const count = decoded(() => decodeCount(new Decoder(header, 'object map')))
    if (first >= beyond || beyond > BigInt(count)) throw refused(Errno.ERANGE, `objects ${first} to ${beyond} of ${count}`)
    const [start, end] = [Number(first), Number(beyond)]
    const length = byteLength(count)
    const firstBlock = Math.floor((start >>> 2) / BLOCK_LENGTH)
    const blocks = Math.floor(((end - 1) >>> 2) / BLOCK_LENGTH) - firstBlock + 1
    const from = firstBlock * BLOCK_LENGTH
    const sums = await object.read(sumOffset(length, firstBlock), blocks * 4)
    const present = await object.read(HEADER_LENGTH + from, Math.min(blocks * BLOCK_LENGTH, length - from))
    if (present.length < Math.min(blocks * BLOCK_LENGTH, length - from)) throw refused(Errno.EINVAL, 'the object map is shorter than it says')
    for (let block = 0; block < blocks; block++) {
      if (sums.length < block * 4 + 4 || sums.readUInt32LE(block * 4) !== blockSum(present, block * BLOCK_LENGTH))
        throw refused(Errno.EINVAL, `the sum of block ${firstBlock + block} of the object map is wrong`)
    }

    let states: Buffer | undefined
    for (let index = start - from * statesPerByte; index < end - from * statesPerByte; index++) {
      const state = getState(present, index)
      if (state === newState || !isWanted(state, currentState)) continue
      states ??= Buffer.from(present)
      setState(states, index, newState)
    }
    if (!states) return
    object.write(HEADER_LENGTH + from, states)
    const encoder = new Encoder(blocks * 4)
    for (let block = 0; block < blocks; block++) encoder.u32(blockSum(states, block * BLOCK_LENGTH))
    object.write(sumOffset(length, firstBlock), encoder.finish())
  },
)

function isWanted(state: number, wanted: number | undefined): boolean {
  return wanted === undefined || state === wanted || (wanted === EXISTS && state === EXISTS_CLEAN)
}

const objectMapSnapAdd = write('object_map_snap_add', nothing, async (object) => {
  const map = await readMap(object)
  const states = changedStates(map, (state) => (state === EXISTS ? EXISTS_CLEAN : state))
  if (states) object.writeFull(encodeBitVector({ ...map, states }))
})

const objectMapSnapRemove = write('object_map_snap_remove', rest, async (object, input) => {
  const snapshot = decoded(() => decodeBitVector(input, 'input of rbd.object_map_snap_remove'))
  const map = await readMap(object)
  const states = changedStates(map, (state, index) =>
    state === EXISTS_CLEAN && (index >= snapshot.count || getState(snapshot.states, index) === EXISTS) ? EXISTS : state,
  )
  if (states) object.writeFull(encodeBitVector({ ...map, states }))
})

/** A copy with what `change` makes of each object's state; undefined when that is nothing new. Objects that do not exist stay as they are. */
function changedStates({ count, states }: BitVector, change: (state: number, index: number) => number): Buffer | undefined {
  let changed: Buffer | undefined
  for (let byte = 0; byte < states.length; byte++) {
    if (states[byte] === 0) continue
    const end = Math.min(count, (byte + 1) * statesPerByte)
    for (let index = byte * statesPerByte; index < end; index++) {
      const before = getState(states, index)
      const after = change(before, index)
      if (after === before) continue
      changed ??= Buffer.from(states)
      setState(changed, index, after)
    }
  }
  return changed
}

export const objectMapMethods: readonly ServerMethod[] = [
  objectMapLoad,
  objectMapSave,
  objectMapResize,
  objectMapUpdate,
  objectMapSnapAdd,
  objectMapSnapRemove,
]
