import { forEachBounded } from '../../../base/bounded.ts'
import { MIRROR_IMAGE_STATUS_STATES, type MirrorImageStatusState } from '../../../cls/rbd/mirror-types.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { RadosError } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { listImages } from '../../../rbd/directory.ts'
import { loadDaemonServices, worst, type DaemonService, type DaemonServices, type Health } from '../../../rbd/mirror/daemon-services.ts'
import { findMirrorImage } from '../../../rbd/mirror/image-entry.ts'
import { listPeers } from '../../../rbd/mirror/peers.ts'
import { getGlobalStatus, getStatusSummary, listInstanceIds } from '../../../rbd/mirror/status.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, attemptSilently } from '../frame/failure.ts'
import type { Formatter } from '../frame/formatter.ts'
import { takePool } from '../frame/specs.ts'
import { requirePoolMirroring } from './require-mirroring.ts'
import { formatImageStatus, printImageStatus, siteNames, type ImageStatusView } from './status-format.ts'

/** Images that are asked for at a time (rbd_concurrent_management_ops). */
const concurrency = 10
const stateNames = Object.keys(MIRROR_IMAGE_STATUS_STATES) as MirrorImageStatusState[]

/** `mirror pool status` */
export async function poolStatus(context: CommandContext): Promise<void> {
  const name = takePool(context, { validate: false, namespaces: true })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  await requirePoolMirroring(io)
  const summary = await attempt('failed to get status summary for mirrored images', () => getStatusSummary(io))
  const states = stateNames.filter((state) => summary.has(state)).map((state) => ({ state, images: summary.get(state)! }))
  const daemons = await loadServices(context, io)
  const imageHealth = healthOf(states.map(({ state }) => state))
  const health = worst(imageHealth, daemons.health)
  if (formatter) {
    formatter.openObject('status').openObject('summary').string('health', health).string('daemon_health', daemons.health)
    formatter.string('image_health', imageHealth).openObject('states')
    for (const { state, images } of states) formatter.number(state, images)
    formatter.close().close()
  } else {
    const total = states.reduce((sum, { images }) => sum + images, 0)
    context.line(`health: ${health}\ndaemon health: ${daemons.health}\nimage health: ${imageHealth}\nimages: ${total} total`)
    for (const { state, images } of states) context.line(`    ${images} ${state}`)
  }
  if (context.args.flag('verbose')) {
    if (formatter) formatDaemons(formatter, daemons.services)
    else printDaemons(context, daemons.services)
    await showImages(context, io, formatter, daemons.services)
  }
  if (formatter) context.terminal.out(formatter.close().toString())
}

export async function loadServices(context: CommandContext, io: IoCtx): Promise<DaemonServices> {
  const loaded = await loadDaemonServices(await context.cluster(), io.poolId)
  if (loaded.failure) context.complain(`${loaded.failure.what}: ${errnoText(loaded.failure.errno)}`)
  return loaded
}

function healthOf(states: readonly MirrorImageStatusState[]): Health {
  if (states.includes('error')) return 'ERROR'
  return states.every((state) => state === 'replaying' || state === 'stopped') ? 'OK' : 'WARNING'
}

function formatDaemons(formatter: Formatter, services: readonly DaemonService[]): void {
  formatter.openArray('daemons')
  for (const { serviceId, instanceId, clientId, hostname, version, leader, health, callouts } of services) {
    formatter.openObject('daemon').string('service_id', serviceId).string('instance_id', instanceId).string('client_id', clientId)
    formatter.string('hostname', hostname).string('ceph_version', version).bool('leader', leader).string('health', health)
    if (callouts.length > 0) {
      formatter.openArray('callouts')
      for (const callout of callouts) formatter.string('callout', callout)
      formatter.close()
    }
    formatter.close()
  }
  formatter.close()
}

function printDaemons(context: CommandContext, services: readonly DaemonService[]): void {
  context.line('\nDAEMONS')
  if (services.length === 0) context.line('  none')
  for (const { serviceId, instanceId, clientId, hostname, version, leader, health, callouts } of services) {
    context.line(`service ${serviceId}:\n  instance_id: ${instanceId}\n  client_id: ${clientId}\n  hostname: ${hostname}\n  version: ${version}`)
    context.line(`  leader: ${leader}\n  health: ${health}`)
    if (callouts.length > 0) context.line(`  callouts: ${callouts.join(',')}`)
    context.line()
  }
  context.line()
}

async function showImages(context: CommandContext, io: IoCtx, formatter: Formatter | undefined, services: readonly DaemonService[]): Promise<void> {
  const views = await loadImages(context, io, services)
  if (formatter) {
    formatter.openArray('images')
    for (const view of views) {
      formatter.openObject('image')
      formatImageStatus(formatter, view)
      formatter.close()
    }
    formatter.close()
  } else {
    context.terminal.out('IMAGES')
    for (const view of views) {
      context.line()
      printImageStatus(context, view)
    }
  }
}

/** In the order of their names. */
async function loadImages(context: CommandContext, io: IoCtx, services: readonly DaemonService[]): Promise<ImageStatusView[]> {
  const pool = context.adopt(io.duplicate({ namespace: '' }))
  const peers = await attemptSilently('failed to list mirror peers', () => listPeers(pool))
  const names = siteNames(peers)
  const instances = await instanceIds(context, io)
  const images = [...(await attemptSilently('failed to list images within pool', () => listImages(io)))]
  const views = new Map<string, ImageStatusView>()
  await forEachBounded(images, concurrency, async ([name, id]) => {
    const entry = await attempt(`failed to status image ${name}`, () => findMirrorImage(io, id))
    if (!entry) return
    const { globalImageId } = entry
    const status = await attempt(`failed to status image ${name}`, () => getGlobalStatus(io, globalImageId, peers))
    const instanceId = status.local?.up ? instances.get(id) : undefined
    const service = instanceId === undefined ? undefined : services.find((candidate) => candidate.instanceId === instanceId)
    views.set(name, { name, globalImageId, status, service, siteNames: names })
  })
  return images.flatMap(([name]) => views.get(name) ?? [])
}

/** Without them the status lacks nothing but which daemon has an image. */
async function instanceIds(context: CommandContext, io: IoCtx): Promise<Map<string, string>> {
  try {
    return await listInstanceIds(io)
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    context.complain(`failed to get instance id list: ${errnoText(error.errno)}`)
    return new Map()
  }
}
