import { mirrorModeGet } from '../../cls/rbd/mirror-client.ts'
import type { MirrorMode } from '../../cls/rbd/mirror-types.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { RBD_MIRRORING } from '../names.ts'

/** How a pool or namespace is mirrored (librbd/api/Mirror.cc, mode_get). */
export async function getMirrorMode(io: IoCtx): Promise<MirrorMode> {
  try {
    return await mirrorModeGet.call(io, RBD_MIRRORING, undefined)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return 'disabled'
    throw error
  }
}
