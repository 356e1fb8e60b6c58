import type { MirrorMode } from '../../../cls/rbd/mirror-types.ts'
import { getPeerAttributes } from '../../../rbd/mirror/peer-attributes.ts'
import { getMirrorMode } from '../../../rbd/mirror/get-mirror-mode.ts'
import { listPeers } from '../../../rbd/mirror/peers.ts'
import { setMirrorMode } from '../../../rbd/mirror/pool-mode.ts'
import { getSiteName } from '../../../rbd/mirror/site-name.ts'
import { Errno } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, poolSpec, together, verboseOption } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, attemptSilently, invalid } from '../frame/failure.ts'
import { takePool } from '../frame/specs.ts'
import { printPeers } from './peer-format.ts'
import { demoteAll, promoteAll } from './pool-images.ts'
import { poolStatus } from './pool-status.ts'
import { applySiteName, siteNameOption } from './site-name-option.ts'

async function enable(context: CommandContext): Promise<void> {
  const name = takePool(context, { validate: true, namespaces: true })
  const mode = context.args.take()
  if (mode !== 'image' && mode !== 'pool') throw invalid("must specify 'image' or 'pool' mode.")
  const io = await context.openPool(name)
  const renamed = await applySiteName(context)
  await changeMode(context, io, mode, !renamed)
}

async function disable(context: CommandContext): Promise<void> {
  const io = await context.openPool(takePool(context, { validate: true, namespaces: true }))
  await changeMode(context, io, 'disabled', true)
}

/** @param tellNoChange whether it is worth a word that the mode is as wanted already */
async function changeMode(context: CommandContext, io: IoCtx, next: MirrorMode, tellNoChange: boolean): Promise<void> {
  const current = await attempt('failed to retrieve mirror mode', () => getMirrorMode(io))
  if (current === next) {
    if (tellNoChange) context.line(next === 'disabled' ? 'rbd: mirroring is already disabled' : `rbd: mirroring is already configured for ${next} mode`)
    return
  }
  if (current !== 'disabled' && next !== 'disabled') context.line(`note: changing mirroring mode from ${current} to ${next}`)
  const options = await context.imageOptions('write')
  await attemptSilently(undefined, () => setMirrorMode(io, next, options))
}

async function info(context: CommandContext): Promise<void> {
  const name = takePool(context, { validate: false, namespaces: true })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const cluster = await context.cluster()
  const mode = await attemptSilently(undefined, () => getMirrorMode(io))
  const siteName = await attemptSilently(undefined, () => getSiteName(cluster))
  const peers = name.namespace === '' ? await attemptSilently(undefined, () => listPeers(io)) : []
  if (formatter) formatter.openObject('mirror').string('mode', mode)
  else context.line(`Mode: ${mode}`)
  if (mode !== 'disabled' && name.namespace === '') {
    if (formatter) formatter.string('site_name', siteName)
    else context.line(`Site Name: ${siteName}\n`)
    const attributes = (uuid: string) =>
      attempt('error reading mirroring peer config', () => getPeerAttributes(cluster, io, uuid), {
        [Errno.EPERM]: 'permission denied attempting to access peer config-key secrets from the monitor',
        [Errno.EINVAL]: 'corrupt mirroring peer config',
      })
    await printPeers(context, formatter, peers, context.args.flag('all') ? async ({ uuid }) => (await attributes(uuid)) ?? new Map() : undefined)
  }
  if (formatter) context.terminal.out(formatter.close().toString())
}

const forceOption = { name: 'force', flag: true, description: 'promote even if not cleanly demoted by remote cluster' }

export const mirrorPoolCommands: readonly Command[] = [
  {
    path: ['mirror', 'pool', 'enable'],
    description: 'Enable RBD mirroring by default within a pool.',
    arguments: together(poolSpec(true), { positional: [{ name: 'mode', description: 'mirror mode [image or pool]' }], options: [siteNameOption] }),
    execute: enable,
  },
  {
    path: ['mirror', 'pool', 'disable'],
    description: 'Disable RBD mirroring by default within a pool.',
    arguments: poolSpec(true),
    execute: disable,
  },
  {
    path: ['mirror', 'pool', 'info'],
    description: 'Show information about the pool mirroring configuration.',
    arguments: together(poolSpec(true), formatOptions, [{ name: 'all', flag: true, description: 'list all attributes' }]),
    execute: info,
  },
  {
    path: ['mirror', 'pool', 'status'],
    description: 'Show status for all mirrored images in the pool.',
    arguments: together(poolSpec(true), formatOptions, [verboseOption]),
    execute: poolStatus,
  },
  {
    path: ['mirror', 'pool', 'promote'],
    description: 'Promote all non-primary images in the pool.',
    arguments: together([forceOption], poolSpec(true)),
    execute: promoteAll,
  },
  {
    path: ['mirror', 'pool', 'demote'],
    description: 'Demote all primary images in the pool.',
    arguments: poolSpec(true),
    execute: demoteAll,
  },
]
