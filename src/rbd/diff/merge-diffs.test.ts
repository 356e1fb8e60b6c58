import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DiffRefused } from './apply-diff.ts'
import { ByteReader } from './byte-reader.ts'
import { DIFF_BANNERS, DiffTag, extentRecord, sizeRecord, snapNameRecord } from './format.ts'
import { mergeDiffs } from './merge-diffs.ts'

interface Diff {
  from: string
  to: string
  size: number
  /** in order; of one byte's value, or zeros where that is 0 */
  extents: { offset: number; length: number; value: number }[]
}

function encode({ from, to, size, extents }: Diff): Buffer {
  const parts = [Buffer.from(DIFF_BANNERS[1])] as Buffer[]
  if (from !== '') parts.push(snapNameRecord(1, DiffTag.fromSnap, from))
  if (to !== '') parts.push(snapNameRecord(1, DiffTag.toSnap, to))
  parts.push(sizeRecord(1, size))
  for (const { offset, length, value } of extents) {
    parts.push(extentRecord(1, value !== 0, offset, length))
    if (value !== 0) parts.push(Buffer.alloc(length, value))
  }
  return Buffer.concat([...parts, Buffer.of(DiffTag.end)])
}

function readerOf(bytes: Buffer): ByteReader {
  let at = 0
  return new ByteReader((length) => Promise.resolve(bytes.subarray(at, (at += length))))
}

async function merge(first: Buffer, second: Buffer): Promise<Buffer> {
  const parts: Buffer[] = []
  await mergeDiffs(readerOf(first), readerOf(second), (bytes) => Promise.resolve(void parts.push(bytes)))
  return Buffer.concat(parts)
}

/** What an image becomes; 0xff where nobody has said anything. */
function apply(image: Buffer, bytes: Buffer): Buffer {
  let at = DIFF_BANNERS[1].length
  for (;;) {
    const tag = bytes[at++]
    if (tag === DiffTag.end) return image
    if (tag === DiffTag.fromSnap || tag === DiffTag.toSnap) at += 4 + bytes.readUInt32LE(at)
    else if (tag === DiffTag.size) {
      const size = Number(bytes.readBigUInt64LE(at))
      image = Buffer.concat([image.subarray(0, size), Buffer.alloc(Math.max(0, size - image.length))])
      at += 8
    } else {
      const [offset, length] = [Number(bytes.readBigUInt64LE(at)), Number(bytes.readBigUInt64LE(at + 8))]
      at += 16
      if (tag === DiffTag.write) at += bytes.copy(image, offset, at, at + length)
      else image.fill(0, offset, offset + length)
    }
  }
}

const size = fc.integer({ min: 1, max: 60 })
const diffOf = (from: string, to: string) =>
  fc.tuple(size, fc.array(fc.tuple(fc.integer({ min: 0, max: 8 }), fc.integer({ min: 1, max: 20 }), fc.integer({ min: 0, max: 9 })), { maxLength: 6 })).map(([bytes, some]): Diff => {
    const extents: Diff['extents'] = []
    let at = 0
    for (const [gap, length, value] of some) {
      const offset = at + gap
      at = offset + length
      if (at <= bytes) extents.push({ offset, length, value })
    }
    return { from, to, size: bytes, extents }
  })

describe('two diffs made one', () => {
  it('do what they do one after the other', async () => {
    await fc.assert(
      fc.asyncProperty(size, diffOf('a', 'b'), diffOf('b', 'c'), async (before, first, second) => {
        const image = () => Buffer.alloc(before, 0xff)
        const [a, b] = [encode(first), encode(second)]
        expect(apply(image(), await merge(a, b))).toEqual(apply(apply(image(), a), b))
      }),
    )
  })

  it('that are cut short are refused, and it is said where', async () => {
    const extents = [{ offset: 2, length: 5, value: 1 }]
    const [a, b] = [encode({ from: '', to: 'b', size: 9, extents }), encode({ from: 'b', to: '', size: 9, extents: [{ offset: 3, length: 2, value: 2 }] })]
    for (let length = 0; length < a.length; length++) {
      await expect(merge(a.subarray(0, length), b)).rejects.toThrow(new RegExp(`^rbd: failed to .* first diff.*: the file ends here \\(byte ${length}\\)$|^rbd: failed to merge diff chunk: .*\\(byte ${length}\\)$`))
    }
    for (let length = 0; length < b.length; length++) {
      await expect(merge(a, b.subarray(0, length))).rejects.toThrow(new RegExp(`^rbd: failed to .*: the file ends here \\(byte ${length}\\)$`))
    }
  })

  it('have to follow one another, and be in order', async () => {
    const diff = (from: string, to: string, extents: Diff['extents'] = []) => encode({ from, to, size: 20, extents })
    await expect(merge(diff('', 'a'), diff('b', ''))).rejects.toThrow(DiffRefused)
    const backwards = diff('', 'a', [{ offset: 9, length: 1, value: 1 }, { offset: 5, length: 1, value: 1 }])
    await expect(merge(backwards, diff('a', ''))).rejects.toThrow('rbd: out-of-order offset from first diff (10 > 5)')
    await expect(merge(diff('', 'a', [{ offset: 9, length: 0, value: 1 }]), diff('a', ''))).rejects.toThrow('an extent of nothing')
  })
})
