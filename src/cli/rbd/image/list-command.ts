import { forEachBounded } from '../../../base/bounded.ts'
import { getInfo } from '../../../cls/lock/client.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { RadosError } from '../../../rados/errors.ts'
import { listImages } from '../../../rbd/directory.ts'
import { Image } from '../../../rbd/image.ts'
import { headerName, RBD_LOCK_NAME } from '../../../rbd/names.ts'
import { parentLink, parentText, type ParentLink } from '../../../rbd/parent-link.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, poolSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt } from '../frame/failure.ts'
import type { Formatter } from '../frame/formatter.ts'
import { takePool } from '../frame/specs.ts'
import { TextTable } from '../frame/text-table.ts'
import { byteText } from './text.ts'

/** Images that are read at a time (rbd_concurrent_management_ops). */
const concurrency = 10

interface Listed {
  name: string
  id: string
  size: number
  parent: ParentLink | undefined
  lock: 'exclusive' | 'shared' | undefined
  snapshots: { id: bigint; name: string; size: number; protected: boolean; parent: ParentLink | undefined }[]
}

async function list(context: CommandContext): Promise<void> {
  const name = takePool(context, { validate: false, namespaces: true })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const images = [...(await attempt('listing images failed', () => listImages(io)))]
  if (!context.args.flag('long')) {
    formatter?.openArray('images')
    for (const [image] of images) {
      if (formatter) formatter.string('name', image)
      else context.line(image)
    }
    if (formatter) context.terminal.out(formatter.close().toString())
    return
  }
  const options = await context.imageOptions('read-only')
  const found = new Map<string, Listed>()
  await forEachBounded(images, concurrency, async ([image, id]) => {
    try {
      const opened = await Image.open(io, { id }, options)
      try {
        found.set(image, await describe(opened))
      } finally {
        await opened.close()
      }
    } catch (error) {
      if (!(error instanceof RadosError)) throw error
      context.complain(`error opening ${image}: ${errnoText(error.errno)}`)
    }
  })
  const listed = images.flatMap(([image]) => found.get(image) ?? [])
  if (formatter) format(context, formatter, listed)
  else if (images.length > 0) print(context, listed)
}

async function describe(image: Image): Promise<Listed> {
  const { header, id, io } = image
  const { lockers, type } = await getInfo.call(io, headerName(id), { name: RBD_LOCK_NAME })
  const snapshots = []
  for (const snapshot of header.snapshots.filter(({ namespace }) => namespace.type === 'user').reverse()) {
    const { id: snapId, name, size, protection } = snapshot
    snapshots.push({ id: snapId, name, size, protected: protection !== 'unprotected', parent: await parentLink(image, snapId) })
  }
  const lock = lockers.length === 0 ? undefined : type === 'exclusive' ? 'exclusive' : 'shared'
  return { name: header.name, id, size: header.size, parent: await parentLink(image), lock, snapshots }
}

function format(context: CommandContext, formatter: Formatter, images: readonly Listed[]): void {
  const parentOf = (parent: ParentLink | undefined) => {
    if (!parent) return
    formatter.openObject('parent').string('pool', parent.pool).string('pool_namespace', parent.poolNamespace)
    formatter.string('image', parent.image).string('snapshot', parent.snapshot).close()
  }
  formatter.openArray('images')
  for (const { name, id, size, parent, lock, snapshots } of images) {
    formatter.openObject('image').string('image', name).string('id', id).number('size', size)
    parentOf(parent)
    formatter.number('format', 2)
    if (lock) formatter.string('lock_type', lock)
    formatter.close()
    for (const snapshot of snapshots) {
      formatter.openObject('snapshot').string('image', name).string('id', id).string('snapshot', snapshot.name)
      formatter.number('snapshot_id', snapshot.id).number('size', snapshot.size)
      parentOf(snapshot.parent)
      formatter.number('format', 2).string('protected', String(snapshot.protected)).close()
    }
  }
  context.terminal.out(formatter.close().toString())
}

function print(context: CommandContext, images: readonly Listed[]): void {
  const table = new TextTable([
    { heading: 'NAME', align: 'left' },
    { heading: 'SIZE', align: 'right' },
    { heading: 'PARENT', align: 'left' },
    { heading: 'FMT', align: 'right' },
    { heading: 'PROT', align: 'left' },
    { heading: 'LOCK', align: 'left' },
  ])
  for (const { name, size, parent, lock, snapshots } of images) {
    table.add(name, byteText(size), parent ? parentText(parent) : '', 2, '', lock === 'exclusive' ? 'excl' : lock ? 'shr' : '')
    for (const snapshot of snapshots) {
      const from = snapshot.parent ? parentText(snapshot.parent) : ''
      table.add(`${name}@${snapshot.name}`, byteText(snapshot.size), from, 2, snapshot.protected ? 'yes' : '', '')
    }
  }
  context.terminal.out(table.toString())
}

export const listCommand: Command = {
  path: ['list'],
  alias: ['ls'],
  description: 'List rbd images.',
  arguments: together([{ name: 'long', short: 'l', flag: true, description: 'long listing format' }], poolSpec(true), formatOptions),
  execute: list,
}
