import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { decode, encode } from '../../encoding/codec.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { ReadResults, type ReadOperation, type WriteOperation } from '../../rados/operation.ts'
import { encodeImageState, ImageState, imageStateObjectName, readImageState, removeImageState, writeImageState } from './image-state.ts'

/** The one object of an image state that `rbd mirror image snapshot` of 16.2.15 wrote. */
const recorded = readFileSync(new URL('../../../test/vectors/librbd::mirror::snapshot::ImageState/16.2.15-object-with-header', import.meta.url))

/** The objects of one pool, as far as image states need them. */
function fakePool(objects = new Map<string, Buffer>()): { io: IoCtx; objects: Map<string, Buffer> } {
  const get = (oid: string) => {
    const data = objects.get(oid)
    if (!data) throw new RadosError(Errno.ENOENT, { op: 'read', oid })
    return data
  }
  const io = {
    read: async (oid: string, { steps }: ReadOperation) => {
      const data = get(oid)
      return new ReadResults(
        steps.map((step) => (step.type === 'stat' ? { size: data.length, mtime: 0 } : step.type === 'read' ? data.subarray(step.offset, step.offset + step.length) : undefined)),
        1n,
      )
    },
    readData: async (oid: string, offset: number, length: number) => get(oid).subarray(offset, offset + length),
    write: async (oid: string, { steps }: WriteOperation) => {
      const [step] = steps
      if (step?.type === 'writeFull') objects.set(oid, step.data)
      return 1n
    },
    remove: async (oid: string) => {
      get(oid)
      objects.delete(oid)
    },
  } as unknown as IoCtx
  return { io, objects }
}

const state: ImageState = {
  name: 'g48631-',
  features: 61n,
  snapLimit: 7n,
  snapshots: new Map(),
  metadata: new Map([['owner', Buffer.from('somebody')]]),
}

describe('image state', () => {
  it('reads what librbd wrote, and writes it byte for byte', async () => {
    const { io, objects } = fakePool(new Map([[imageStateObjectName('id', 14n, 0), recorded]]))
    const read = await readImageState(io, 'id', 14n)
    expect(read).toMatchObject({ snapLimit: 7n, metadata: new Map([['owner', Buffer.from('somebody')]]) })
    expect([...read.snapshots]).toEqual([
      [12n, { namespace: { type: 'user' }, name: 'one', protection: 'unprotected' }],
      [13n, { namespace: { type: 'user' }, name: 'two', protection: 'protected' }],
    ])
    await writeImageState(io, 'id', 15n, read)
    expect(objects.get(imageStateObjectName('id', 15n, 0))).toEqual(recorded)
  })

  it('is malformed when it is cut off anywhere', async () => {
    for (let length = 0; length < recorded.length; length++) {
      const { io } = fakePool(new Map([[imageStateObjectName('id', 14n, 0), recorded.subarray(0, length)]]))
      await expect(readImageState(io, 'id', 14n)).rejects.toBeInstanceOf(MalformedInput)
    }
  })

  it('is malformed when it announces no objects, or absurdly many', async () => {
    for (const count of [0, 100_000]) {
      const bytes = Buffer.from(recorded)
      bytes.writeUInt32LE(count, 6)
      const { io } = fakePool(new Map([[imageStateObjectName('id', 14n, 0), bytes]]))
      await expect(readImageState(io, 'id', 14n)).rejects.toThrow(`${count} objects announced`)
    }
  })

  it('is spread over objects of which the first tells how many there are', () => {
    const large = { ...state, metadata: new Map([['key', Buffer.alloc(1000, 'x')]]) }
    const chunks = encodeImageState(large, 300)
    expect(chunks.slice(0, -1).every(({ length }) => length === 300)).toBe(true)
    expect(chunks[0]!.readUInt32LE(6)).toBe(chunks.length)
    expect(decode(ImageState, Buffer.concat(chunks).subarray(10), 'state')).toEqual(large)
  })

  it('has an empty last object where librbd has one', () => {
    const length = 10 + encode(ImageState, state).length
    expect(encodeImageState(state, length).map((chunk) => chunk.length)).toEqual([length, 0])
  })

  it('comes back whole from several objects, and goes whole', async () => {
    const { io, objects } = fakePool()
    const large = { ...state, metadata: new Map([['key', Buffer.alloc(9 * 2 ** 20, 'x')]]) }
    await writeImageState(io, 'id', 3n, large)
    expect([...objects.keys()].sort()).toEqual([0, 1, 2].map((index) => `rbd_mirror_snapshot.id.3.${index}`))
    const read = await readImageState(io, 'id', 3n)
    expect(read.metadata.get('key')!.equals(large.metadata.get('key')!)).toBe(true)
    await removeImageState(io, 'id', 3n)
    expect(objects.size).toBe(0)
    await removeImageState(io, 'id', 3n)
  })

  it('is removed also when it can not be read', async () => {
    const { io, objects } = fakePool(new Map([[imageStateObjectName('id', 3n, 0), Buffer.from('junk')]]))
    await removeImageState(io, 'id', 3n)
    expect(objects.size).toBe(0)
  })
})
