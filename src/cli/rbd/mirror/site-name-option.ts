import { getSiteName, setSiteName } from '../../../rbd/mirror/site-name.ts'
import { Errno } from '../../../rados/errors.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, unlessErrno } from '../frame/failure.ts'
import type { OptionSpec } from '../frame/option-spec.ts'

export const siteNameOption: OptionSpec = { name: 'site-name', description: 'local site name' }

/** Does what `--site-name` asks for, if it was given. Resolves with whether the name has changed by that. */
export async function applySiteName(context: CommandContext): Promise<boolean> {
  const name = context.args.text('site-name')
  if (name === undefined) return false
  const cluster = await context.cluster()
  const before = await unlessErrno(getSiteName(cluster), Errno.EOPNOTSUPP)
  await attempt('failed to set site name', () => setSiteName(cluster, name))
  return before !== undefined && before !== name
}
