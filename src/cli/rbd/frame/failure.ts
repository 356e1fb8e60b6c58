import { isErrno, RadosError, Errno } from '../../../rados/errors.ts'

/** Ends a command with a status other than 0. The C++ tool's status is the errno of what failed, or 1 for what it can't parse. */
export class CommandFailure extends Error {
  /**
   * @param status exit status
   * @param line what is said on stderr behind `rbd: `; undefined when enough has been said
   */
  constructor(
    readonly status: number,
    line?: string,
    options?: { cause?: unknown },
  ) {
    super(line ?? '', options)
    this.name = 'CommandFailure'
  }
}

/** The command line can't be understood. */
export class UsageFailure extends CommandFailure {
  constructor(line: string) {
    super(1, line)
    this.name = 'UsageFailure'
  }
}

/** An argument is wrong: the tool's own checks end with EINVAL. */
export function invalid(line: string): CommandFailure {
  return new CommandFailure(Errno.EINVAL, line)
}

/**
 * Turns what a cluster answers into the command's end: `rbd: WHAT: (2) No such file or directory`. All else passes through.
 *
 * @param texts what is said instead, by errno
 */
export async function attempt<T>(what: string, action: () => Promise<T>, texts: Readonly<Record<number, string>> = {}): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    throw new CommandFailure(error.errno, texts[error.errno] ?? `${what}: ${errnoText(error.errno)}`, { cause: error })
  }
}

/** As {@link attempt}, but the errno is not spelled out (or nothing is said at all). */
export async function attemptSilently<T>(line: string | undefined, action: () => Promise<T>, texts: Readonly<Record<number, string>> = {}): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    throw new CommandFailure(error.errno, texts[error.errno] ?? line, { cause: error })
  }
}

/** Resolves with undefined for one of these errnos. */
export async function unlessErrno<T>(action: Promise<T>, ...errnos: number[]): Promise<T | undefined> {
  try {
    return await action
  } catch (error) {
    if (isErrno(error, ...errnos)) return undefined
    throw error
  }
}

/** `(2) No such file or directory`, as Ceph prints an errno (cpp_strerror). */
export function errnoText(errno: number): string {
  return `(${errno}) ${texts[errno] ?? `Unknown error ${errno}`}`
}

/** The C library's words. */
const texts: Readonly<Record<number, string>> = {
  1: 'Operation not permitted',
  2: 'No such file or directory',
  4: 'Interrupted system call',
  5: 'Input/output error',
  7: 'Argument list too long',
  8: 'Exec format error',
  9: 'Bad file descriptor',
  11: 'Resource temporarily unavailable',
  12: 'Cannot allocate memory',
  13: 'Permission denied',
  16: 'Device or resource busy',
  17: 'File exists',
  18: 'Invalid cross-device link',
  19: 'No such device',
  20: 'Not a directory',
  21: 'Is a directory',
  22: 'Invalid argument',
  27: 'File too large',
  28: 'No space left on device',
  29: 'Illegal seek',
  30: 'Read-only file system',
  32: 'Broken pipe',
  33: 'Numerical argument out of domain',
  34: 'Numerical result out of range',
  36: 'File name too long',
  38: 'Function not implemented',
  39: 'Directory not empty',
  61: 'No data available',
  67: 'Link has been severed',
  71: 'Protocol error',
  74: 'Bad message',
  75: 'Value too large for defined data type',
  84: 'Invalid or incomplete multibyte or wide character',
  85: 'Interrupted system call should be restarted',
  95: 'Operation not supported',
  104: 'Connection reset by peer',
  107: 'Transport endpoint is not connected',
  108: 'Cannot send after transport endpoint shutdown',
  110: 'Connection timed out',
  111: 'Connection refused',
  116: 'Stale file handle',
  122: 'Disk quota exceeded',
  125: 'Operation canceled',
}
