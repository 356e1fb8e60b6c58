import { mirrorPeerList } from '../../cls/rbd/mirror-client.ts'
import type { MirrorPeer } from '../../cls/rbd/mirror-types.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { RBD_MIRRORING } from '../names.ts'

/** The peers of a pool, none if it was never mirrored (librbd/api/Mirror.cc, peer_site_list). */
export async function listPeers(io: IoCtx): Promise<MirrorPeer[]> {
  try {
    return await mirrorPeerList.call(io, RBD_MIRRORING, undefined)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return []
    throw error
  }
}
