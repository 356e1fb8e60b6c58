/** Zeros are looked for in blocks of this size, aligned within the object: what block stores allocate. */
export const ZERO_BLOCK = 4096

const zeroBlock = Buffer.alloc(ZERO_BLOCK)

/**
 * The parts of `buffer` that are not zeros, as [start, end) within it, in order. Blocks of zeros between data are left in when they are
 * shorter than `smallestHole` bytes; zeros at both ends are always left out.
 * @param phase offset of the buffer's first byte within its object
 */
export function nonZeroRuns(buffer: Buffer, phase: number, smallestHole: number): [start: number, end: number][] {
  const runs: [number, number][] = []
  const { length } = buffer
  let last: [number, number] | undefined
  for (let at = 0; at < length; ) {
    const end = Math.min(length, at + ZERO_BLOCK - ((phase + at) % ZERO_BLOCK))
    // most data shows in a block's first bytes; only a block that begins with zeros is compared whole
    const data =
      buffer[at] !== 0 || buffer[(at + end) >>> 1] !== 0 || buffer.compare(zeroBlock, 0, end - at, at, end) !== 0
    if (data) {
      if (last && at - last[1] < smallestHole) last[1] = end
      else runs.push((last = [at, end]))
    }
    at = end
  }
  return runs
}
