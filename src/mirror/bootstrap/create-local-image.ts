import { setFeatures } from '../../cls/rbd/client.ts'
import { mirrorImageRemove, mirrorImageSet } from '../../cls/rbd/mirror-client.ts'
import type { MirrorImageMode } from '../../cls/rbd/mirror-types.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import { createImage, generateImageId } from '../../rbd/create-image.ts'
import { FEATURE_JOURNALING, FEATURE_NON_PRIMARY } from '../../rbd/features.ts'
import type { ImageHeader } from '../../rbd/header.ts'
import type { Image } from '../../rbd/image.ts'
import { headerName, RBD_MIRRORING } from '../../rbd/names.ts'
import type { ImageContext } from '../image-context.ts'
import { explainNameTaken } from './contradiction.ts'
import { findLocalParent, type LocalParent } from './local-parent.ts'

/** What makes the local image one of journal mode. */
export interface Journaling {
  /** as it is registered with the remote journal */
  imageId: string
  createJournal: () => Promise<void>
}

/**
 * Makes the local image of a remote one (image_replayer/{snapshot,journal}/CreateLocalImageRequest.cc, CreateImageRequest.cc):
 *
 *     snapshot mode: mirror image `creating` → image → feature non-primary
 *     journal mode:  mirror image `creating` → image, its journal's tag is the remote's → mirror image `enabled`
 *
 * In snapshot mode the entry stays `creating` until the first non-primary snapshot ties the image to its primary. Whoever finds such an entry
 * after a crash throws the image away. Resolves with the image's id; rejects with RadosError, or ParentNotReady for a clone.
 */
export async function createLocalImage(context: ImageContext, remote: Image, mode: MirrorImageMode, journaling?: Journaling): Promise<string> {
  const { header } = remote
  const dataPoolId = await localDataPool(context, remote)
  const parent = await findLocalParent(context, header)
  try {
    return await create(context, header, mode, { dataPoolId, parent }, journaling)
  } finally {
    parent?.io.close()
  }
}

async function create(
  context: ImageContext,
  header: ImageHeader,
  mode: MirrorImageMode,
  place: { dataPoolId: bigint | undefined; parent: LocalParent | undefined },
  journaling: Journaling | undefined,
): Promise<string> {
  const { local, globalImageId, random } = context
  const id = journaling?.imageId ?? generateImageId(local.cluster.instanceId, random)
  await mirrorImageSet.call(local.io, RBD_MIRRORING, { imageId: id, image: { globalImageId, state: 'creating', mode } })
  try {
    await createImage(local.io, { id, ...place, ...describe(header, mode), createJournal: journaling?.createJournal })
  } catch (error) {
    // nothing was made for a name that is taken: the next try, under another name perhaps, begins from nothing
    if (!isErrno(error, Errno.EEXIST)) throw error
    await forget(context, id, mode)
    throw explainNameTaken(local.io, header.name, error)
  }
  if (mode === 'journal') {
    await mirrorImageSet.call(local.io, RBD_MIRRORING, { imageId: id, image: { globalImageId, state: 'enabled', mode } })
  } else {
    await setFeatures.call(local.io, headerName(id), { features: FEATURE_NON_PRIMARY, mask: FEATURE_NON_PRIMARY })
  }
  return id
}

function describe({ name, size, order, features, stripeUnit, stripeCount }: ImageHeader, mode: MirrorImageMode) {
  const plain = stripeCount === 1 && stripeUnit === 2 ** order
  return { name, size, order, features: mode === 'journal' ? features : features & ~FEATURE_JOURNALING, ...(!plain && { stripeUnit, stripeCount }) }
}

async function forget({ local, globalImageId }: ImageContext, imageId: string, mode: MirrorImageMode): Promise<void> {
  await mirrorImageSet.call(local.io, RBD_MIRRORING, { imageId, image: { globalImageId, state: 'disabling', mode } })
  await mirrorImageRemove.call(local.io, RBD_MIRRORING, { imageId })
}

/**
 * Where the data goes: `rbd_default_data_pool` of the local cluster, else the pool named as the remote image's data pool, else the image's own
 * pool (undefined).
 */
async function localDataPool({ local, remote, options }: ImageContext, { header }: Image): Promise<bigint | undefined> {
  if (options.defaultDataPool !== '') return other(await local.cluster.lookupPool(options.defaultDataPool), local.io.poolId)
  if (header.dataPoolId === undefined) return undefined
  const pool = await remote.cluster.openPoolById(header.dataPoolId)
  const { poolName } = pool
  pool.close()
  try {
    return other(await local.cluster.lookupPool(poolName), local.io.poolId)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

function other(dataPoolId: bigint, poolId: bigint): bigint | undefined {
  return dataPoolId === poolId ? undefined : dataPoolId
}
