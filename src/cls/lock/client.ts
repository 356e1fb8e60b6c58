import { nothing } from '../../encoding/codec.ts'
import { readMethod, writeMethod } from '../method.ts'
import { assertOp, breakOp, getInfoOp, listLocksReply, lockOp, setCookieOp, unlockOp } from './operations.ts'
import { LockInfo } from './types.ts'

/* The methods of object class `lock` (cls/lock/cls_lock_client.cc). A lock has a name within its object, a tag that all its lockers share, and lockers told apart by client and cookie. */

const cls = 'lock'
/** EBUSY when somebody else holds it (also under another tag), EEXIST when this client and cookie do and may not renew. */
export const lock = writeMethod({ cls, name: 'lock', input: lockOp })
/** ENOENT when this client and cookie do not hold it. */
export const unlock = writeMethod({ cls, name: 'unlock', input: unlockOp })
/** Takes the lock away from `locker`; ENOENT when it does not hold it. */
export const breakLock = writeMethod({ cls, name: 'break_lock', input: breakOp })
/** An object without locks has no lockers; ENOENT without the object. */
export const getInfo = readMethod({ cls, name: 'get_info', input: getInfoOp, output: LockInfo })
export const listLocks = readMethod({ cls, name: 'list_locks', input: nothing, output: listLocksReply })
/** A guard for operations: EBUSY unless this client and cookie hold the lock. */
export const assertLocked = writeMethod({ cls, name: 'assert_locked', input: assertOp })
/** EBUSY unless this client and cookie hold the lock, or when the new cookie is taken. */
export const setCookie = writeMethod({ cls, name: 'set_cookie', input: setCookieOp })
