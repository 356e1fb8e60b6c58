import { bool, bytes, map, rest, size, u64, u8 } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno } from '../../../rados/errors.ts'
import { atMostSafe, refused, unlessMissing } from '../../server-method.ts'
import { write } from './shared.ts'

/* An image's data objects. */

const copyup = write('copyup', rest, async (object, data) => {
  if (!(await unlessMissing(object.stat()))) object.write(0, data)
})

const sparseCopyup = write('sparse_copyup', fields({ extents: map(size, size), data: bytes }), async (object, { extents, data }) => {
  if (await unlessMissing(object.stat())) return
  if (extents.size === 0) object.create(true)
  let from = 0
  for (const [offset, length] of [...extents].sort(([a], [b]) => a - b)) {
    if (from + length > data.length) throw refused(Errno.EINVAL, 'the extents are longer than the data')
    object.write(offset, data.subarray(from, from + length))
    from += length
  }
})

const GREATER_THAN_SNAPSET_SEQ = 0
const AT_MOST_SNAPSET_SEQ = 1

const assertSnapcSeq = write('assert_snapc_seq', fields({ seq: u64, state: u8 }), async (object, { seq, state }) => {
  const newest = await unlessMissing(object.snapSetSeq())
  const isGreater = newest === undefined || seq > newest
  if (state !== GREATER_THAN_SNAPSET_SEQ && state !== AT_MOST_SNAPSET_SEQ) throw refused(Errno.EOPNOTSUPP, `${state} is no assertion`)
  if (isGreater !== (state === GREATER_THAN_SNAPSET_SEQ)) throw refused(Errno.ERANGE, `the newest snapshot of the object is ${newest}`)
})

/** Frees what is zero in units of `sparseSize` bytes, by writing the object anew without it. */
const sparsify = write('sparsify', fields({ sparseSize: atMostSafe, removeEmpty: bool }), async (object, { sparseSize, removeEmpty }) => {
  const { size } = await object.stat()
  if (sparseSize === 0) throw refused(Errno.EINVAL, 'a unit can not be empty')
  const data = await object.read(0, size)
  const extents = nonZeroExtents(data, sparseSize)
  if (extents.length === 0) {
    if (removeEmpty) object.remove()
    else if (size > 0) object.truncate(0)
    return
  }
  if (extents.length === 1 && extents[0]![1] === data.length) return
  object.truncate(0)
  for (const [offset, length] of extents) object.write(offset, data.subarray(offset, offset + length))
})

function nonZeroExtents(data: Buffer, unit: number): [offset: number, length: number][] {
  const zeros = Buffer.alloc(Math.min(unit, data.length))
  const extents: [number, number][] = []
  for (let at = 0; at < data.length; at += unit) {
    const length = Math.min(unit, data.length - at)
    if (data.compare(zeros, 0, length, at, at + length) === 0) continue
    const last = extents.at(-1)
    if (last && last[0] + last[1] === at) last[1] += length
    else extents.push([at, length])
  }
  return extents
}

export const dataMethods: readonly ServerMethod[] = [copyup, sparseCopyup, assertSnapcSeq, sparsify]
