import { mirrorImageGet, mirrorImageGetImageId, mirrorModeGet, mirrorUuidGet } from '../cls/rbd/mirror-client.ts'
import { ifThere } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { RBD_MIRRORING } from '../rbd/names.ts'
import type { RemotePool } from './remote-pool.ts'

const DISABLED = 'mirroring of the remote pool is disabled'

/** The remote can't be taken at its word that an image is gone: nothing of ours is deleted for it. */
export class NotConfirmed extends Error {
  constructor(reason: string) {
    super(`the replica is kept: ${reason}; to give it up, here: rbd mirror image disable --force, rbd rm`)
    this.name = 'NotConfirmed'
  }
}

/**
 * Makes sure that an image is gone from a remote that still mirrors, before its replica is deleted: a pool that was deleted or made anew,
 * or one whose mirroring was switched off as a whole, says of every image that it is not there.
 * @param io remote, of the image's namespace
 */
export async function confirmGone(remote: RemotePool, io: IoCtx, globalImageId: string): Promise<void> {
  const mirrorUuid = await ifThere(mirrorUuidGet.call(remote.io, RBD_MIRRORING, undefined))
  if (mirrorUuid === undefined) throw new NotConfirmed(DISABLED)
  if (mirrorUuid !== remote.mirrorUuid) throw new NotConfirmed('the remote pool is no longer the one that was mirrored')
  const mode = await ifThere(mirrorModeGet.call(io, RBD_MIRRORING, undefined))
  if (mode === undefined || mode === 'disabled') throw new NotConfirmed(DISABLED)
  const imageId = await ifThere(mirrorImageGetImageId.call(io, RBD_MIRRORING, { globalImageId }))
  if (imageId === undefined) return
  const image = await ifThere(mirrorImageGet.call(io, RBD_MIRRORING, { imageId }))
  if (image && image.state !== 'disabling') throw new NotConfirmed('the remote image is mirrored again')
}
