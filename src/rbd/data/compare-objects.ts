import { Extents } from '../../base/extents.ts'
import { xxhash64 } from '../../base/xxhash.ts'
import { Errno, isErrno, RadosError } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { ReadOperation } from '../../rados/operation.ts'

/** Bytes of one checksum: what is transferred when a single bit of them differs. */
const CHUNK = 64 * 1024
/** An object that is written while it is looked at is looked at again so often. */
const MAX_TRIES = 5

/** An object as a read context sees it. */
export interface ObjectView {
  io: IoCtx
  oid: string
}

export interface ObjectComparison {
  /** bytes; undefined where there is no object */
  leftSize: number | undefined
  rightSize: number | undefined
  /** where the bytes differ, in whole chunks; what an object does not have reads as zeros */
  differing: Extents
  /** bytes that the OSDs have read */
  bytesCompared: number
}

export interface CompareOptions {
  /** of the checksums: any number */
  seed: bigint
  /** bytes of one checksum */
  chunkSize?: number | undefined
  signal?: AbortSignal | undefined
}

/**
 * Compares two objects by checksums that their OSDs compute (xxhash64 per chunk), so that no data moves but of chunks that lie
 * at the end of one object and within the other. Rejects with RadosError, EAGAIN for an object that is written all the time.
 */
export async function compareObjects(left: ObjectView, right: ObjectView, options: CompareOptions): Promise<ObjectComparison> {
  for (let tries = 1; ; tries++) {
    const [leftSize, rightSize] = await Promise.all([sizeOf(left, options), sizeOf(right, options)])
    const [ours, theirs] = await Promise.all([sumsOf(left, leftSize ?? 0, options), sumsOf(right, rightSize ?? 0, options)])
    if (ours && theirs) {
      const differing = await difference(left, right, ours, theirs, options)
      return { leftSize, rightSize, differing, bytesCompared: ours.size + theirs.size }
    }
    if (tries === MAX_TRIES) throw new RadosError(Errno.EAGAIN, { op: 'compare objects', oid: right.oid })
  }
}

interface Sums {
  size: number
  /** one for each whole chunk */
  chunks: readonly bigint[]
  /** of what follows them */
  tail: bigint | undefined
}

async function sizeOf({ io, oid }: ObjectView, { signal }: CompareOptions): Promise<number | undefined> {
  const operation = new ReadOperation()
  const stat = operation.stat()
  try {
    return (await io.read(oid, operation, { signal })).get(stat).size
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

/** Undefined when the object no longer has that size. An OSD refuses (EINVAL) a range that is no whole number of chunks. */
async function sumsOf({ io, oid }: ObjectView, size: number, { seed, chunkSize = CHUNK, signal }: CompareOptions): Promise<Sums | undefined> {
  if (size === 0) return { size, chunks: [], tail: undefined }
  const whole = size - (size % chunkSize)
  const operation = new ReadOperation()
  const stat = operation.stat()
  const chunks = whole > 0 ? operation.checksum('xxhash64', seed, 0, whole, chunkSize) : undefined
  const tail = whole < size ? operation.checksum('xxhash64', seed, whole, size - whole, 0) : undefined
  try {
    const results = await io.read(oid, operation, { signal })
    if (results.get(stat).size !== size) return undefined
    return { size, chunks: chunks ? results.get(chunks) : [], tail: tail && results.get(tail)[0] }
  } catch (error) {
    if (isErrno(error, Errno.ENOENT, Errno.EINVAL)) return undefined
    throw error
  }
}

async function difference(left: ObjectView, right: ObjectView, ours: Sums, theirs: Sums, options: CompareOptions): Promise<Extents> {
  const differing = new Extents()
  const { chunkSize = CHUNK } = options
  const longest = Math.max(ours.size, theirs.size)
  for (let index = 0; index * chunkSize < longest; index++) {
    const start = index * chunkSize
    const end = Math.min(start + chunkSize, longest)
    const [a, b] = [sumOf(ours, index, options), sumOf(theirs, index, options)]
    const same = a && b && a.length === b.length ? a.sum === b.sum : await sameBytes(left, right, start, end - start)
    if (!same) differing.add(start, end)
  }
  return differing
}

/** The sum of one chunk, and how many bytes it is of; undefined for zeros that end where an object ends within the chunk. */
function sumOf({ size, chunks, tail }: Sums, index: number, { seed, chunkSize = CHUNK }: CompareOptions): { sum: bigint; length: number } | undefined {
  const chunk = chunks[index]
  if (chunk !== undefined) return { sum: chunk, length: chunkSize }
  if (index * chunkSize >= size) return { sum: sumOfZeros(seed, chunkSize), length: chunkSize }
  return tail === undefined ? undefined : { sum: tail, length: size % chunkSize }
}

let zeros: { seed: bigint; length: number; sum: bigint } | undefined

function sumOfZeros(seed: bigint, length: number): bigint {
  if (zeros?.seed !== seed || zeros.length !== length) zeros = { seed, length, sum: xxhash64(Buffer.alloc(length), seed) }
  return zeros.sum
}

async function sameBytes(left: ObjectView, right: ObjectView, offset: number, length: number): Promise<boolean> {
  const [a, b] = await Promise.all([readPadded(left, offset, length), readPadded(right, offset, length)])
  return a.equals(b)
}

async function readPadded({ io, oid }: ObjectView, offset: number, length: number): Promise<Buffer> {
  const padded = Buffer.alloc(length)
  try {
    const data = await io.readData(oid, offset, length)
    data.copy(padded)
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  return padded
}

/** A seed that nobody who chooses an image's data can know: sums of chosen data are not to collide. */
export function checksumSeed(random: { bytes(length: number): Buffer }): bigint {
  return random.bytes(8).readBigUInt64LE()
}
