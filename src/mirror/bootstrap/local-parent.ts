import { mirrorImageGet, mirrorImageGetImageId } from '../../cls/rbd/mirror-client.ts'
import type { Client } from '../../cls/journal/types.ts'
import { decode } from '../../encoding/codec.ts'
import { findClient } from '../../journal/clients.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { Cluster } from '../../rados/cluster.ts'
import type { IoCtx, SnapId } from '../../rados/io-ctx.ts'
import type { ParentToAttach } from '../../rbd/create-image.ts'
import { FEATURE_JOURNALING, hasFeature, OP_FEATURE_CLONE_CHILD } from '../../rbd/features.ts'
import { loadHeader, type ImageHeader, type ImageParent, type ImageSnapshot } from '../../rbd/header.ts'
import { ClientData } from '../../rbd/journal/client-data.ts'
import { loadMirrorInfo } from '../../rbd/mirror/mirror-info.ts'
import { isNonPrimary, mirrorSnapshots } from '../../rbd/mirror/mirror-snapshot.ts'
import { RBD_MIRRORING } from '../../rbd/names.ts'
import type { ImageContext } from '../image-context.ts'
import { PassingFailure } from '../replayer.ts'
import { remoteSnapIdOf } from '../snapshot/snapshot-map.ts'

/** A clone has to wait until its parent is mirrored, and the snapshot that it hangs on has been synced. */
export class ParentNotReady extends PassingFailure {
  override name = 'ParentNotReady'
}

/** What the local image of a remote clone is to be a clone of; the caller closes `io`. */
export interface LocalParent extends ParentToAttach {
  io: IoCtx
}

/**
 * Finds the local counterpart of a remote clone's parent: in the pool and namespace of the same names, by global image id, the snapshot by
 * what mirroring noted of it, or by name (image_replayer/CreateImageRequest.cc). Undefined for an image without a parent. Rejects with
 * ParentNotReady or RadosError.
 */
export async function findLocalParent(context: ImageContext, remote: ImageHeader): Promise<LocalParent | undefined> {
  const { parent } = remote
  if (!parent) return undefined
  const remoteIo = await openNamespace(context.remote.cluster, parent.poolId, parent.poolNamespace)
  let localIo: IoCtx | undefined
  try {
    localIo = await openSamePool(context.local.cluster, remoteIo)
    const remoteParent = await loadHeader(remoteIo, parent.imageId, { access: 'read-only' })
    const spec = [remoteIo.poolName, ...(remoteIo.namespace === '' ? [] : [remoteIo.namespace]), remoteParent.name].join('/')
    const unmirrored = `parent image ${spec} is not mirrored; on the remote cluster: rbd mirror image enable ${spec}`
    const waiting = `parent image ${spec} is not mirrored to here yet`
    const { globalImageId } = await mirrored(mirrorImageGet.call(remoteIo, RBD_MIRRORING, { imageId: parent.imageId }), unmirrored)
    const imageId = await mirrored(mirrorImageGetImageId.call(localIo, RBD_MIRRORING, { globalImageId }), waiting)
    const localParent = await mirrored(loadHeader(localIo, imageId, { access: 'read-only' }), waiting)
    const localMirrorUuid = context.pools.local(localIo.poolId)?.mirrorUuid ?? context.local.mirrorUuid
    const snapshot = findLocalSnapshot(context, parent, localMirrorUuid, remoteParent, localParent)
    const client = () => findClient(remoteIo, parent.imageId, localMirrorUuid)
    if (!snapshot || !(await isSynced(localIo, localParent, snapshot.id, client))) throw new ParentNotReady(`snapshot of parent image ${spec} is not mirrored to here yet`)
    const cloneFormat = (remote.opFeatures & OP_FEATURE_CLONE_CHILD) !== 0n ? 2 : 1
    if (cloneFormat === 1 && snapshot.protection !== 'protected') {
      // that comes with the state of a mirror-snapshot, or with an entry of the journal
      const soon = hasFeature(localParent.features, FEATURE_JOURNALING) ? '' : `; on the remote cluster: rbd mirror image snapshot ${spec}`
      throw new ParentNotReady(`snapshot ${snapshot.name} of parent image ${spec} is not protected here yet${soon}`)
    }
    return {
      poolId: localIo.poolId,
      poolNamespace: parent.poolNamespace,
      imageId,
      snapId: snapshot.id,
      overlap: headOverlap(remote),
      cloneFormat,
      io: localIo,
    }
  } catch (error) {
    localIo?.close()
    throw error
  } finally {
    remoteIo.close()
  }
}

/** Of the head, or while that is flattened already, of the snapshot that has most of the parent. */
function headOverlap({ parent, snapshots }: ImageHeader): number {
  return parent?.overlap ?? Math.max(0, ...snapshots.map(({ parentOverlap }) => parentOverlap ?? 0))
}

function findLocalSnapshot(
  context: ImageContext,
  parent: ImageParent,
  localMirrorUuid: string,
  remoteParent: ImageHeader,
  localParent: ImageHeader,
): ImageSnapshot | undefined {
  const remoteSnapshot = remoteParent.snapshots.find(({ id }) => id === parent.snapId)
  const { pools } = context
  const sides = {
    local: localParent.snapshots,
    remote: remoteParent.snapshots,
    localMirrorUuid,
    remoteMirrorUuid: pools.remote(parent.poolId)?.mirrorUuid ?? context.remote.mirrorUuid,
  }
  const noted = localParent.snapshots.find(({ id }) => remoteSnapIdOf(sides, id) === parent.snapId)
  return noted ?? localParent.snapshots.find(({ namespace, name }) => namespace.type === remoteSnapshot?.namespace.type && name === remoteSnapshot.name)
}

/**
 * User snapshots are made before they are filled: only a sync that was completed since says that one has its contents. (`client`: this site's of the
 * remote parent's journal)
 */
async function isSynced(io: IoCtx, { id, snapshots }: ImageHeader, snapId: SnapId, client: () => Promise<Client | undefined>): Promise<boolean> {
  const { image, promotion } = await loadMirrorInfo(io, id)
  if (promotion.state === 'primary') return true
  if (image.mode === 'snapshot') {
    return mirrorSnapshots(snapshots).some((snapshot) => snapshot.id > snapId && (snapshot.namespace.complete || !isNonPrimary(snapshot.namespace)))
  }
  const registered = await client()
  const data = registered && decode(ClientData, registered.data, `client data of journal of the parent of ${id}`)
  return data?.type === 'mirrorPeer' && data.state === 'replaying'
}

async function mirrored<T>(step: Promise<T>, otherwise: string): Promise<T> {
  try {
    return await step
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) throw new ParentNotReady(otherwise)
    throw error
  }
}

async function openNamespace(cluster: Cluster, poolId: bigint, namespace: string): Promise<IoCtx> {
  return withNamespace(await cluster.openPoolById(poolId), namespace)
}

async function openSamePool(cluster: Cluster, { poolName, namespace }: IoCtx): Promise<IoCtx> {
  try {
    return withNamespace(await cluster.openPool(poolName), namespace)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) throw new ParentNotReady(`parent image is in pool ${poolName}, which is not here`)
    throw error
  }
}

function withNamespace(pool: IoCtx, namespace: string): IoCtx {
  if (namespace === '') return pool
  const io = pool.duplicate({ namespace })
  pool.close()
  return io
}
