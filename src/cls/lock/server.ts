import { decode, encode, nothing, utimeFromMs, type Utime } from '../../encoding/codec.ts'
import { ENTITY_TYPE_CLIENT, parseEntityAddr, type EntityName } from '../../encoding/entity.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import type { ObjectContext } from '../../objclass/object-context.ts'
import type { ServerMethod } from '../../objclass/registry.ts'
import { Errno, isErrno, RadosError } from '../../rados/errors.ts'
import { refused, serverClass } from '../server-method.ts'
import { assertOp, breakOp, getInfoOp, listLocksReply, lockOp, setCookieOp, unlockOp } from './operations.ts'
import { LockFlag, LockInfo, type Locker, type LockType } from './types.ts'

/* Object class `lock` on the server side (cls/lock/cls_lock.cc): a lock is the xattr `lock.NAME`. */

const { read, guard, write } = serverClass('lock')
const PREFIX = 'lock.'
const ADDRESS_TYPE_LEGACY = 1
const NANOSECONDS = 1_000_000_000

const isZero = ({ sec, nsec }: Utime) => sec === 0 && nsec === 0
const isBefore = (a: Utime, b: Utime) => a.sec < b.sec || (a.sec === b.sec && a.nsec < b.nsec)
function later(time: Utime, duration: Utime): Utime {
  const nsec = time.nsec + duration.nsec
  return { sec: (time.sec + duration.sec + Math.floor(nsec / NANOSECONDS)) >>> 0, nsec: nsec % NANOSECONDS }
}

const callerName = (object: ObjectContext): EntityName => ({ type: ENTITY_TYPE_CLIENT, num: object.caller.instanceId })

function isLocker(locker: Locker, { type, num }: EntityName, cookie: string): boolean {
  return locker.locker.type === type && locker.locker.num === num && locker.cookie === cookie
}

/** The order of std::map<locker_id_t, …>. */
function compareLockers(a: Locker, b: Locker): number {
  if (a.locker.type !== b.locker.type) return a.locker.type - b.locker.type
  if (a.locker.num !== b.locker.num) return a.locker.num < b.locker.num ? -1 : 1
  return Buffer.compare(Buffer.from(a.cookie), Buffer.from(b.cookie))
}

/**
 * The lock without lockers whose time is over; an ephemeral lock that nobody holds takes the object with it.
 * @throws ENOENT for the object, EIO for a malformed lock
 */
async function readLock(object: ObjectContext, name: string): Promise<LockInfo> {
  let bytes: Buffer
  try {
    bytes = await object.getXattr(PREFIX + name)
  } catch (error) {
    if (isErrno(error, Errno.ENODATA)) return { lockers: [], type: 'none', tag: '' }
    throw error
  }
  let info: LockInfo
  try {
    info = decode(LockInfo, bytes, `lock ${name}`)
  } catch (error) {
    if (error instanceof MalformedInput) throw new RadosError(Errno.EIO, { op: `lock ${name}`, cause: error })
    throw error
  }
  const now = utimeFromMs(object.now)
  info.lockers = info.lockers.filter(({ expiration }) => isZero(expiration) || !isBefore(expiration, now))
  if (info.lockers.length === 0 && info.type === 'exclusive-ephemeral') object.remove()
  return info
}

function writeLock(object: ObjectContext, name: string, info: LockInfo): void {
  info.lockers.sort(compareLockers)
  object.setXattr(PREFIX + name, encode(LockInfo, info))
}

function requireValid(name: string, type: LockType): void {
  if (type === 'none') throw refused(Errno.EINVAL, 'no type of lock is given')
  if (name === '') throw refused(Errno.EINVAL, 'a lock needs a name')
}

const lock = write('lock', lockOp, async (object, { name, type, cookie, tag, description, duration, flags }) => {
  requireValid(name, type)
  const mayRenew = (flags & LockFlag.mayRenew) !== 0
  const mustRenew = (flags & LockFlag.mustRenew) !== 0
  if (mayRenew && mustRenew) throw refused(Errno.EINVAL, 'a lock can be renewed either if it exists or in any case')
  let info: LockInfo
  try {
    info = await readLock(object, name)
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
    info = { lockers: [], type: 'none', tag: '' }
  }
  if (info.lockers.length > 0 && info.tag !== tag) throw refused(Errno.EBUSY, `lock ${name} is held under another tag`)
  const me = callerName(object)
  const others = info.lockers.filter((locker) => !isLocker(locker, me, cookie))
  if (others.length < info.lockers.length) {
    if (!mayRenew && !mustRenew) throw refused(Errno.EEXIST, `lock ${name} is held by this client`)
  } else if (mustRenew) throw refused(Errno.ENOENT, `lock ${name} is not held by this client`)
  if (others.length > 0 && (type !== 'shared' || info.type !== type)) throw refused(Errno.EBUSY, `lock ${name} is held by another client`)
  others.push({
    locker: me,
    cookie,
    expiration: isZero(duration) ? duration : later(utimeFromMs(object.now), duration),
    addr: { ...parseEntityAddr(object.caller.address), type: ADDRESS_TYPE_LEGACY },
    description,
  })
  writeLock(object, name, { lockers: others, type, tag })
})

async function removeLocker(object: ObjectContext, name: string, locker: EntityName, cookie: string): Promise<void> {
  const info = await readLock(object, name)
  const others = info.lockers.filter((other) => !isLocker(other, locker, cookie))
  if (others.length === info.lockers.length) throw refused(Errno.ENOENT, `lock ${name} is not held by this locker`)
  if (info.type === 'exclusive-ephemeral') object.remove()
  else writeLock(object, name, { ...info, lockers: others })
}

const unlock = write('unlock', unlockOp, (object, { name, cookie }) => removeLocker(object, name, callerName(object), cookie))
const breakLock = write('break_lock', breakOp, (object, { name, locker, cookie }) => removeLocker(object, name, locker, cookie))

const getInfo = read('get_info', getInfoOp, LockInfo, (object, { name }) => readLock(object, name))

const listLocks = read('list_locks', nothing, listLocksReply, async (object) => {
  const names = [...(await object.getXattrs()).keys()].filter((name) => name.startsWith(PREFIX))
  names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  return { locks: names.map((name) => name.slice(PREFIX.length)) }
})

/** The lock, if the caller holds it just so. @throws EBUSY */
async function heldLock(object: ObjectContext, name: string, type: LockType, cookie: string, tag: string): Promise<LockInfo> {
  requireValid(name, type)
  const info = await readLock(object, name)
  const me = callerName(object)
  if (info.type !== type || info.tag !== tag || !info.lockers.some((locker) => isLocker(locker, me, cookie)))
    throw refused(Errno.EBUSY, `lock ${name} is not held by this client`)
  return info
}

const assertLocked = guard('assert_locked', assertOp, async (object, { name, type, cookie, tag }) => {
  await heldLock(object, name, type, cookie, tag)
})

const setCookie = write('set_cookie', setCookieOp, async (object, { name, type, cookie, tag, newCookie }) => {
  const info = await heldLock(object, name, type, cookie, tag)
  const me = callerName(object)
  if (info.lockers.some((locker) => isLocker(locker, me, newCookie))) throw refused(Errno.EBUSY, `the new cookie of lock ${name} is taken`)
  const lockers = info.lockers.map((locker) => (isLocker(locker, me, cookie) ? { ...locker, cookie: newCookie } : locker))
  writeLock(object, name, { ...info, lockers })
})

export const lockMethods: readonly ServerMethod[] = [lock, unlock, breakLock, getInfo, listLocks, assertLocked, setCookie]
