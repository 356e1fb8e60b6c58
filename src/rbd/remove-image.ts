import { dirRemoveImage } from '../cls/rbd/client.ts'
import { mirrorImageRemove } from '../cls/rbd/mirror-client.ts'
import { Errno, isErrno, ifThere } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { findImageName } from './directory.ts'
import { Image, type ImageOptions } from './image.ts'
import { headerName, idObjectName, objectMapName, RBD_DIRECTORY, RBD_MIRRORING } from './names.ts'
import { detachFromParent } from './operations/children.ts'
import { operationError } from './operations/invoke.ts'
import { unprotectSnapshotHere } from './operations/snapshot-edit.ts'
import { removeSnapshotHere } from './operations/snapshot-remove.ts'
import { trimData } from './trim.ts'

export interface RemoveOptions extends Omit<ImageOptions, 'access' | 'lockPolicy'> {
  /** `all`: whatever there is goes; `mirror`: others make it fail with ENOTEMPTY, as `rbd rm` does */
  snapshots: 'all' | 'mirror'
  /** Also removes the journal's objects. Has to bear being called again. */
  removeJournal?: ((imageId: string) => Promise<void>) | undefined
  onProgress?: (removed: number, total: number) => void
}

/**
 * Removes an image and all it consists of (librbd/image/{PreRemove,Remove}Request.cc):
 *
 *     lock → snapshots → data → detached from the parent → header → journal → object map → mirror entry → id object → directory
 *
 * As long as there is data, there is a header, and as long as there is anything, the image is in the directory or the trash, so that an
 * interrupted removal goes on when called again. Rejects with RadosError: EBUSY when somebody uses the image, ENOTEMPTY for its snapshots.
 */
export async function removeImage(io: IoCtx, imageId: string, options: RemoveOptions): Promise<void> {
  const name = await findImageName(io, imageId)
  const image = await openIfThere(io, imageId, options)
  if (image) {
    try {
      await empty(image, options)
    } finally {
      await image.close()
    }
    await ifThere(io.remove(headerName(imageId)))
  }
  await options.removeJournal?.(imageId)
  await ifThere(io.remove(objectMapName(imageId)))
  await ifThere(mirrorImageRemove.call(io, RBD_MIRRORING, { imageId }))
  if (name === undefined) return
  await ifThere(io.remove(idObjectName(name)))
  await ifThere(dirRemoveImage.call(io, RBD_DIRECTORY, { name, id: imageId }))
}

async function openIfThere(io: IoCtx, id: string, options: RemoveOptions): Promise<Image | undefined> {
  try {
    return await Image.open(io, { id }, { ...options, access: 'write', lockPolicy: keepLock })
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

const keepLock: ImageOptions['lockPolicy'] = { lockRequested: () => Errno.EROFS, operationRequested: () => Errno.EROFS }

async function empty(image: Image, options: RemoveOptions): Promise<void> {
  const { signal } = options
  if (image.usesLock && (await image.lock!.acquire({ signal })) !== 'acquired') throw operationError(image, Errno.EBUSY, 'remove image in use')
  if (image.header.migrating) throw operationError(image, Errno.EBUSY, 'remove image under migration')
  if (await isWatched(image)) throw operationError(image, Errno.EBUSY, 'remove image with watchers')
  const reach = Math.max(...image.header.snapshots.map(({ size }) => size), 0)
  await removeSnapshots(image, options)
  if (image.header.snapshots.length > 0) throw operationError(image, Errno.ENOTEMPTY, 'remove image with snapshots')
  await image.operations.run('header', async () => {
    const { header, objectMap } = image
    await trimData(0, {
      data: image.data(),
      header,
      objectMap,
      reach,
      concurrency: image.numericOption('rbd_concurrent_management_ops', 10),
      onProgress: options.onProgress,
      signal,
    })
    if (header.parent?.overlap !== undefined) await detachFromParent(image, header.parent)
  })
}

/** By anyone but this connection and the daemons that mirror the pool. */
async function isWatched(image: Image): Promise<boolean> {
  const own = image.options.cluster.instanceId
  const watchers = (await image.io.listWatchers(image.headerOid)).filter(({ clientId }) => clientId !== own)
  if (watchers.length === 0) return false
  let daemons: { clientId: bigint }[] = []
  try {
    daemons = await image.io.listWatchers(RBD_MIRRORING)
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  return watchers.some(({ clientId }) => daemons.every((daemon) => daemon.clientId !== clientId))
}

/** Those with children stay, moved to the snapshot trash. */
async function removeSnapshots(image: Image, { snapshots, signal }: RemoveOptions): Promise<void> {
  for (const { id, namespace, protection } of [...image.header.snapshots]) {
    signal?.throwIfAborted()
    if (snapshots === 'mirror' && namespace.type !== 'mirror' && namespace.type !== 'trash') {
      throw operationError(image, Errno.ENOTEMPTY, 'remove image with snapshots')
    }
    if (protection !== 'unprotected') await unprotectSnapshotHere(image, id)
    await removeSnapshotHere(image, id)
  }
}
