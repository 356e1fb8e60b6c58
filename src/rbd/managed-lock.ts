import * as lock from '../cls/lock/client.ts'
import type { Locker } from '../cls/lock/types.ts'
import { zeroTime } from '../encoding/codec.ts'
import { formatEntityAddr, formatEntityName } from '../encoding/entity.ts'
import type { Cluster } from '../rados/cluster.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import type { WriteOperation } from '../rados/operation.ts'
import { RBD_LOCK_NAME } from './names.ts'

/**
 * Locks that are tied to a watch, as librbd's managed locks are (librbd/managed_lock): whoever finds that the owner's watch is
 * gone may break its lock. Used for exclusive locks of images, and for the leader of a mirrored pool.
 */

const cookiePrefix = 'auto '
/** tells these locks from those of `rbd lock add` */
const lockTag = 'internal'
const maxRaces = 10

export interface ManagedLocker {
  entity: string
  clientId: bigint
  cookie: string
  /** the owner's watch */
  handle: bigint
  /** `addr:port/nonce` */
  address: string
  locker: Locker
}

export function lockCookie(watchHandle: bigint): string {
  return `${cookiePrefix}${watchHandle}`
}

/** Who holds the lock. `foreign`: it is shared, or was not made by librbd's rules. */
export async function findLocker(io: IoCtx, oid: string): Promise<ManagedLocker | 'free' | 'foreign'> {
  const { lockers, type, tag } = await lock.getInfo.call(io, oid, { name: RBD_LOCK_NAME })
  const locker = lockers[0]
  if (!locker) return 'free'
  const digits = locker.cookie.startsWith(cookiePrefix) ? locker.cookie.slice(cookiePrefix.length) : ''
  if (tag !== lockTag || type !== 'exclusive' || !/^\d+$/.test(digits)) return 'foreign'
  return {
    entity: formatEntityName(locker.locker),
    clientId: locker.locker.num,
    cookie: locker.cookie,
    handle: BigInt(digits),
    address: formatEntityAddr(locker.addr),
    locker,
  }
}

/** Takes the lock, or tells who has it. A second try of the same client and cookie finds it its own. */
export async function takeLock(
  io: IoCtx,
  oid: string,
  cookie: string,
  instanceId: bigint,
): Promise<'acquired' | 'foreign' | ManagedLocker> {
  for (let races = 0; ; races++) {
    try {
      await lock.lock.call(io, oid, {
        name: RBD_LOCK_NAME,
        type: 'exclusive',
        cookie,
        tag: lockTag,
        description: '',
        duration: zeroTime,
        flags: 0,
      })
      return 'acquired'
    } catch (error) {
      if (isErrno(error, Errno.EEXIST)) return 'acquired'
      if (!isErrno(error, Errno.EBUSY, Errno.ETIMEDOUT)) throw error
      const found = await findLocker(io, oid)
      if (found === 'foreign') return found
      if (found !== 'free') return found.clientId === instanceId && found.cookie === cookie ? 'acquired' : found
      if (races === maxRaces) throw error // given back between the two steps again and again
    }
  }
}

/**
 * Takes the lock away from `owner` if its watch is gone. False: the owner lives, or the lock has changed hands.
 * @param blocklist fences the dead client off first, so that none of its writes can come later; undefined leaves that out
 */
export async function breakDeadLock(
  cluster: Cluster,
  io: IoCtx,
  oid: string,
  owner: ManagedLocker,
  blocklist: { expireSeconds: number } | undefined,
): Promise<boolean> {
  const watchers = await io.listWatchers(oid)
  const alive = watchers.some(
    ({ cookie, address, clientId }) => cookie === owner.handle && (clientId === owner.clientId || address === owner.address),
  )
  return alive ? false : breakLockOf(cluster, io, oid, owner, blocklist)
}

/** Takes the lock away from an owner that may be alive but does nothing, and fences it off. False: the lock has changed hands. */
export async function breakLockOf(
  cluster: Cluster,
  io: IoCtx,
  oid: string,
  owner: ManagedLocker,
  blocklist: { expireSeconds: number } | undefined,
): Promise<boolean> {
  const still = await findLocker(io, oid)
  if (still === 'free') return true
  if (still === 'foreign' || still.cookie !== owner.cookie || still.clientId !== owner.clientId) return false
  // what this very client left behind under an earlier watch needs no fence
  if (blocklist && owner.clientId !== cluster.instanceId) {
    await cluster.blocklistAdd(owner.address, blocklist.expireSeconds)
    await cluster.waitForLatestOsdMap()
  }
  try {
    await lock.breakLock.call(io, oid, { name: RBD_LOCK_NAME, locker: owner.locker.locker, cookie: owner.cookie })
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  return true
}

/** Gives the lock back; nothing to do when it is no longer held. */
export async function unlock(io: IoCtx, oid: string, cookie: string): Promise<void> {
  try {
    await lock.unlock.call(io, oid, { name: RBD_LOCK_NAME, cookie })
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
}

/**
 * Keeps the lock under a new watch. Rejects with EBUSY or ENOENT when the lock is no longer held. After ETIMEDOUT nobody knows, and it may be done
 * late: to be tried again with the same cookies.
 */
export async function changeCookie(io: IoCtx, oid: string, from: string, to: string, instanceId: bigint): Promise<void> {
  try {
    await lock.setCookie.call(io, oid, { name: RBD_LOCK_NAME, type: 'exclusive', cookie: from, tag: lockTag, newCookie: to })
  } catch (error) {
    if (!isErrno(error, Errno.EBUSY, Errno.ENOENT, Errno.ETIMEDOUT)) throw error
    // this try, or one before it, may have been done without our hearing of it: the lock itself tells
    const found = await findLocker(io, oid)
    if (typeof found !== 'object' || found.clientId !== instanceId || found.cookie !== to) throw error
  }
}

/** Makes a write operation fail with EBUSY unless this client holds the lock under `cookie`. */
export function assertLocked(operation: WriteOperation, cookie: string): WriteOperation {
  return lock.assertLocked.step(operation, { name: RBD_LOCK_NAME, type: 'exclusive', cookie, tag: lockTag })
}
