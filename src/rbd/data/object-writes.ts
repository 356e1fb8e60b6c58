import { Extents } from '../../base/extents.ts'
import type { ByteExtent } from '../../rados/io-ctx.ts'
import { WriteOperation } from '../../rados/operation.ts'
import { nonZeroRuns, ZERO_BLOCK } from './zero-runs.ts'

/** Shorter holes within data are written as zeros: each hole costs the OSD one more step. */
const smallestHole = 4 * ZERO_BLOCK
/** What lies between two changed parts is read with them if it is not longer: cheaper than one more step. */
const readGap = 4096
/** More parts than this are drawn together, unchanged bytes between them included. */
const maxParts = 512

/** One operation on one object of the destination. */
export interface ObjectWrite {
  /** undefined: the object is to be removed */
  operation: WriteOperation | undefined
  /** bytes of data in it */
  bytes: number
}

/** A part of a snapshot's object as it was read; `data` is shorter than asked for at the object's end. */
export interface ReadPart {
  offset: number
  data: Buffer
}

/**
 * Makes an object out of its data, whatever it was before. Zeros stay holes; without any data the object goes, or becomes an empty one
 * with `keepEmpty` (one that hides a clone's parent).
 */
export function writeWhole(data: Buffer, keepEmpty: boolean): ObjectWrite {
  const runs = nonZeroRuns(data, 0, smallestHole)
  const first = runs[0]
  if (!first) return { operation: keepEmpty ? new WriteOperation().create(false).truncate(0) : undefined, bytes: 0 }
  if (runs.length === 1 && first[0] === 0) return { operation: new WriteOperation().writeFull(data.subarray(0, first[1])), bytes: first[1] }
  const operation = new WriteOperation().truncate(0)
  let bytes = 0
  for (const [start, end] of runs) {
    operation.write(start, data.subarray(start, end))
    bytes += end - start
  }
  return { operation, bytes }
}

/** Changes parts of an object that is as the source's was before; `size` is its end, if that is not the end of what an object may hold. */
export function writeParts(
  parts: readonly ReadPart[],
  extents: Extents,
  size: number | undefined,
  guard: boolean,
): ObjectWrite & { onlyZeros: boolean } {
  const operation = new WriteOperation()
  if (guard) operation.assertExists()
  if (size !== undefined) operation.truncate(size)
  let bytes = 0
  let index = 0
  for (const [start, end] of extents) {
    while (parts[index + 1] && parts[index + 1]!.offset <= start) index++
    const { offset, data } = parts[index]!
    const piece = data.subarray(start - offset, end - offset)
    let at = 0
    for (const [from, to] of nonZeroRuns(piece, start, smallestHole)) {
      if (from > at) operation.zero(start + at, from - at)
      operation.write(start + from, piece.subarray(from, to))
      bytes += to - from
      at = to
    }
    if (start + at < end) operation.zero(start + at, end - start - at)
  }
  return { operation, bytes, onlyZeros: bytes === 0 }
}

/** Draws extents together until there are few enough for one operation. */
export function coalesce(extents: Extents): Extents {
  let result = extents
  for (let gap = readGap; result.toArray().length > maxParts; gap *= 2) result = withoutGaps(result, gap)
  return result
}

/** What to read for these extents: neighbours with little between them in one piece. */
export function readPieces(extents: Extents): ByteExtent[] {
  return withoutGaps(extents, readGap).toArray().map(([start, end]) => [start, end - start])
}

function withoutGaps(extents: Extents, gap: number): Extents {
  const ranges = extents.toArray()
  const result = new Extents()
  for (const [index, [start, end]] of ranges.entries()) {
    const next = ranges[index + 1]
    result.add(start, next && next[0] - end <= gap ? next[0] : end)
  }
  return result
}
