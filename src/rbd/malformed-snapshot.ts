import type { SnapshotInfo } from '../cls/rbd/types.ts'
import { MalformedInput } from '../encoding/malformed-input.ts'
import type { SnapId } from '../rados/io-ctx.ts'

/** A snapshot whose record in the image's header makes no sense, e.g. what a later release has written. */
export class MalformedSnapshot extends MalformedInput {
  constructor(
    readonly snapId: SnapId,
    cause: MalformedInput,
  ) {
    super(`snapshot ${snapId}`, cause.detail, { cause })
    this.name = 'MalformedSnapshot'
  }
}

/** Rejects with MalformedSnapshot where the answer can't be read. */
export function snapshotInfoOf(snapId: SnapId, read: () => SnapshotInfo): SnapshotInfo {
  try {
    return read()
  } catch (error) {
    throw error instanceof MalformedInput ? new MalformedSnapshot(snapId, error) : error
  }
}
