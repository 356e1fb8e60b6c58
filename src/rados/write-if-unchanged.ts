import { Errno, isErrno } from './errors.ts'
import type { IoCtx } from './io-ctx.ts'
import { ReadOperation, WriteOperation } from './operation.ts'

/** Others may change the object at the same time; so often they may win. */
const maxRaces = 16

/**
 * Writes what follows from the state of an object, if it is that state still when it is written, however late that is; else `plan` looks again.
 *
 * @param plan reads of the object what it needs; adds to the operation, or says that there is nothing to write
 * @returns whether something was written. Rejects with RadosError: ENOENT without the object, ERANGE when others change it again and again.
 */
export async function writeIfUnchanged(io: IoCtx, oid: string, plan: (operation: WriteOperation) => Promise<WriteOperation | undefined>): Promise<boolean> {
  for (let race = 0; ; race++) {
    const { version } = await io.read(oid, new ReadOperation().assertExists())
    const operation = await plan(new WriteOperation().assertVersion(version))
    if (!operation) return false
    try {
      await io.write(oid, operation)
      return true
    } catch (error) {
      if (race >= maxRaces || !isErrno(error, Errno.ERANGE)) throw error
    }
  }
}
