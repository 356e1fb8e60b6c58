import * as rbd from '../../../src/cls/rbd/client.ts'
import { WriteOperation } from '../../../src/rados/operation.ts'
import type { Choices } from '../class-comparison.ts'
import { type ObjectKind, noneOf, call, exec, ids } from './shared.ts'

/* Objects with data: ids, object maps, an image's data. */

export const imageId: ObjectKind = {
  name: 'image id',
  readsData: true,
  calls: [(choices) => call(rbd.setId, { id: choices.pick(ids) }), () => call(rbd.getId, noneOf)],
}


// --- object maps ---

const mapSizes = [0, 1, 3, 4, 5, 17, 40, 16_383, 16_384, 16_385, 40_000]

/** A vector without sums, as clients send it. */
function bitVector(choices: Choices, count: number): Buffer {
  const states = choices.chance(0.5) ? choices.bytes(Math.ceil(count / 4)) : Buffer.alloc(Math.ceil(count / 4), 0x55)
  const header = Buffer.alloc(18)
  header.writeUInt32LE(14, 0)
  header.writeUInt8(1, 4)
  header.writeUInt8(1, 5)
  header.writeUInt32LE(8, 6)
  header.writeBigUInt64LE(BigInt(count), 10)
  return Buffer.concat([header, states, Buffer.alloc(4)])
}
/** Made once: the arguments are asked for twice. */
const withVector = (choices: Choices) => ({ bitVector: bitVector(choices, choices.pick(mapSizes)) })

export const objectMap: ObjectKind = {
  name: 'object map',
  readsData: true,
  start: (choices) => [exec(choices.chance(0.5) ? call(rbd.objectMapSave, withVector(choices)) : call(rbd.objectMapResize, { objectCount: choices.pick(mapSizes), defaultState: choices.int(4) }))],
  calls: [
    (choices) => call(rbd.objectMapSave, withVector(choices)),
    () => call(rbd.objectMapLoad, noneOf),
    (choices) => call(rbd.objectMapResize, { objectCount: choices.pick([...mapSizes, 256_000_001]), defaultState: choices.pick([0, 0, 1, 2, 3, 5]) }),
    ...[0, 1, 2].map(() => (choices: Choices) => {
      const start = choices.pick([0, 1, 2, 5, 16_000, 16_383, 16_384, 33_000])
      return call(rbd.objectMapUpdate, {
        start,
        end: start + choices.pick([0, 1, 1, 3, 7, 390, 17_000]),
        newState: choices.pick([0, 1, 2, 3, 6]),
        currentState: choices.pick([undefined, 0, 1, 2, 3]),
      })
    }),
    () => call(rbd.objectMapSnapAdd, noneOf),
    (choices) => call(rbd.objectMapSnapRemove, withVector(choices)),
  ],
  extra: [
    // damage
    (choices) => {
      const at = choices.pick([0, 3, 10, 18, 20, 30])
      const byte = choices.bytes(1)
      return { type: 'prepare', run: (io, oid) => io.write(oid, new WriteOperation().write(at, byte)) }
    },
    (choices) => {
      // of a map that ends with its header an OSD makes up the rest from what is in its memory
      const size = choices.pick([0, 5, 25])
      return { type: 'prepare', run: (io, oid) => io.write(oid, new WriteOperation().truncate(size)) }
    },
  ],
}

// --- data objects ---

export const data: ObjectKind = {
  name: 'data',
  readsData: true,
  calls: [
    (choices) => call(rbd.copyup, { data: choices.bytes(choices.int(40)) }),
    (choices) => {
      // none of length 0: it lets an OSD think that the object is damaged, and reads of it never end
      const extents = new Map(choices.some([[0, 4] as const, [100, 3] as const, [40, 8] as const]))
      return call(rbd.sparseCopyup, { extents, data: choices.bytes(choices.pick([15, 15, 6])) })
    },
    (choices) => call(rbd.assertSnapcSeq, { seq: BigInt(choices.int(8)), state: choices.pick(['greater-than-snapset-seq', 'at-most-snapset-seq'] as const) }),
    (choices) => call(rbd.sparsify, { sparseSize: choices.pick([1, 4, 8, 4096]), removeEmpty: choices.chance(0.5) }),
  ],
  extra: [
    (choices) => {
      const content = Buffer.alloc(choices.pick([8, 64, 100]))
      for (const at of choices.some([0, 1, 9, 31, 32, 63, 99])) if (at < content.length) content[at] = 7
      return { type: 'prepare', run: (io, oid) => io.write(oid, new WriteOperation().writeFull(content)) }
    },
    (choices) => {
      const seq = BigInt(choices.int(5) + 1)
      return {
        type: 'prepare',
        async run(io, oid) {
          const under = io.duplicate({ snapContext: { seq, snaps: [seq] } })
          try {
            await under.write(oid, new WriteOperation().write(0, Buffer.from('under a snapshot')))
          } finally {
            under.close()
          }
        },
      }
    },
    () => ({ type: 'prepare', run: (io, oid) => io.remove(oid) }),
  ],
}
