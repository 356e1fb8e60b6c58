import {
  mirrorPeerAdd,
  mirrorPeerList,
  mirrorPeerRemove,
  mirrorPeerSetClient,
  mirrorPeerSetCluster,
  mirrorPeerSetDirection,
} from '../../cls/rbd/mirror-client.ts'
import type { MirrorPeer, MirrorPeerDirection } from '../../cls/rbd/mirror-types.ts'
import { zeroTime } from '../../encoding/codec.ts'
import type { Cluster } from '../../rados/cluster.ts'
import { errnoText } from '../../rados/errno-text.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { Image, type ImageOptions } from '../image.ts'
import { RBD_MIRRORING } from '../names.ts'
import { listNamespaces } from '../namespaces.ts'
import { findMirrorImage, listMirrorImages } from './image-entry.ts'
import { mirrorSnapshots } from './mirror-snapshot.ts'
import { removePeerAttributes } from './peer-attributes.ts'
import { explained, Refusal } from './refusal.ts'
import { forgetSnapshot } from './unlink-peer.ts'

/* A pool's peers (librbd/api/Mirror.cc, peer_site_*). They belong to the pool's default namespace. */

const api = 'librbd::api::Mirror: '
const maxUuidClashes = 16

/** None if the pool was never mirrored. */
export async function listPeers(io: IoCtx): Promise<MirrorPeer[]> {
  try {
    return await mirrorPeerList.call(io, RBD_MIRRORING, undefined)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return []
    throw error
  }
}

/** Resolves with the peer's uuid. Rejects with Refusal: EEXIST for a site that is a peer already. */
export async function addPeer(
  io: IoCtx,
  cluster: Cluster,
  peer: { direction: MirrorPeerDirection; siteName: string; clientName: string; newUuid: () => string },
): Promise<string> {
  const { direction, siteName, clientName, newUuid } = peer
  if (cluster.name === siteName) throw new Refusal(Errno.EINVAL, [`${api}peer_site_add: cannot add self as remote peer`], { io })
  if (direction === 'tx') throw new Refusal(Errno.EINVAL, [], { io })
  for (let clash = 0; ; clash++) {
    const uuid = newUuid()
    try {
      await mirrorPeerAdd.call(io, RBD_MIRRORING, { uuid, siteName, clientName, direction, mirrorUuid: '', lastSeen: zeroTime })
      return uuid
    } catch (error) {
      if (isErrno(error, Errno.ESTALE) && clash < maxUuidClashes) continue
      return explained((errno) => `${api}peer_site_add: failed to add mirror peer '${siteName}': ${errnoText(errno)}`, () => Promise.reject(error as Error))
    }
  }
}

/**
 * Forgets a peer, its secrets and what the mirror-snapshots of the pool's images keep for it. A peer that is not there is no error.
 * Rejects with Refusal.
 */
export async function removePeer(io: IoCtx, uuid: string, options: Omit<ImageOptions, 'access'>): Promise<void> {
  const line = (what: string) => (errno: number) => `${api}peer_site_remove: failed to remove ${what} '${uuid}': ${errnoText(errno)}`
  await explained(line('peer attributes'), () => removePeerAttributes(options.cluster, io.poolId, uuid))
  await explained(line('peer'), async () => {
    try {
      await mirrorPeerRemove.call(io, RBD_MIRRORING, { uuid })
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
  })
  for (const namespace of [...(await listNamespaces(io)), '']) {
    const context = io.duplicate({ namespace })
    try {
      for (const imageId of await listMirrorImages(context)) await unlinkImage(context, imageId, uuid, options)
    } finally {
      context.close()
    }
  }
}

async function unlinkImage(io: IoCtx, imageId: string, uuid: string, options: Omit<ImageOptions, 'access'>): Promise<void> {
  if ((await findMirrorImage(io, imageId))?.mode !== 'snapshot') return
  const line = (errno: number) => `${api}peer_site_remove: error unlinking peer for image ${imageId}: ${errnoText(errno)}`
  await explained(line, async () => {
    let image: Image
    try {
      image = await Image.open(io, { id: imageId }, { ...options, access: 'write' })
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return
      throw error
    }
    try {
      const linked = mirrorSnapshots(image.header.snapshots).filter(({ namespace }) => namespace.mirrorPeerUuids.has(uuid))
      for (const { id } of linked) await forgetSnapshot(image, id, uuid, options.signal)
    } finally {
      await image.close()
    }
  })
}

/** ENOENT for a peer that is not there, as below. */
export function setPeerClient(io: IoCtx, uuid: string, clientName: string): Promise<void> {
  const line = (errno: number) => `${api}peer_site_set_client: failed to update client '${uuid}': ${errnoText(errno)}`
  return explained(line, () => mirrorPeerSetClient.call(io, RBD_MIRRORING, { uuid, clientName }))
}

export async function setPeerSiteName(io: IoCtx, cluster: Cluster, uuid: string, siteName: string): Promise<void> {
  if (cluster.name === siteName) throw new Refusal(Errno.EINVAL, [`${api}peer_site_set_name: cannot set self as remote peer`], { io })
  const line = (errno: number) => `${api}peer_site_set_name: failed to update site '${uuid}': ${errnoText(errno)}`
  await explained(line, () => mirrorPeerSetCluster.call(io, RBD_MIRRORING, { uuid, siteName }))
}

export function setPeerDirection(io: IoCtx, uuid: string, direction: MirrorPeerDirection): Promise<void> {
  const line = (errno: number) => `${api}peer_site_set_direction: failed to update direction '${uuid}': ${errnoText(errno)}`
  return explained(line, () => mirrorPeerSetDirection.call(io, RBD_MIRRORING, { uuid, direction }))
}
