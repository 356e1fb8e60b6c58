import { getInfo } from '../../../cls/lock/client.ts'
import { formatEntityAddr, formatEntityName } from '../../../encoding/entity.ts'
import { Errno } from '../../../rados/errors.ts'
import type { SnapId } from '../../../rados/io-ctx.ts'
import { childLinks } from '../../../rbd/children-links.ts'
import { findSnapshot, findSnapshotByName } from '../../../rbd/header.ts'
import { RBD_LOCK_NAME } from '../../../rbd/names.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, imageOrSnapSpec, imageSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, CommandFailure, invalid } from '../frame/failure.ts'
import { takeImage } from '../frame/specs.ts'
import { TextTable } from '../frame/text-table.ts'
import { takeImageOrId } from './open.ts'
import { parseUnsigned } from './text.ts'

async function children(context: CommandContext): Promise<void> {
  const { args } = context
  const id = args.value<SnapId>('snap-id')
  const name = takeImageOrId(context, { snap: 'permitted' }, '')
  if (id !== undefined && name.snap !== '') throw invalid('trying to access snapshot using both name and id.')
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const image = await context.openImage(io, name.which, 'read-only')
  const { header } = image
  const named = id !== undefined || name.snap !== ''
  const snapshot = id === undefined ? findSnapshotByName(header, 'user', name.snap) : findSnapshot(header, id)
  if (named && !snapshot) throw new CommandFailure(Errno.ENOENT, 'snapshot does not exist.')
  const snapshots = snapshot ? [snapshot.id] : header.snapshots.map((each) => each.id)
  const found = await attempt('listing children failed', () => childLinks(image, snapshots, args.flag('descendants')))
  const all = args.flag('all')
  formatter?.openArray('children')
  for (const child of found.filter(({ inTrash }) => all || !inTrash)) {
    if (formatter) {
      formatter.openObject('child').string('pool', child.pool ?? '').string('pool_namespace', child.poolNamespace).string('image', child.image)
      if (all) formatter.string('id', child.id).bool('trash', child.inTrash)
      formatter.close()
      continue
    }
    const place = `${child.pool ?? `(child missing ${child.poolId}`}/${child.poolNamespace === '' ? '' : `${child.poolNamespace}/`}`
    const trash = child.inTrash ? ` (trash ${child.id})` : ''
    context.line(place + (child.image === '' ? `${child.id})` : child.image + trash))
  }
  if (formatter) context.terminal.out(formatter.close().toString())
}

async function status(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const image = await context.openImage(io, { name: name.image }, 'read-only')
  const watchers = await attempt('show status failed', () => io.listWatchers(image.headerOid))
  if (formatter) {
    formatter.openObject('status').openArray('watchers')
    for (const { address, clientId, cookie } of watchers) {
      formatter.openObject('watcher').string('address', address).number('client', clientId).number('cookie', cookie).close()
    }
    context.terminal.out(formatter.close().close().toString())
    return
  }
  context.line(watchers.length === 0 ? 'Watchers: none' : 'Watchers:')
  for (const { address, clientId, cookie } of watchers) context.line(`\twatcher=${address} client.${clientId} cookie=${cookie}`)
}

async function locks(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const image = await context.openImage(io, { name: name.image }, 'read-only')
  const { lockers, type, tag } = await attempt('listing locks failed', () => getInfo.call(io, image.headerOid, { name: RBD_LOCK_NAME }))
  if (formatter) {
    formatter.openArray('locks')
    for (const { locker, cookie, addr } of lockers) {
      formatter.openObject('lock').string('id', cookie).string('locker', formatEntityName(locker)).string('address', formatEntityAddr(addr)).close()
    }
    context.terminal.out(formatter.close().toString())
    return
  }
  if (lockers.length === 0) return
  const one = lockers.length === 1
  context.line(`There ${one ? 'is' : 'are'} ${lockers.length} ${type} lock${one ? '' : 's'} on this image.`)
  if (type === 'shared') context.line(`Lock tag: ${tag}`)
  const table = new TextTable(['Locker', 'ID', 'Address'].map((heading) => ({ heading, align: 'left' as const })))
  for (const { locker, cookie, addr } of lockers) table.add(formatEntityName(locker), cookie, formatEntityAddr(addr))
  context.terminal.out(table.toString())
}

export const lookCommands: readonly Command[] = [
  {
    path: ['children'],
    description: 'Display children of an image or its snapshot.',
    arguments: together(
      imageOrSnapSpec(),
      [
        { name: 'snap-id', description: 'snapshot id', parse: parseUnsigned, echoed: true },
        { name: 'all', short: 'a', flag: true, description: 'list all children (include trash)' },
        { name: 'descendants', flag: true, description: 'include all descendants' },
      ],
      formatOptions,
    ),
    execute: children,
  },
  { path: ['status'], description: 'Show the status of this image.', arguments: together(imageSpec(), formatOptions), execute: status },
  { path: ['lock', 'list'], alias: ['lock', 'ls'], description: 'Show locks held on an image.', arguments: together(imageSpec(), formatOptions), execute: locks },
]
