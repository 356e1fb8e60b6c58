import { errnoText } from '../../../rados/errno-text.ts'
import { Errno, RadosError } from '../../../rados/errors.ts'
import { NO_SNAP, type IoCtx, type SnapId } from '../../../rados/io-ctx.ts'
import { listImages } from '../../../rbd/directory.ts'
import { FEATURE_FAST_DIFF, FLAG_FAST_DIFF_INVALID, hasFeature } from '../../../rbd/features.ts'
import { Image } from '../../../rbd/image.ts'
import { usedBytes } from '../../../rbd/used-bytes.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, imageOrSnapSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure } from '../frame/failure.ts'
import { takeImage } from '../frame/specs.ts'
import { TextTable } from '../frame/text-table.ts'
import { byteText } from './text.ts'

interface Row {
  name: string
  id: string
  snapshot: { name: string; id: SnapId } | undefined
  provisioned: number
  used: number
}

interface Wanted {
  image: string
  snap: string
  from: string
  exact: boolean
  merge: boolean
}

interface Usage {
  rows: Row[]
  count: number
  provisioned: number
  used: number
}

async function diskUsage(context: CommandContext): Promise<void> {
  const { args } = context
  const from = args.text('from-snap') ?? ''
  const name = takeImage(context, { snap: 'permitted', imageRequired: args.has('from-snap') })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const wanted: Wanted = { image: name.image, snap: name.snap, from, exact: args.flag('exact'), merge: args.flag('merge-snapshots') }
  const usage: Usage = { rows: [], count: 0, provisioned: 0, used: 0 }
  try {
    const images = [...(await listImages(io))]
    const some = wanted.image === '' ? images : images.filter(([image]) => image === wanted.image)
    for (const [image, id] of some) if (await addImage(context, io, image, id, wanted, usage)) return
    if (wanted.image !== '' && some.length === 0) refuse(context, `specified image ${wanted.image} is not found.`)
    if (!formatter && images.length > 0) print(context, usage)
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    throw new CommandFailure(error.errno, `du failed: ${errnoText(error.errno)}`, { cause: error })
  }
  if (!formatter) return
  formatter.openObject('stats').openArray('images')
  for (const { name: image, id, snapshot, provisioned, used } of usage.rows) {
    formatter.openObject('image').string('name', image).string('id', id)
    if (snapshot) formatter.string('snapshot', snapshot.name).number('snapshot_id', snapshot.id)
    formatter.number('provisioned_size', provisioned).number('used_size', used).close()
  }
  formatter.close()
  if (wanted.image === '') formatter.number('total_provisioned_size', usage.provisioned).number('total_used_size', usage.used)
  context.terminal.out(formatter.close().toString())
}

function refuse(context: CommandContext, line: string): never {
  context.terminal.err(`${line}\n`)
  throw new RadosError(Errno.ENOENT, { op: line })
}

/** True when there is nothing to be said at all. */
async function addImage(context: CommandContext, io: IoCtx, name: string, id: string, wanted: Wanted, usage: Usage): Promise<boolean> {
  let image: Image
  try {
    image = await Image.open(io, { id }, await context.imageOptions('read-only'))
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    if (error.errno !== Errno.ENOENT) context.complain(`error opening ${name}: ${errnoText(error.errno)}`)
    return false
  }
  try {
    return await addOpened(context, image, wanted, usage)
  } finally {
    await image.close()
  }
}

async function addOpened(context: CommandContext, image: Image, wanted: Wanted, usage: Usage): Promise<boolean> {
  const { header, id } = image
  const { name } = header
  if (!hasFeature(header.features, FEATURE_FAST_DIFF)) {
    context.terminal.err(`warning: fast-diff map is not enabled for ${name}. operation may be slow.\n`)
  }
  const snapshots = header.snapshots.filter(({ namespace }) => namespace.type === 'user').sort((a, b) => (a.id < b.id ? -1 : 1))
  const at = (snap: string) => (snap === '' ? undefined : snapshots.find((snapshot) => snapshot.name === snap))
  const [last, first] = [at(wanted.snap), at(wanted.from)]
  if ((wanted.snap !== '' && !last) || (wanted.from !== '' && !first)) refuse(context, 'specified snapshot is not found.')
  if (last && first) {
    if (first.id === last.id) return true
    if (first.id > last.id) throw new RadosError(Errno.EINVAL, { op: 'compare snapshots in the wrong order' })
  }
  const measure = (from: SnapId, to: SnapId, flags: bigint, snap: string) => {
    if ((flags & FLAG_FAST_DIFF_INVALID) !== 0n) {
      context.terminal.err(`warning: fast-diff map is invalid for ${name}${snap === '' ? '' : `@${snap}`}. operation may be slow.\n`)
    }
    return usedBytes(image, { from, to, exact: wanted.exact, signal: context.signal })
  }
  let before = 0n
  let whole = 0
  for (const snapshot of snapshots) {
    if (!first || snapshot.id > first.id) {
      const used = await measure(before, snapshot.id, snapshot.flags, snapshot.name)
      if (!wanted.merge) usage.rows.push({ name, id, snapshot, provisioned: snapshot.size, used })
      whole += used
      if (wanted.snap !== '') usage.provisioned += snapshot.size
      usage.used += used
      usage.count++
    }
    if (snapshot === last) return false
    before = snapshot.id
  }
  const used = await measure(before, NO_SNAP, header.flags, '')
  usage.rows.push({ name, id, snapshot: undefined, provisioned: header.size, used: wanted.merge ? whole + used : used })
  usage.provisioned += header.size
  usage.used += used
  usage.count++
  return false
}

function print(context: CommandContext, { rows, count, provisioned, used }: Usage): void {
  const table = new TextTable([
    { heading: 'NAME', align: 'left' },
    { heading: 'PROVISIONED', align: 'right' },
    { heading: 'USED', align: 'right' },
  ])
  for (const row of rows) table.add(row.snapshot ? `${row.name}@${row.snapshot.name}` : row.name, byteText(row.provisioned), byteText(row.used))
  if (count > 1) table.add('<TOTAL>', byteText(provisioned), byteText(used))
  context.terminal.out(table.toString())
}

export const usageCommand: Command = {
  path: ['disk-usage'],
  alias: ['du'],
  description: 'Show disk usage stats for pool, image or snapshot.',
  arguments: together(imageOrSnapSpec(), formatOptions, [
    { name: 'from-snap', description: 'snapshot starting point' },
    { name: 'exact', flag: true, description: 'compute exact disk usage (slow)' },
    { name: 'merge-snapshots', flag: true, description: 'merge snapshot sizes with its image' },
  ]),
  execute: diskUsage,
}
