import { mirrorImageInstanceGet, mirrorImageInstanceList, mirrorImageStatusGet, mirrorImageStatusGetSummary } from '../../cls/rbd/mirror-client.ts'
import { LOCAL_MIRROR_UUID, type MirrorImageSiteStatus, type MirrorImageStatusState, type MirrorPeer } from '../../cls/rbd/mirror-types.ts'
import { zeroTime } from '../../encoding/codec.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { RBD_MIRRORING } from '../names.ts'
import { listPeers } from './peers.ts'

/* What the daemons of all sites say of the images of a pool (librbd/api/Mirror.cc, image_get_global_status and others). */

export interface GlobalStatus {
  /** undefined when this site neither says nor should say anything */
  local: MirrorImageSiteStatus | undefined
  remotes: MirrorImageSiteStatus[]
}

/** @param peers of the pool: those of them, and this site, that should have said something and did not, are `unknown` */
export async function getGlobalStatus(io: IoCtx, globalImageId: string, peers: readonly MirrorPeer[]): Promise<GlobalStatus> {
  let told: MirrorImageSiteStatus[] = []
  try {
    const { local, remotes } = await mirrorImageStatusGet.call(io, RBD_MIRRORING, { globalImageId })
    told = [...(local ? [local] : []), ...remotes]
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  return completeStatus(told, peers)
}

export function completeStatus(told: readonly MirrorImageSiteStatus[], peers: readonly MirrorPeer[]): GlobalStatus {
  const expected = new Set(peers.filter(({ mirrorUuid, direction }) => mirrorUuid !== '' && direction !== 'tx').map(({ mirrorUuid }) => mirrorUuid))
  const onlyFetchedFrom = peers.length > 0 && peers.every(({ direction }) => direction === 'tx')
  if (!onlyFetchedFrom) expected.add(LOCAL_MIRROR_UUID)
  const sites = told.filter(({ mirrorUuid }) => expected.delete(mirrorUuid))
  for (const mirrorUuid of [...expected].sort()) {
    sites.push({ mirrorUuid, state: 'unknown', description: 'status not found', lastUpdate: zeroTime, up: false })
  }
  return {
    local: sites.find(({ mirrorUuid }) => mirrorUuid === LOCAL_MIRROR_UUID),
    remotes: sites.filter(({ mirrorUuid }) => mirrorUuid !== LOCAL_MIRROR_UUID),
  }
}

/** How many images of a pool or namespace are in each state. */
export async function getStatusSummary(io: IoCtx): Promise<Map<MirrorImageStatusState, number>> {
  const pool = io.duplicate({ namespace: '' })
  try {
    const peers = await listPeers(pool)
    return await mirrorImageStatusGetSummary.call(io, RBD_MIRRORING, { peers })
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return new Map()
    throw error
  } finally {
    pool.close()
  }
}

/** The client instance of the daemon that has an image; undefined when there is none, or it is down. */
export async function getInstanceId(io: IoCtx, globalImageId: string): Promise<string | undefined> {
  try {
    return String((await mirrorImageInstanceGet.call(io, RBD_MIRRORING, { globalImageId })).name.num)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT, Errno.ESTALE)) return undefined
    throw error
  }
}

const pageSize = 1024

/** The same for all images, by image id. */
export async function listInstanceIds(io: IoCtx): Promise<Map<string, string>> {
  const all = new Map<string, string>()
  for (let startAfter = ''; ; ) {
    const page = await mirrorImageInstanceList.call(io, RBD_MIRRORING, { startAfter, max: pageSize })
    for (const [imageId, { name }] of page) {
      all.set(imageId, String(name.num))
      startAfter = imageId
    }
    if (page.size < pageSize) return all
  }
}
