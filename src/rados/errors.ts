/** Positive Linux errno values that RADOS and Ceph's object classes answer with. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  ENOEXEC: 8,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  EISDIR: 21,
  EINVAL: 22,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  EDOM: 33,
  ERANGE: 34,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ENODATA: 61,
  ENOLINK: 67,
  EBADMSG: 74,
  EOVERFLOW: 75,
  EILSEQ: 84,
  ERESTART: 85,
  EOPNOTSUPP: 95,
  ENOTCONN: 107,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  ESTALE: 116,
  EUCLEAN: 117,
  EDQUOT: 122,
  ECANCELED: 125,
} as const

export type ErrnoName = keyof typeof Errno

const names = new Map<number, ErrnoName>(Object.entries(Errno).map(([name, value]) => [value, name as ErrnoName]))

/** RADOS says "this client is blocklisted" with ESHUTDOWN (108). */
export const EBLOCKLISTED = Errno.ESHUTDOWN

export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`
}

/** Where a RADOS call was going; every part that is known is told to the operator. */
export interface RadosErrorContext {
  op: string
  cluster?: string | undefined
  pool?: string | undefined
  namespace?: string | undefined
  oid?: string | undefined
  cause?: unknown
}

/** An errno answered by a cluster (or by the driver on its behalf, such as ETIMEDOUT), with its target. `errno` is positive. */
export class RadosError extends Error {
  readonly errno: number
  readonly code: string
  readonly op: string
  readonly cluster: string | undefined
  readonly pool: string | undefined
  readonly namespace: string | undefined
  readonly oid: string | undefined

  constructor(errno: number, context: RadosErrorContext) {
    const positive = Math.abs(errno)
    const place = [context.pool, context.namespace || undefined, context.oid].filter((part) => part !== undefined).join('/')
    super(
      `${context.op}${place ? ` ${place}` : ''}${context.cluster ? ` on cluster ${context.cluster}` : ''}: ${errnoName(positive)}`,
      context.cause === undefined ? undefined : { cause: context.cause },
    )
    this.name = 'RadosError'
    this.errno = positive
    this.code = errnoName(positive)
    this.op = context.op
    this.cluster = context.cluster
    this.pool = context.pool
    this.namespace = context.namespace
    this.oid = context.oid
  }
}

/** True when `error` is a RadosError with one of `errnos` (positive). */
export function isErrno(error: unknown, ...errnos: number[]): error is RadosError {
  return error instanceof RadosError && errnos.includes(error.errno)
}

/**
 * What an errno means to whoever drives an image or a pool:
 * - `transient`: try again later, nothing is wrong with the data;
 * - `image`: this image can't go on before an operator or a newer state cures it;
 * - `pool`: this connection is lost (blocklisted, shut down): rebuild it;
 * - `bug`: we sent what the cluster can't understand.
 */
export type ErrorSeverity = 'transient' | 'image' | 'pool' | 'bug'

const severities: Partial<Record<ErrnoName, ErrorSeverity>> = {
  EAGAIN: 'transient',
  EINTR: 'transient',
  EBUSY: 'transient',
  ETIMEDOUT: 'transient',
  ECANCELED: 'transient',
  ERESTART: 'transient',
  ENOTCONN: 'transient',
  ESTALE: 'transient',
  ENOMEM: 'transient',
  EROFS: 'transient',
  ENOSPC: 'transient',
  EDQUOT: 'transient',
  ESHUTDOWN: 'pool',
  EINVAL: 'bug',
  ENOEXEC: 'bug',
}

export function severityOf(error: unknown): ErrorSeverity {
  return error instanceof RadosError ? (severities[errnoName(error.errno) as ErrnoName] ?? 'image') : 'bug'
}

/** Undefined where an object, or what is looked for in it, is not there (ENOENT). */
export async function ifThere<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}
