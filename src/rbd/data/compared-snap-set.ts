import { Extents } from '../../base/extents.ts'
import type { ByteExtent, CloneInfo, SnapId, SnapSet } from '../../rados/io-ctx.ts'

/** Bytes are compared in blocks of this size. */
const BLOCK = 4096

/**
 * What list-snaps would say of an object at some snapshots, found by comparing its contents: for clusters whose driver has no list-snaps.
 *
 * @param snaps ascending
 * @param read the object at a snapshot, undefined where it does not exist; at most two results are used at a time
 */
export async function compareSnapshots(
  snaps: readonly SnapId[],
  read: (snap: SnapId) => Promise<Buffer | undefined>,
): Promise<SnapSet | undefined> {
  const clones: CloneInfo[] = []
  let before: Buffer | undefined
  for (const snap of snaps) {
    const data = snap === 0n ? undefined : await read(snap)
    if (data) {
      const older = clones.at(-1)
      // one that was removed in between shares nothing
      if (older && before) older.overlap = commonExtents(before, data)
      clones.push({ id: snap, snaps: [snap], overlap: [], size: data.length })
    }
    before = data
  }
  return clones.length > 0 ? { seq: snaps.at(-1)!, clones } : undefined
}

function commonExtents(a: Buffer, b: Buffer): ByteExtent[] {
  const common = new Extents()
  const length = Math.min(a.length, b.length)
  for (let at = 0; at < length; at += BLOCK) {
    const end = Math.min(at + BLOCK, length)
    if (a.compare(b, at, end, at, end) === 0) common.add(at, end)
  }
  return common.toArray().map(([start, end]) => [start, end - start])
}
