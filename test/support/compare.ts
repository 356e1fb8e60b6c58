import { createHash } from 'node:crypto'
import type { LibrbdClient, LibrbdImage } from './librbd.ts'
import { latestPrimarySnapshot } from './mirroring.ts'

const CHUNK = 4 * 2 ** 20

export interface Difference {
  readonly offset: number
  readonly length: number
}

/**
 * Compares the primary's mirror-snapshot with the replica's head, byte for byte, wherever either holds data. (The replica's
 * own mirror-snapshot is made before the copy: it holds the state before.) Throws telling the first differences.
 */
export async function expectSameContent(
  primary: LibrbdClient,
  secondary: LibrbdClient,
  image: string,
  options: { snapshot?: bigint; replica?: string } = {},
): Promise<void> {
  const snapshot = options.snapshot ?? (await latestPrimarySnapshot(primary, image)).id
  const replica = options.replica ?? image
  await primary.with(image, 'read-only', (source) =>
    secondary.with(replica, 'read-only', async (copy) => {
      await source.setSnapshot(snapshot)
      const differences = await compareImages(source, copy)
      if (differences.length > 0) {
        const places = differences.slice(0, 8).map(({ offset, length }) => `${offset}+${length}`)
        throw new Error(`${replica} differs from ${image}@${snapshot} in ${differences.length} places, first: ${places.join(', ')}`)
      }
    }),
  )
}

/** Ranges in which two opened images differ; different sizes count as a difference at the end. */
export async function compareImages(left: LibrbdImage, right: LibrbdImage): Promise<Difference[]> {
  const [leftSize, rightSize] = [await left.size(), await right.size()]
  const differences: Difference[] = []
  if (leftSize !== rightSize)
    differences.push({ offset: Math.min(leftSize, rightSize), length: Math.abs(leftSize - rightSize) })
  const size = Math.min(leftSize, rightSize)
  const [a, b] = [Buffer.allocUnsafe(CHUNK), Buffer.allocUnsafe(CHUNK)]
  for (const offset of chunksWithData([...(await left.allocated()), ...(await right.allocated())], size)) {
    const length = Math.min(CHUNK, size - offset)
    const [x, y] = [a.subarray(0, length), b.subarray(0, length)]
    await Promise.all([left.read(offset, x), right.read(offset, y)])
    if (!x.equals(y)) differences.push(firstDifference(x, y, offset))
  }
  return differences
}

/** A digest of an opened image's contents that does not depend on how holes are stored. */
export async function contentDigest(image: LibrbdImage): Promise<string> {
  const size = await image.size()
  const hash = createHash('sha256').update(`${size}`)
  const buffer = Buffer.allocUnsafe(CHUNK)
  const zeros = Buffer.alloc(CHUNK)
  for (const offset of chunksWithData(await image.allocated(), size)) {
    const chunk = buffer.subarray(0, Math.min(CHUNK, size - offset))
    await image.read(offset, chunk)
    if (!chunk.equals(zeros.subarray(0, chunk.length))) hash.update(`${offset}:`).update(chunk)
  }
  return hash.digest('hex')
}

function chunksWithData(extents: readonly (readonly [offset: number, length: number])[], size: number): number[] {
  const chunks = new Set<number>()
  for (const [offset, length] of extents)
    for (let chunk = Math.floor(offset / CHUNK) * CHUNK; chunk < Math.min(offset + length, size); chunk += CHUNK) chunks.add(chunk)
  return [...chunks].sort((x, y) => x - y)
}

function firstDifference(x: Buffer, y: Buffer, offset: number): Difference {
  let start = 0
  while (x[start] === y[start]) start++
  let end = x.length
  while (x[end - 1] === y[end - 1]) end--
  return { offset: offset + start, length: end - start }
}
