import { Cancelled } from '../../../src/base/cancelled.ts'
import { Crashed } from '../../../src/drivers/faulty/fault-injector.ts'
import { NotConfirmed } from '../../../src/mirror/confirm-gone.ts'
import { errnoName, RadosError, type ErrnoName } from '../../../src/rados/errors.ts'
import type { Logged } from '../world/world.ts'

/** What may be told of where something goes wrong on purpose: time-outs, lost watches and locks, what another has just removed or taken. */
const EXPECTED: readonly ErrnoName[] = ['ETIMEDOUT', 'ESHUTDOWN', 'ENOTCONN', 'EBUSY', 'EAGAIN', 'ENOENT', 'EROFS', 'ERESTART', 'ENOSPC', 'EBADF', 'ESTALE', 'EEXIST']

/** Whether a log entry tells of something that nobody has brought about: a mistake in the program. */
export function isMistake({ fields }: Logged): boolean {
  const { err, error } = fields as { err?: unknown; error?: unknown }
  return isUnexpected(err) || isUnexpected(error)
}

function isUnexpected(error: unknown): boolean {
  if (error === undefined) return false
  if (error instanceof RadosError) return !EXPECTED.includes(errnoName(error.errno) as ErrnoName)
  // what a daemon decided to leave alone is no mistake
  if (error instanceof Cancelled || error instanceof Crashed || error instanceof NotConfirmed) return false
  if (error instanceof Error) return error.cause === undefined || isUnexpected(error.cause)
  return typeof error === 'string' && /TypeError|RangeError|assertion|unreachable/.test(error)
}
