import { groupDirList } from '../../../cls/rbd/pool-client.ts'
import { Errno, isErrno } from '../../../rados/errors.ts'
import { NO_SNAP, type IoCtx } from '../../../rados/io-ctx.ts'
import { layoutOf, objectCount } from '../../../rbd/data/striping.ts'
import { FEATURE_JOURNALING, FEATURE_STRIPINGV2, featureNames, hasFeature } from '../../../rbd/features.ts'
import { RBD_GROUP_DIRECTORY } from '../../../rbd/names.ts'
import type { Image } from '../../../rbd/image.ts'
import { findMirrorImage } from '../../../rbd/mirror/image-entry.ts'
import { loadMirrorInfo } from '../../../rbd/mirror/mirror-info.ts'
import { getSnapshotLimit, NO_SNAPSHOT_LIMIT } from '../../../rbd/operations/snapshot-edit.ts'
import { parentLink, parentText } from '../../../rbd/parent-link.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, imageIdOption, imageOrSnapSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt } from '../frame/failure.ts'
import type { Formatter } from '../frame/formatter.ts'
import { snapshotContext, takeImageOrId } from './open.ts'
import { byteText, timeText } from './text.ts'

/** Says each thing in plain text or to the formatter. */
class Report {
  constructor(
    private readonly context: CommandContext,
    readonly formatter: Formatter | undefined,
  ) {}

  text(line: string): void {
    if (!this.formatter) this.context.line(`\t${line}`)
  }

  string(name: string, value: string, label = name): void {
    if (this.formatter) this.formatter.string(name, value)
    else this.text(`${label}: ${value}`)
  }

  /** e.g. `features` of `feature` */
  list(name: string, values: readonly string[]): void {
    if (!this.formatter) return this.text(`${name}s: ${values.join(', ')}`)
    this.formatter.openArray(`${name}s`)
    for (const value of values) this.formatter.string(name, value)
    this.formatter.close()
  }
}

const opFeatureNames = ['clone-parent', 'clone-child', 'group', 'snap-trash']
const flagNames = ['object map invalid', 'fast diff invalid']
const namesOf = (names: readonly string[], bits: bigint) => names.filter((_, at) => (bits & (1n << BigInt(at))) !== 0n)

async function info(context: CommandContext): Promise<void> {
  const name = takeImageOrId(context, { snap: 'permitted' })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const image = await context.openImage(io, name.which, 'read-only')
  const snapshot = snapshotContext(context, image, name.snap)
  await attempt('info', () => show(context, new Report(context, formatter), image, snapshot))
}

async function show(context: CommandContext, report: Report, image: Image, snapshot: Image['header']['snapshots'][number] | undefined): Promise<void> {
  const { io, header, id } = image
  const { formatter } = report
  const { size, flags } = snapshot ?? header
  const layout = layoutOf(header)
  const objects = objectCount(layout, size)
  const objectSize = 2 ** header.order
  const dataPool = header.dataPoolId === undefined ? undefined : await poolName(context, header.dataPoolId, 'data')
  if (formatter) {
    formatter.openObject('image').string('name', header.name).string('id', id).number('size', size).number('objects', objects)
    formatter.number('order', header.order).number('object_size', objectSize).number('snapshot_count', header.snapshots.length)
    if (dataPool !== undefined) formatter.string('data_pool', dataPool)
    formatter.string('block_name_prefix', header.objectPrefix).number('format', 2)
  } else {
    context.line(`rbd image '${header.name}':`)
    report.text(`size ${byteText(size)} in ${objects} objects`)
    report.text(`order ${header.order} (${byteText(objectSize)} objects)`)
    report.text(`snapshot_count: ${header.snapshots.length}`)
    report.text(`id: ${id}`)
    if (dataPool !== undefined) report.text(`data_pool: ${dataPool}`)
    report.text(`block_name_prefix: ${header.objectPrefix}`)
    report.text('format: 2')
  }
  report.list('feature', featureNames(header.features))
  report.list('op_feature', namesOf(opFeatureNames, header.opFeatures))
  report.list('flag', namesOf(flagNames, flags))
  const group = await groupText(context, image)
  if (group !== undefined) report.string('group', group)
  for (const [what, { sec }] of [['create', header.createTimestamp], ['access', header.accessTimestamp], ['modify', header.modifyTimestamp]] as const) {
    if (sec !== 0) report.string(`${what}_timestamp`, timeText(sec))
  }
  if (snapshot) {
    const isProtected = snapshot.protection !== 'unprotected'
    if (formatter) formatter.string('protected', String(isProtected))
    else report.text(`protected: ${isProtected ? 'True' : 'False'}`)
  }
  const limit = await getSnapshotLimit(image)
  if (limit < NO_SNAPSHOT_LIMIT) {
    if (formatter) formatter.number('snapshot_limit', limit)
    else report.text(`snapshot_limit: ${limit}`)
  }
  await showParent(report, image, snapshot?.id ?? NO_SNAP)
  if (hasFeature(header.features, FEATURE_STRIPINGV2)) {
    if (formatter) formatter.number('stripe_unit', header.stripeUnit).number('stripe_count', header.stripeCount)
    else {
      report.text(`stripe unit: ${byteText(header.stripeUnit)}`)
      report.text(`stripe count: ${header.stripeCount}`)
    }
  }
  if (hasFeature(header.features, FEATURE_JOURNALING)) report.string('journal', id)
  await showMirroring(report, io, image)
  if (formatter) context.terminal.out(formatter.close().toString())
}

async function showParent(report: Report, image: Image, snap: bigint): Promise<void> {
  const { formatter } = report
  const parent = await parentLink(image, snap)
  if (!parent) return
  if (formatter) {
    formatter.openObject('parent').string('pool', parent.pool).string('pool_namespace', parent.poolNamespace).string('image', parent.image)
    formatter.string('id', parent.id).string('snapshot', parent.snapshot).bool('trash', parent.inTrash).number('overlap', parent.overlap).close()
    return
  }
  report.text(`parent: ${parentText(parent)}${parent.inTrash ? ` (trash ${parent.id})` : ''}`)
  report.text(`overlap: ${byteText(parent.overlap)}`)
}

async function showMirroring(report: Report, io: IoCtx, image: Image): Promise<void> {
  const { formatter } = report
  const entry = await findMirrorImage(io, image.id)
  const state = entry?.state === 'creating' ? 'enabled' : (entry?.state ?? 'disabled')
  if (!entry && !hasFeature(image.header.features, FEATURE_JOURNALING)) return
  const primary = entry ? (await loadMirrorInfo(io, image.id)).promotion.state === 'primary' : false
  if (formatter) {
    formatter.openObject('mirroring').string('mode', entry?.mode ?? 'journal').string('state', state)
    if (entry) formatter.string('global_id', entry.globalImageId).bool('primary', primary)
    formatter.close()
    return
  }
  report.text(`mirroring state: ${state}`)
  if (!entry) return
  report.text(`mirroring mode: ${entry.mode}`)
  report.text(`mirroring global id: ${entry.globalImageId}`)
  report.text(`mirroring primary: ${primary}`)
}

async function poolName(context: CommandContext, id: bigint, what: string): Promise<string> {
  const pools = await (await context.cluster()).listPools()
  return pools.find((pool) => pool.id === id)?.name ?? `<missing ${what} pool ${id}>`
}

async function groupText(context: CommandContext, { header, io }: Image): Promise<string | undefined> {
  const { groupSpec } = header
  if (!groupSpec) return undefined
  const pool = await poolName(context, groupSpec.poolId, 'group')
  const place = `${pool}/${io.namespace === '' ? '' : `${io.namespace}/`}`
  try {
    for (const [name, id] of await groupDirList.call(io, RBD_GROUP_DIRECTORY, { startAfter: '', max: 1024 })) if (id === groupSpec.groupId) return `${place}${name}`
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  return place
}

export const infoCommand: Command = {
  path: ['info'],
  description: 'Show information about image size, striping, etc.',
  arguments: together(imageOrSnapSpec(), [imageIdOption], formatOptions),
  execute: info,
}
