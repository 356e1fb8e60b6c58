import type { GroupSpec, SnapshotNamespace } from '../cls/rbd/types.ts'
import type { UTime } from '../encoding/codec.ts'
import type { SnapContext, SnapId } from '../rados/io-ctx.ts'

/** Where a clone's unwritten data comes from, and how many bytes from the image's start are still backed by it. */
export interface ImageParent {
  poolId: bigint
  poolNamespace: string
  imageId: string
  snapId: SnapId
  /** bytes; undefined when the head is no longer backed by the parent (flattened) while a snapshot still is */
  overlap: number | undefined
}

export type Protection = 'unprotected' | 'unprotecting' | 'protected'

/** One snapshot of an image, of any namespace. */
export interface ImageSnapshot {
  id: SnapId
  namespace: SnapshotNamespace
  name: string
  /** bytes */
  size: number
  /** FLAG_* of features.ts */
  flags: bigint
  protection: Protection
  timestamp: UTime
  /** children of format v2 */
  childCount: number
  /** bytes backed by the parent, undefined for none */
  parentOverlap: number | undefined
}

/** What an image's header object says at one moment. */
export interface ImageHeader {
  id: string
  /** from rbd_directory, or from the trash's entry */
  name: string
  inTrash: boolean
  /** bytes */
  size: number
  /** log2 of the object size */
  order: number
  features: bigint
  opFeatures: bigint
  /** of the head: FLAG_* of features.ts */
  flags: bigint
  /** bytes; equal to the object size without fancy striping */
  stripeUnit: number
  /** 1 without fancy striping */
  stripeCount: number
  /** data objects are `objectPrefix.%016x` */
  objectPrefix: string
  /** pool of the data objects where it is another than the header's */
  dataPoolId: bigint | undefined
  parent: ImageParent | undefined
  /** newest first, as in the snap context */
  snapshots: ImageSnapshot[]
  snapContext: SnapContext
  createTimestamp: UTime
  accessTimestamp: UTime
  modifyTimestamp: UTime
  groupSpec: GroupSpec | undefined
  /** the state of a live migration, if one is under way */
  migrating: boolean
}
