import type { IoCtx } from '../../rados/io-ctx.ts'
import { WriteOperation, type WriteStep } from '../../rados/operation.ts'
import type { ImageHeader } from '../header.ts'

/**
 * Writes to an object that may lie in an erasure-coded pool. Its OSDs (seen with 16.2.15) lose what lies between, when one operation cuts an
 * object off, or zeroes it up to its end, and writes to the same stripe: so each of these goes by itself, before the data. The steps must not
 * overlap, and whoever is cut off between two of them has to begin anew.
 */
export async function writeInTurns(io: IoCtx, oid: string, operation: WriteOperation): Promise<void> {
  const conditions = operation.steps.filter(({ type }) => type === 'assertExists' || type === 'create')
  const cuts = operation.steps.filter(({ type }) => type === 'truncate' || type === 'zero')
  const others = operation.steps.filter((step) => !conditions.includes(step) && !cuts.includes(step))
  for (const cut of cuts) await io.write(oid, operationOf([...conditions, cut]))
  if (others.length > 0 || cuts.length === 0) await io.write(oid, operationOf([...conditions, ...others]))
}

function operationOf(steps: readonly WriteStep[]): WriteOperation {
  const operation = new WriteOperation()
  operation.steps.push(...steps)
  return operation
}

/** Only data may lie in an erasure-coded pool, and then in one of its own. */
export function mayBeErasureCoded({ dataPoolId }: Pick<ImageHeader, 'dataPoolId'>): boolean {
  return dataPoolId !== undefined
}
