import type { MirrorImage } from '../../cls/rbd/mirror-types.ts'
import { mirrorImageGet } from '../../cls/rbd/mirror-client.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { MalformedSnapshot } from '../../rbd/malformed-snapshot.ts'
import { headerName, RBD_MIRRORING } from '../../rbd/names.ts'
import { SyncFailure } from '../snapshot/image-sync.ts'

export type Site = 'local' | 'remote'

/**
 * Names what makes no sense in how an image is mirrored on one side, with the command that cures it; undefined for an error of another kind.
 * Nothing is deleted for it: the other side may be all that is left of the image.
 */
export async function explainContradiction(
  site: Site,
  io: IoCtx,
  { imageId, globalImageId }: { imageId: string; globalImageId: string },
  error: unknown,
): Promise<SyncFailure | undefined> {
  const malformed = error instanceof MalformedInput || isErrno(error, Errno.EINVAL, Errno.EIO)
  if (!malformed && !isErrno(error, Errno.ENOENT)) return undefined
  const preparing = `error preparing ${site} image for replay`
  const because = (what: string) => new SyncFailure(`${preparing}: ${what}`, error)
  const entry = await entryOf(io, imageId)
  const drop = dropEntry(site, io, imageId, globalImageId)
  if (entry === 'unreadable') return because(`its mirroring entry makes no sense; if the image is gone for good, ${drop}`)
  if (entry?.state === 'disabling') return site === 'remote' ? undefined : because(`disabling its mirroring has left its entry behind; ${drop}`)
  if (!(await hasHeader(io, imageId))) return because(`there is a mirroring entry for image id ${imageId}, but no such image; if the image is gone for good, ${drop}`)
  const again =
    site === 'remote'
      ? 'on the remote cluster: rbd mirror image disable, then enable it again'
      : `rename or remove the image, and ${drop}; the primary is then copied anew`
  if (entry?.mode === 'journal') return because(`its journal is missing, has no owner, or makes no sense (${text(error)}); ${again}`)
  if (!malformed) return undefined
  const cure = error instanceof MalformedSnapshot && site === 'remote' ? `on the remote cluster: rbd snap rm --snap-id ${error.snapId}` : again
  return because(`its snapshots can't be read (${text(error)}); ${cure}`)
}

/** An image that is in the way of a replica. */
export function explainNameTaken({ poolName, namespace }: IoCtx, name: string, error: unknown): SyncFailure {
  const spec = [poolName, ...(namespace === '' ? [] : [namespace]), name].join('/')
  const what = `image ${spec} is there, and is not the replica of this one; rename or remove it: rbd rename ${spec} ${spec}-other`
  return new SyncFailure(`failed to create local image: ${what}`, error)
}

async function entryOf(io: IoCtx, imageId: string): Promise<MirrorImage | 'unreadable' | undefined> {
  try {
    return await mirrorImageGet.call(io, RBD_MIRRORING, { imageId })
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    if (error instanceof MalformedInput || isErrno(error, Errno.EIO, Errno.EINVAL)) return 'unreadable'
    throw error
  }
}

async function hasHeader(io: IoCtx, imageId: string): Promise<boolean> {
  try {
    await io.stat(headerName(imageId))
    return true
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return false
    throw error
  }
}

/** The entry, and the key by which the cluster finds it: left behind, that one keeps another image from having the global id. */
function dropEntry(site: Site, { poolName, namespace }: IoCtx, imageId: string, globalImageId: string): string {
  const where = site === 'remote' ? 'on the remote cluster' : 'here'
  const remove = `rados -p ${poolName}${namespace === '' ? '' : ` -N ${namespace}`} rmomapkey rbd_mirroring`
  return `${where}: ${remove} image_${imageId}; ${remove} global_${globalImageId}`
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
