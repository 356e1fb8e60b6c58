import { list, string, u8, utime } from '../../encoding/codec.ts'
import { EntityName } from '../../encoding/entity.ts'
import { struct } from '../../encoding/struct.ts'
import { LockType } from './types.ts'

/* Inputs and outputs of the methods of object class `lock` (cls/lock/cls_lock_ops.h). */

const header = { version: 1, compat: 1 }

export const lockOp = struct(header, {
  name: string,
  type: LockType,
  cookie: string,
  tag: string,
  description: string,
  /** zero: until it is unlocked */
  duration: utime,
  /** LockFlag */
  flags: u8,
})
export const unlockOp = struct(header, { name: string, cookie: string })
export const breakOp = struct(header, { name: string, locker: EntityName, cookie: string })
export const getInfoOp = struct(header, { name: string })
export const assertOp = struct(header, { name: string, type: LockType, cookie: string, tag: string })
export const setCookieOp = struct(header, { name: string, type: LockType, cookie: string, tag: string, newCookie: string })
export const listLocksReply = struct(header, { locks: list(string) })
