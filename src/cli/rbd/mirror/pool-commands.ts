import { getMirrorMode } from '../../../rbd/mirror/get-mirror-mode.ts'
import { listPeers } from '../../../rbd/mirror/peers.ts'
import { getSiteName } from '../../../rbd/mirror/site-name.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, poolSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attemptSilently } from '../frame/failure.ts'
import { takePool } from '../frame/specs.ts'
import { printPeers } from './peer-format.ts'

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
    await printPeers(context, formatter, peers, undefined)
  }
  if (formatter) context.terminal.out(formatter.close().toString())
}

export const mirrorPoolCommands: readonly Command[] = [
  {
    path: ['mirror', 'pool', 'info'],
    description: 'Show information about the pool mirroring configuration.',
    arguments: together(poolSpec(true), formatOptions, [{ name: 'all', flag: true, description: 'list all attributes' }]),
    execute: info,
  },
]
