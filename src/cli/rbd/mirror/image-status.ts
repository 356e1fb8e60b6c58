import type { MirrorImage } from '../../../cls/rbd/mirror-types.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { RadosError } from '../../../rados/errors.ts'
import type { Image } from '../../../rbd/image.ts'
import type { DaemonService } from '../../../rbd/mirror/daemon-services.ts'
import { promotionOf } from '../../../rbd/mirror/mirror-info.ts'
import { isDemoted, isPrimary, mirrorSnapshots, type MirrorSnapshot } from '../../../rbd/mirror/mirror-snapshot.ts'
import { listPeers } from '../../../rbd/mirror/peers.ts'
import { getGlobalStatus, getInstanceId } from '../../../rbd/mirror/status.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, attemptSilently } from '../frame/failure.ts'
import { takeImage } from '../frame/specs.ts'
import { loadServices } from './pool-status.ts'
import { requireImageMirroring } from './require-mirroring.ts'
import { formatImageStatus, printImageStatus, siteNames } from './status-format.ts'

/** `mirror image status` */
export async function imageStatus(context: CommandContext): Promise<void> {
  const formatter = context.formatter()
  const name = takeImage(context, { snap: 'none' })
  const io = await context.openPool(name)
  const image = await context.openImage(io, { name: name.image }, 'read-only')
  const entry = await requireImageMirroring(image)
  const { globalImageId } = entry
  const pool = context.adopt(io.duplicate({ namespace: '' }))
  const peers = await attemptSilently('failed to list mirror peers', () => listPeers(pool))
  const status = await attempt(`failed to get status for image ${name.image}`, () => getGlobalStatus(io, globalImageId, peers))
  const service = status.local?.up ? await serviceOf(context, image, entry) : undefined
  const snapshots = ownSnapshots(image, entry)
  const view = { name: name.image, globalImageId, status, service, siteNames: siteNames(peers) }
  if (!formatter) {
    printImageStatus(context, view)
    if (snapshots.length > 0) context.line(`  snapshots:\n${snapshots.map(snapshotLine).join('\n')}`)
    return
  }
  formatter.openObject('image')
  formatImageStatus(formatter, view)
  if (snapshots.length > 0) {
    formatter.openArray('snapshots')
    for (const { id, name: snapshotName, namespace } of snapshots) {
      formatter.openObject('snapshot').number('id', id).string('name', snapshotName).bool('demoted', isDemoted(namespace)).openArray('mirror_peer_uuids')
      for (const uuid of [...namespace.mirrorPeerUuids].sort()) formatter.string('peer_uuid', uuid)
      formatter.close().close()
    }
    formatter.close()
  }
  context.terminal.out(formatter.close().toString())
}

function snapshotLine({ id, name, namespace }: MirrorSnapshot): string {
  return `    ${id} ${name} (${isDemoted(namespace) ? 'demoted ' : ''}peer_uuids:[${[...namespace.mirrorPeerUuids].sort().join(',')}])`
}

/** Those that a primary has made; a replica's are nobody's business. */
function ownSnapshots(image: Image, { mode }: MirrorImage): MirrorSnapshot[] {
  const { snapshots } = image.header
  if (mode !== 'snapshot' || promotionOf(snapshots).state !== 'primary') return []
  return mirrorSnapshots(snapshots).filter(({ namespace }) => isPrimary(namespace))
}

/** Which daemon has the image; what hinders finding out does not hinder the status. */
async function serviceOf(context: CommandContext, image: Image, { globalImageId }: MirrorImage): Promise<DaemonService | undefined> {
  let instanceId: string | undefined
  try {
    instanceId = await getInstanceId(image.io, globalImageId)
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    context.complain(`failed to get service id for image ${image.header.name}: ${errnoText(error.errno)}`)
  }
  if (instanceId === undefined) return undefined
  const { services } = await loadServices(context, image.io)
  return services.find((service) => service.instanceId === instanceId)
}
