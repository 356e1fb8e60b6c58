import * as rbd from '../cls/rbd/client.ts'
import { imageGroupGet, trashGet } from '../cls/rbd/pool-client.ts'
import type { GroupSpec, SnapshotNamespace } from '../cls/rbd/types.ts'
import type { Utime } from '../encoding/codec.ts'
import { Errno, isErrno, RadosError } from '../rados/errors.ts'
import { NO_SNAP, type IoCtx, type SnapContext, type SnapId } from '../rados/io-ctx.ts'
import { ReadOperation } from '../rados/operation.ts'
import { FEATURE_MIGRATING, FEATURE_STRIPINGV2, FEATURES_ALL, hasFeature } from './features.ts'
import { snapshotInfoOf } from './malformed-snapshot.ts'
import { headerName, RBD_DIRECTORY, RBD_TRASH } from './names.ts'

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
  timestamp: Utime
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
  createTimestamp: Utime
  accessTimestamp: Utime
  modifyTimestamp: Utime
  groupSpec: GroupSpec | undefined
  /** the state of a live migration, if one is under way */
  migrating: boolean
}

export interface LoadHeaderOptions {
  access: 'read-only' | 'write'
  /** what was loaded before, for what never changes */
  previous?: ImageHeader | undefined
  signal?: AbortSignal | undefined
}

/** Snapshots read in one operation; an image may have hundreds. */
const snapshotsPerOperation = 128
/** Snapshots that vanish between the reads make it begin again. */
const maxTries = 10

/**
 * Reads a header in two round trips, one when there are no snapshots. Rejects with RadosError: ENOENT when there is no such
 * image, ENOSYS when it has features that this program does not know.
 */
export async function loadHeader(io: IoCtx, id: string, options: LoadHeaderOptions): Promise<ImageHeader> {
  const named = loadName(io, id, options.signal)
  named.catch(() => undefined) // told below, unless the header itself fails first
  for (let tries = 1; ; tries++) {
    try {
      const core = await loadCore(io, id, options)
      const [striping, snapshots, name] = await Promise.all([
        loadStriping(io, id, core, options),
        loadSnapshots(io, id, core.snapContext.snaps, options.signal),
        named,
      ])
      return { ...core, ...striping, ...name, snapshots }
    } catch (error) {
      const vanished = error instanceof SnapshotVanished
      if (!vanished || tries === maxTries) throw vanished ? error.cause : error
    }
  }
}

class SnapshotVanished extends Error {}

type Core = Omit<ImageHeader, 'name' | 'inTrash' | 'stripeUnit' | 'stripeCount' | 'snapshots'>

async function loadCore(io: IoCtx, id: string, { access, signal }: LoadHeaderOptions): Promise<Core> {
  const oid = headerName(id)
  const head = { snapId: NO_SNAP }
  const op = new ReadOperation()
  const size = rbd.getSize.step(op, head)
  const features = rbd.getFeatures.step(op, { snapId: NO_SNAP, readOnly: access === 'read-only' })
  const flags = rbd.getFlags.step(op, head)
  const snapContext = rbd.getSnapcontext.step(op)
  const parent = rbd.parentGet.step(op)
  const overlap = rbd.parentOverlapGet.step(op, head)
  const prefix = rbd.getObjectPrefix.step(op)
  const created = rbd.getCreateTimestamp.step(op)
  const accessed = rbd.getAccessTimestamp.step(op)
  const modified = rbd.getModifyTimestamp.step(op)
  const dataPool = rbd.getDataPool.step(op)
  const opFeatures = rbd.opFeaturesGet.step(op)
  const group = imageGroupGet.step(op)
  const results = await io.read(oid, op, { signal })

  const known = rbd.getFeatures.result(results, features)
  if ((known.incompatible & ~FEATURES_ALL) !== 0n) {
    const { clusterName: cluster, poolName: pool, namespace } = io
    throw new RadosError(Errno.ENOSYS, { op: `open image with unknown features ${known.incompatible & ~FEATURES_ALL}`, cluster, pool, namespace, oid })
  }
  const { order, size: bytes } = rbd.getSize.result(results, size)
  const parentSpec = rbd.parentGet.result(results, parent)
  const dataPoolId = rbd.getDataPool.result(results, dataPool)
  const groupSpec = imageGroupGet.result(results, group)
  return {
    id,
    size: bytes,
    order,
    features: known.features,
    opFeatures: rbd.opFeaturesGet.result(results, opFeatures),
    flags: rbd.getFlags.result(results, flags),
    objectPrefix: rbd.getObjectPrefix.result(results, prefix),
    dataPoolId: dataPoolId < 0n ? undefined : dataPoolId,
    parent: parentSpec.poolId < 0n ? undefined : { ...parentSpec, overlap: rbd.parentOverlapGet.result(results, overlap) },
    snapContext: rbd.getSnapcontext.result(results, snapContext),
    createTimestamp: rbd.getCreateTimestamp.result(results, created),
    accessTimestamp: rbd.getAccessTimestamp.result(results, accessed),
    modifyTimestamp: rbd.getModifyTimestamp.result(results, modified),
    groupSpec: groupSpec.poolId < 0n ? undefined : groupSpec,
    migrating: hasFeature(known.features, FEATURE_MIGRATING),
  }
}

async function loadStriping(
  io: IoCtx,
  id: string,
  { order, features }: Core,
  { previous, signal }: LoadHeaderOptions,
): Promise<Pick<ImageHeader, 'stripeUnit' | 'stripeCount'>> {
  if (previous) return { stripeUnit: previous.stripeUnit, stripeCount: previous.stripeCount }
  const plain = { stripeUnit: 2 ** order, stripeCount: 1 }
  if (!hasFeature(features, FEATURE_STRIPINGV2)) return plain
  try {
    return await rbd.getStripeUnitCount.call(io, headerName(id), undefined, { signal })
  } catch (error) {
    if (isErrno(error, Errno.ENOEXEC, Errno.EINVAL)) return plain
    throw error
  }
}

async function loadSnapshots(io: IoCtx, id: string, ids: readonly SnapId[], signal: AbortSignal | undefined): Promise<ImageSnapshot[]> {
  const pages: Promise<ImageSnapshot[]>[] = []
  for (let at = 0; at < ids.length; at += snapshotsPerOperation) {
    pages.push(loadSnapshotPage(io, id, ids.slice(at, at + snapshotsPerOperation), signal))
  }
  return (await Promise.all(pages)).flat()
}

async function loadSnapshotPage(io: IoCtx, id: string, ids: readonly SnapId[], signal: AbortSignal | undefined): Promise<ImageSnapshot[]> {
  const op = new ReadOperation()
  const handles = ids.map((snapId) => ({
    snapId,
    info: rbd.snapshotGet.step(op, { snapId }),
    overlap: rbd.parentOverlapGet.step(op, { snapId }),
    flags: rbd.getFlags.step(op, { snapId }),
    protection: rbd.getProtectionStatus.step(op, { snapId }),
  }))
  const results = await io.read(headerName(id), op, { signal }).catch((error: unknown) => {
    if (isErrno(error, Errno.ENOENT)) throw new SnapshotVanished('a snapshot was removed meanwhile', { cause: error })
    throw error
  })
  return handles.map(({ snapId, info, overlap, flags, protection }) => {
    const { imageSize, ...snapshot } = snapshotInfoOf(snapId, () => rbd.snapshotGet.result(results, info))
    return {
      ...snapshot,
      size: imageSize,
      flags: rbd.getFlags.result(results, flags),
      protection: rbd.getProtectionStatus.result(results, protection),
      parentOverlap: rbd.parentOverlapGet.result(results, overlap),
    }
  })
}

/** From the directory, or for an image that was thrown away from the trash. */
async function loadName(io: IoCtx, id: string, signal: AbortSignal | undefined): Promise<{ name: string; inTrash: boolean }> {
  try {
    return { name: await rbd.dirGetName.call(io, RBD_DIRECTORY, { id }, { signal }), inTrash: false }
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  return { name: (await trashGet.call(io, RBD_TRASH, { imageId: id }, { signal })).name, inTrash: true }
}

/** The snapshot with this id; undefined when there is none. */
export function findSnapshot(header: ImageHeader, id: SnapId): ImageSnapshot | undefined {
  return header.snapshots.find((snapshot) => snapshot.id === id)
}

/** Names are unique within a namespace type only: a user snapshot may be called like a mirror-snapshot. */
export function findSnapshotByName(header: ImageHeader, type: SnapshotNamespace['type'], name: string): ImageSnapshot | undefined {
  return header.snapshots.find((snapshot) => snapshot.namespace.type === type && snapshot.name === name)
}

/** Also one whose removal was cut short, which lies in the snapshot trash under another name. Those with clones stay there. */
export function findSnapshotToRemove(header: ImageHeader, type: SnapshotNamespace['type'], name: string): ImageSnapshot | undefined {
  const inTrash = ({ namespace, childCount }: ImageSnapshot) =>
    namespace.type === 'trash' && namespace.originalType === type && namespace.originalName === name && childCount === 0
  return findSnapshotByName(header, type, name) ?? header.snapshots.find(inTrash)
}
