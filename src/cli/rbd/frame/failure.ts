import { errnoText } from '../../../rados/errno-text.ts'
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
