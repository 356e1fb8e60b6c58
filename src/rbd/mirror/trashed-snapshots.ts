import type { Image } from '../image.ts'
import { removeSnapshot } from '../operations/snapshot-remove.ts'

/** Mirror-snapshots whose removal was cut short are in the trash, in which nobody else looks for them. */
export async function removeTrashedMirrorSnapshots(image: Image, signal: AbortSignal | undefined): Promise<void> {
  for (const { id, namespace, childCount } of [...image.header.snapshots]) {
    if (namespace.type === 'trash' && namespace.originalType === 'mirror' && childCount === 0) await removeSnapshot(image, id, { signal })
  }
}
