import { FEATURES_IMPLICIT_ENABLE } from '../features.ts'
import type { Image } from '../image.ts'
import { listMetadata } from '../operations/metadata.ts'
import { getSnapshotLimit } from '../operations/snapshot-edit.ts'
import type { ImageState } from './image-state.ts'

/** Metadata that no other cluster has a use for (librbd/image/GetMetadataRequest.cc). */
const internalKeyPrefix = '.rbd'

/** The image state of a primary's head, as its next mirror-snapshot is to carry it (librbd/mirror/snapshot/SetImageStateRequest.cc). */
export async function captureImageState(image: Image): Promise<ImageState> {
  const { name, features, snapshots } = image.header
  const [snapLimit, metadata] = await Promise.all([getSnapshotLimit(image), listMetadata(image.io, image.id)])
  const userSnapshots = snapshots.filter(({ namespace }) => namespace.type === 'user').toReversed()
  return {
    name,
    features: features & ~FEATURES_IMPLICIT_ENABLE,
    snapLimit,
    snapshots: new Map(userSnapshots.map(({ id, namespace, name: snapshotName, protection }) => [id, { namespace, name: snapshotName, protection }])),
    metadata: new Map([...metadata].filter(([key]) => !key.startsWith(internalKeyPrefix))),
  }
}
