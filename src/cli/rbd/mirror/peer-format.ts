import type { MirrorPeer } from '../../../cls/rbd/mirror-types.ts'
import type { CommandContext } from '../frame/context.ts'
import type { Formatter } from '../frame/formatter.ts'

/** What `direction` is called on the command line. */
export const directionNames = { rx: 'rx-only', tx: 'tx-only', 'rx-tx': 'rx-tx' } as const

/** @param attributes of a peer, from the monitors; undefined when they were not asked for */
export async function printPeers(
  context: CommandContext,
  formatter: Formatter | undefined,
  peers: readonly MirrorPeer[],
  attributes: ((peer: MirrorPeer) => Promise<ReadonlyMap<string, string>>) | undefined,
): Promise<void> {
  if (formatter) formatter.openArray('peers')
  else context.line(`Peer Sites: ${peers.length === 0 ? 'none' : ''}`)
  for (const peer of peers) {
    const more = await attributes?.(peer)
    if (formatter) {
      formatter.openObject('peer').string('uuid', peer.uuid).string('direction', directionNames[peer.direction]).string('site_name', peer.siteName)
      formatter.string('mirror_uuid', peer.mirrorUuid).string('client_name', peer.clientName)
      for (const [name, value] of more ?? []) formatter.string(name, value)
      formatter.close()
      continue
    }
    context.line(`\nUUID: ${peer.uuid}\nName: ${peer.siteName}`)
    if (peer.direction !== 'rx' || peer.mirrorUuid !== '') context.line(`Mirror UUID: ${peer.mirrorUuid}`)
    context.line(`Direction: ${directionNames[peer.direction]}`)
    if (peer.direction !== 'tx' || peer.clientName !== '') context.line(`Client: ${peer.clientName}`)
    if (more) context.line(`Mon Host: ${more.get('mon_host') ?? ''}\nKey: ${more.get('key') ?? ''}`)
    if (peer.siteName !== peers.at(-1)!.siteName) context.line()
  }
  formatter?.close()
}
