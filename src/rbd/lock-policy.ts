import { Errno } from '../rados/errors.ts'

/** Kinds of requests that peers send to the owner of an image's lock (librbd exclusive_lock::OperationRequestType). */
export type OperationRequestType = 'general' | 'trashSnapRemove' | 'forcePromotion'

export type LockAnswer = 'release' | number

/** What the owner of an exclusive lock answers its peers. Errnos are positive. */
export interface LockPolicy {
  /** A peer wants the lock: `release` gives it, an errno refuses. The peer waits for the answer; a promise must not reject. */
  lockRequested(force: boolean): LockAnswer | Promise<LockAnswer>
  /** A peer wants something done: `accept` does it here, an errno refuses. */
  operationRequested(type: OperationRequestType): 'accept' | number
}

/** As any client of an image: the lock goes to whoever asks, operations are done for others. */
export const standardLockPolicy: LockPolicy = {
  lockRequested: () => 'release',
  operationRequested: () => 'accept',
}

/**
 * As a guest of an image that is not ours to change, such as another site's: the lock goes to whoever asks, and nothing is done for others, who then ask for the lock and do it
 * themselves. Done here, it would not be in the image's journal, so that no replica would ever have it, and could write the image's data.
 */
export const guestLockPolicy: LockPolicy = {
  lockRequested: () => 'release',
  operationRequested: () => Errno.EOPNOTSUPP,
}

/**
 * As the owner of a replica: keeps the lock, and does only what a forced promotion asks for
 * (tools/rbd_mirror OpenLocalImageRequest, MirrorExclusiveLockPolicy).
 */
export const replicaLockPolicy: LockPolicy = {
  lockRequested: () => Errno.EROFS,
  operationRequested: (type) => (type === 'general' ? Errno.EROFS : 'accept'),
}

/** As a client in the middle of a change of ownership: hears who wants the lock, and keeps it until the change is done. */
export const keepingLockPolicy: LockPolicy = {
  lockRequested: () => 0,
  operationRequested: () => 'accept',
}
