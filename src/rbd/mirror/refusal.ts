import { errnoName, RadosError } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'

/**
 * A verb of mirroring that was refused, or has failed, with the words for the operator: librbd's own log lines, from the innermost to the
 * outermost, for scripts and manuals quote them.
 */
export class Refusal extends RadosError {
  constructor(
    errno: number,
    readonly lines: readonly string[],
    place: { io?: IoCtx; cause?: unknown } = {},
  ) {
    const { io, cause } = place
    super(errno, { op: lines.at(-1) ?? errnoName(errno), cluster: io?.clusterName, pool: io?.poolName, namespace: io?.namespace, cause })
    this.name = 'Refusal'
  }
}

/** Adds a line to what is said when `action` fails. */
export async function explained<T>(line: (errno: number) => string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    throw new Refusal(error.errno, [...(error instanceof Refusal ? error.lines : []), line(error.errno)], { cause: error })
  }
}
