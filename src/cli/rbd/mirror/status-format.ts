import type { MirrorImageSiteStatus, MirrorPeer } from '../../../cls/rbd/mirror-types.ts'
import type { DaemonService } from '../../../rbd/mirror/daemon-services.ts'
import type { GlobalStatus } from '../../../rbd/mirror/status.ts'
import type { CommandContext } from '../frame/context.ts'
import type { Formatter } from '../frame/formatter.ts'

/** `up+replaying` */
export function siteState({ up, state }: MirrorImageSiteStatus): string {
  return `${up ? 'up' : 'down'}+${state}`
}

/** Local time, as `date` would say it; '' for never. */
export function timeText(seconds: number): string {
  if (seconds === 0) return ''
  const time = new Date(seconds * 1000)
  const two = (number: number) => String(number).padStart(2, '0')
  const date = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`
  return `${date} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`
}

/** What the peers' mirror uuids stand for. */
export function siteNames(peers: readonly MirrorPeer[]): Map<string, string> {
  return new Map(peers.filter(({ mirrorUuid, siteName }) => mirrorUuid !== '' && siteName !== '').map(({ mirrorUuid, siteName }) => [mirrorUuid, siteName]))
}

export interface ImageStatusView {
  name: string
  globalImageId: string
  status: GlobalStatus
  service: DaemonService | undefined
  siteNames: ReadonlyMap<string, string>
}

/** Members of an object that is open. */
export function formatImageStatus(formatter: Formatter, { name, globalImageId, status, service, siteNames }: ImageStatusView): void {
  const { local, remotes } = status
  formatter.string('name', name).string('global_id', globalImageId)
  if (local) {
    formatter.string('state', siteState(local)).string('description', local.description)
    if (service) {
      formatter.openObject('daemon_service').string('service_id', service.serviceId).string('instance_id', service.instanceId)
      formatter.string('daemon_id', service.clientId).string('hostname', service.hostname).close()
    }
    formatter.string('last_update', timeText(local.lastUpdate.sec))
  }
  if (remotes.length === 0) return
  formatter.openArray('peer_sites')
  for (const site of remotes) {
    formatter.openObject('peer_site').string('site_name', siteNames.get(site.mirrorUuid) ?? '').string('mirror_uuids', site.mirrorUuid)
    formatter.string('state', siteState(site)).string('description', site.description).string('last_update', timeText(site.lastUpdate.sec)).close()
  }
  formatter.close()
}

export function printImageStatus(context: CommandContext, { name, globalImageId, status, service, siteNames }: ImageStatusView): void {
  const { local, remotes } = status
  context.line(`${name}:\n  global_id:   ${globalImageId}`)
  if (local) {
    context.line(`  state:       ${siteState(local)}\n  description: ${local.description}`)
    if (service) context.line(`  service:     ${service.clientId || service.serviceId}${service.hostname === '' ? '' : ` on ${service.hostname}`}`)
    context.line(`  last_update: ${timeText(local.lastUpdate.sec)}`)
  }
  if (remotes.length === 0) return
  const sites = remotes.map(
    (site) =>
      `    name: ${siteNames.get(site.mirrorUuid) ?? site.mirrorUuid}\n    state: ${siteState(site)}\n` +
      `    description: ${site.description}\n    last_update: ${timeText(site.lastUpdate.sec)}\n`,
  )
  context.terminal.out(`  peer_sites:\n${sites.join('\n')}`)
}
