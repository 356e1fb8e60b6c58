import { randomFillSync } from 'node:crypto'
import type { LibrbdImage } from '../support/librbd.ts'
import { MIB } from './run.ts'

/** Runs `task` for every item, so many at once. */
export async function inParallel<T>(items: Iterable<T>, limit: number, task: (item: T) => Promise<void>): Promise<void> {
  const iterator = items[Symbol.iterator]()
  const worker = async () => {
    for (let next = iterator.next(); !next.done; next = iterator.next()) await task(next.value)
  }
  await Promise.all(Array.from({ length: limit }, worker))
}

/** Fills an image with data that does not compress and differs from block to block. */
export async function fill(image: LibrbdImage, size: number): Promise<void> {
  const random = randomFillSync(Buffer.allocUnsafe(8 * MIB))
  const offsets = Array.from({ length: Math.ceil(size / (4 * MIB)) }, (_, index) => index * 4 * MIB)
  await inParallel(offsets, 8, (offset) => {
    const from = (offset / (4 * MIB) * 4099) % (4 * MIB)
    return image.write(offset, random.subarray(from, from + Math.min(4 * MIB, size - offset)))
  })
  await image.flush()
}

/** Rewrites `count` distinct random aligned blocks; returns the bytes written. */
export async function rewriteBlocks(image: LibrbdImage, size: number, blockSize: number, count: number): Promise<number> {
  const slots = Math.floor(size / blockSize)
  const chosen = new Set<number>()
  while (chosen.size < Math.min(count, slots)) chosen.add(Math.floor(Math.random() * slots))
  const random = randomFillSync(Buffer.allocUnsafe(blockSize + 4096))
  await inParallel(chosen, 16, (slot) => {
    const from = slot % 4096
    return image.write(slot * blockSize, random.subarray(from, from + blockSize))
  })
  await image.flush()
  return chosen.size * blockSize
}
