import { dirAddImage, setId } from '../cls/rbd/client.ts'
import { Errno, isErrno, RadosError } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { WriteOperation } from '../rados/operation.ts'
import { findImageId } from './directory.ts'
import { idObjectName, RBD_DIRECTORY } from './names.ts'
import { findInTrash, removeTrashEntry, setTrashState } from './trash.ts'

/**
 * Gives an image that was thrown away its name back, or another (librbd/api/Trash.cc, restore). Bears being done again.
 * Rejects with ENOENT for what is not in the trash, EEXIST for a name that is taken.
 */
export async function restoreFromTrash(io: IoCtx, imageId: string, newName = ''): Promise<void> {
  const failure = (errno: number) => new RadosError(errno, { op: 'restore from trash', pool: io.poolName, namespace: io.namespace, oid: imageId })
  const spec = await findInTrash(io, imageId)
  if (!spec || (spec.source !== 'user' && spec.source !== 'mirroring' && spec.source !== 'user_parent')) throw failure(spec ? Errno.EINVAL : Errno.ENOENT)
  const name = newName === '' ? spec.name : newName
  const taken = await findImageId(io, name)
  if (taken !== undefined && taken !== imageId) throw failure(Errno.EEXIST)
  await setTrashState(io, imageId, 'restoring', 'normal')
  try {
    await io.write(idObjectName(name), setId.step(new WriteOperation().create(false), { id: imageId }))
  } catch (error) {
    if (!isErrno(error, Errno.EEXIST)) throw error
  }
  try {
    await dirAddImage.call(io, RBD_DIRECTORY, { name, id: imageId })
  } catch (error) {
    if (!isErrno(error, Errno.EEXIST)) throw error
  }
  await removeTrashEntry(io, imageId)
}
