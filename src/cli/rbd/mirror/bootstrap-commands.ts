import { readFile } from 'node:fs/promises'
import { systemRandom } from '../../../base/random.ts'
import { parseMonHost } from '../../../config/mon-host.ts'
import type { Cluster } from '../../../rados/cluster.ts'
import { Errno } from '../../../rados/errors.ts'
import { createToken, importToken } from '../../../rbd/mirror/bootstrap.ts'
import { monitorAddresses } from '../../../rbd/mirror/monitor-addresses.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, attemptSilently, CommandFailure, invalid } from '../frame/failure.ts'
import { takePool } from '../frame/specs.ts'
import { requirePoolMirroring } from './require-mirroring.ts'
import { applySiteName } from './site-name-option.ts'

/** bytes: longer ones are no tokens */
const maxTokenLength = 1023

export async function bootstrapCreate(context: CommandContext): Promise<void> {
  const io = await context.openPool(takePool(context, { validate: true, namespaces: false }))
  await requirePoolMirroring(io)
  await applySiteName(context)
  const cluster = await context.cluster()
  const token = await attempt('failed to create mirroring bootstrap token', async () => createToken(cluster, await ownAddresses(context, cluster)), {
    [Errno.EEXIST]: 'mismatch with pre-existing RBD mirroring peer user caps',
  })
  context.line(token)
}

export async function bootstrapImport(context: CommandContext): Promise<void> {
  const { args } = context
  const name = takePool(context, { validate: true, namespaces: false })
  const path = args.text('token-path') ?? args.take()
  if (path === '') throw invalid('token path was not specified')
  const token = path === '-' ? await context.terminal.readInput(maxTokenLength) : await readToken(path)
  const io = await context.openPool(name)
  await applySiteName(context)
  const cluster = await context.cluster()
  const imageOptions = await context.imageOptions('write')
  await attemptSilently(
    'failed to import peer bootstrap token',
    async () =>
      importToken({
        io,
        cluster,
        monHost: await ownAddresses(context, cluster),
        direction: args.value<'rx' | 'rx-tx'>('direction') ?? 'rx-tx',
        token: token.toString(),
        connect: (parsed) => context.connectPeer(parsed),
        imageOptions,
        random: systemRandom,
        log: context.log,
      }),
    { [Errno.ENOSYS]: 'mirroring is not enabled on remote peer' },
  )
}

async function readToken(path: string): Promise<Buffer> {
  try {
    return (await readFile(path)).subarray(0, maxTokenLength)
  } catch (error) {
    const errno = Math.abs((error as NodeJS.ErrnoException).errno ?? Errno.EIO)
    throw new CommandFailure(errno, `error opening ${path}`, { cause: error })
  }
}

/** Where peers reach this cluster. */
async function ownAddresses(context: CommandContext, cluster: Cluster): Promise<string> {
  const configured = context.configuration.options.get('mon_host')
  return parseMonHost(configured).driver === 'ceph' ? ((await monitorAddresses(cluster)) ?? configured) : configured
}
