import { Errno, isErrno, RadosError } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { WriteOperation } from '../rados/operation.ts'
import { RBD_INFO } from './names.ts'

const validated = Buffer.from('overwrite validated')

/**
 * Sees to it that a pool can hold images: that its objects can be overwritten, and have snapshots of their own (librbd/image/ValidatePoolRequest.cc).
 * Rejects with EINVAL when not.
 */
export async function validatePool(io: IoCtx): Promise<void> {
  const pool = io.duplicate({ namespace: '' })
  try {
    if ((await readInfo(pool)).equals(validated)) return
    const snapshot = await pool.createSelfManagedSnap()
    await pool.write(RBD_INFO, new WriteOperation().writeFull(Buffer.from('validate')))
    await pool.write(RBD_INFO, new WriteOperation().write(0, validated))
    await pool.removeSelfManagedSnap(snapshot)
  } catch (error) {
    if (isErrno(error, Errno.EOPNOTSUPP)) throw new RadosError(Errno.EINVAL, { op: 'validate pool', pool: io.poolName, cause: error })
    throw error
  } finally {
    pool.close()
  }
}

async function readInfo(io: IoCtx): Promise<Buffer> {
  try {
    return await io.readData(RBD_INFO, 0, validated.length + 1)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return Buffer.alloc(0)
    throw error
  }
}
