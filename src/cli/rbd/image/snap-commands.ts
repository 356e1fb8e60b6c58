import { Errno, RadosError } from '../../../rados/errors.ts'
import type { SnapId } from '../../../rados/io-ctx.ts'
import { layoutOf, objectCount } from '../../../rbd/data/striping.ts'
import { findSnapshot, findSnapshotByName, type ImageSnapshot } from '../../../rbd/header.ts'
import type { Image } from '../../../rbd/image.ts'
import { invokeHere } from '../../../rbd/operations/invoke.ts'
import { createSnapshot } from '../../../rbd/operations/snapshot-create.ts'
import { NO_SNAPSHOT_LIMIT, protectSnapshot, renameSnapshot, setSnapshotLimit, unprotectSnapshot } from '../../../rbd/operations/snapshot-edit.ts'
import { removeSnapshot } from '../../../rbd/operations/snapshot-remove.ts'
import { rollBackSnapshotHere } from '../../../rbd/operations/snapshot-rollback.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, imageIdOption, imageSpec, noProgressOption, snapCreateOptions, snapSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, CommandFailure, invalid } from '../frame/failure.ts'
import type { Formatter } from '../frame/formatter.ts'
import { takeImage } from '../frame/specs.ts'
import { TextTable } from '../frame/text-table.ts'
import { openForUse, openNamed, takeImageOrId } from './open.ts'
import { byteText, parseUnsigned, timeText } from './text.ts'

const oldestFirst = (image: Image) => [...image.header.snapshots].sort((a, b) => (a.id < b.id ? -1 : 1))
const userSnapshots = (image: Image) => oldestFirst(image).filter(({ namespace }) => namespace.type === 'user')

async function list(context: CommandContext): Promise<void> {
  const name = takeImageOrId(context, { snap: 'none' })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const image = await context.openImage(io, name.which, 'read-only')
  const all = context.args.flag('all')
  const snapshots = all ? oldestFirst(image) : userSnapshots(image)
  if (formatter) {
    formatter.openArray('snapshots')
    for (const snapshot of snapshots) format(formatter, snapshot, all)
    context.terminal.out(formatter.close().toString())
    return
  }
  if (snapshots.length === 0) return
  const table = new TextTable([
    { heading: 'SNAPID', align: 'right' },
    { heading: 'NAME', align: 'left' },
    { heading: 'SIZE', align: 'right' },
    { heading: 'PROTECTED', align: 'left' },
    { heading: 'TIMESTAMP', align: 'right' },
    ...(all ? [{ heading: 'NAMESPACE', align: 'left' as const }] : []),
  ])
  const objects = objectCount(layoutOf(image.header), image.header.size)
  for (const snapshot of snapshots) {
    const { id, size, timestamp } = snapshot
    const cells = [id, snapshot.name, byteText(size), isProtected(snapshot) ? 'yes' : '', timeOf(timestamp.sec)]
    table.add(...cells, ...(all ? [namespaceText(snapshot, objects)] : []))
  }
  context.terminal.out(table.toString())
}

const isProtected = ({ namespace, protection }: ImageSnapshot) => namespace.type === 'user' && protection !== 'unprotected'
const timeOf = (seconds: number) => (seconds === 0 ? '' : timeText(seconds))
const stateText = (state: string) => (state.endsWith('demoted') ? 'demoted' : state)

function format(formatter: Formatter, snapshot: ImageSnapshot, all: boolean): void {
  const { id, name, size, timestamp, namespace } = snapshot
  formatter.openObject('snapshot').number('id', id).string('name', name).number('size', size)
  formatter.string('protected', String(isProtected(snapshot))).string('timestamp', timeOf(timestamp.sec))
  if (all) {
    formatter.openObject('namespace').string('type', namespace.type)
    if (namespace.type === 'trash') formatter.string('original_name', namespace.originalName)
    if (namespace.type === 'mirror') {
      formatter.string('state', stateText(namespace.state)).openArray('mirror_peer_uuids')
      for (const uuid of namespace.mirrorPeerUuids) formatter.string('peer_uuid', uuid)
      formatter.close().bool('complete', namespace.complete)
      if (namespace.state.startsWith('non-primary')) {
        formatter.string('primary_mirror_uuid', namespace.primaryMirrorUuid).number('primary_snap_id', namespace.primarySnapId)
        formatter.number('last_copied_object_number', namespace.lastCopiedObjectNumber)
      }
    }
    formatter.close()
  }
  formatter.close()
}

function namespaceText({ namespace }: ImageSnapshot, objects: number): string {
  if (namespace.type === 'trash') return `trash (${namespace.originalName})`
  if (namespace.type !== 'mirror') return namespace.type
  const { state, mirrorPeerUuids, primaryMirrorUuid, primarySnapId, complete, lastCopiedObjectNumber } = namespace
  let text = `mirror (${stateText(state)} peer_uuids:[${[...mirrorPeerUuids].join(',')}]`
  if (state.startsWith('non-primary')) {
    const progress = objects > 0 ? `${Math.min(100, Math.floor((100 * lastCopiedObjectNumber) / objects))}% ` : 'not '
    text += ` ${primaryMirrorUuid}:${primarySnapId} ${complete ? '' : progress}copied`
  }
  return `${text})`
}

async function create(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'required', validation: 'snap' })
  const [skip, ignoreError] = [context.args.flag('skip-quiesce'), context.args.flag('ignore-quiesce-error')]
  if (skip && ignoreError) throw invalid('ignore-quiesce-error cannot be used together with skip-quiesce')
  const io = await context.openPool(name)
  const image = await openForUse(context, io, { name: name.image })
  const quiesce = skip ? 'skip' : ignoreError ? 'ignore-error' : 'quiesce'
  await attempt('failed to create snapshot', () =>
    context.progress('Creating snap').track(async (update) => {
      if (findSnapshotByName(image.header, 'user', name.snap)) throw new RadosError(Errno.EEXIST, { op: 'create snapshot' })
      // users' file systems have been made quiet, which are none
      if (!skip) update(1, 10)
      await createSnapshot(image, { name: name.snap, namespace: { type: 'user' }, quiesce }, { signal: context.signal })
    }),
  )
}

/** Rejects with ENOENT when there is no such user snapshot. */
function snapshotNamed(image: Image, name: string): ImageSnapshot {
  const snapshot = findSnapshotByName(image.header, 'user', name)
  if (!snapshot) throw new RadosError(Errno.ENOENT, { op: `find snapshot ${name}` })
  return snapshot
}

async function remove(context: CommandContext): Promise<void> {
  const { args } = context
  const id = args.value<SnapId>('snap-id')
  const name = takeImageOrId(context, { snap: id === undefined ? 'required' : 'permitted' }, '')
  if (name.snap !== '' && id !== undefined) throw invalid('trying to access snapshot using both name and id.')
  if (id !== undefined && (args.flag('force') || args.flag('no-progress'))) throw invalid('force and no-progress options not permitted when removing by id.')
  const io = await context.openPool(name)
  const image = await openForUse(context, io, name.which)
  const shown = id === undefined ? `'${name.snap}'` : `id ${id}`
  const act = async () => {
    const snapshot = id === undefined ? snapshotNamed(image, name.snap) : findSnapshot(image.header, id)
    if (!snapshot) throw new RadosError(Errno.ENOENT, { op: 'find snapshot' })
    if (args.flag('force') && snapshot.protection !== 'unprotected') await unprotectSnapshot(image, snapshot.id, { signal: context.signal })
    else if (snapshot.protection !== 'unprotected') throw new RadosError(Errno.EBUSY, { op: 'remove protected snapshot' })
    await removeSnapshot(image, snapshot.id, { signal: context.signal })
  }
  await attempt('failed to remove snapshot', () => (id === undefined ? context.progress('Removing snap').track(act) : act()), {
    [Errno.EBUSY]: `snapshot ${shown} is protected from removal.`,
  })
}

async function purge(context: CommandContext): Promise<void> {
  const name = takeImageOrId(context, { snap: 'none' })
  const io = await context.openPool(name)
  const image = await openForUse(context, io, name.which)
  if (image.header.snapshots.length === 0) return
  const progress = context.progress('Removing all snapshots')
  const snapshots = userSnapshots(image)
  const kept = snapshots.filter(({ protection }) => protection !== 'unprotected')
  const going = snapshots.filter(({ protection }) => protection === 'unprotected')
  if (kept.length > 0) {
    const names = kept.map((snapshot) => snapshot.name).join(',')
    const line = `rbd: error removing snapshot(s) '${names}', which ${kept.length === 1 ? 'is' : 'are'} protected - these must be unprotected with \`rbd snap unprotect\`.`
    context.line(line)
  }
  try {
    for (const [at, { id }] of going.entries()) {
      await attempt('removing snaps failed', () => removeSnapshot(image, id, { signal: context.signal }))
      progress.update(at + 1, snapshots.length)
    }
  } catch (error) {
    progress.fail()
    if (error instanceof CommandFailure && error.status === Errno.EBUSY) throw new CommandFailure(Errno.EBUSY)
    throw error
  }
  if (kept.length > 0) progress.fail()
  else if (going.length > 0) progress.finish()
}

async function rollBack(context: CommandContext): Promise<void> {
  const { image, name } = await openNamed(context, { snap: 'required' })
  await attempt('rollback failed', () =>
    context.progress('Rolling back to snapshot').track(async () => {
      const { id } = snapshotNamed(image, name.snap)
      const start = { type: 'snapRollback', snapName: name.snap, snapNamespace: { type: 'user' } } as const
      await invokeHere(image, 'roll back to snapshot', start, () => rollBackSnapshotHere(image, id), context.signal)
    }),
  )
}

async function protect(context: CommandContext): Promise<void> {
  const { image, name } = await openNamed(context, { snap: 'required' })
  const failure = 'protecting snap failed'
  const { id, protection } = await attempt(failure, () => Promise.resolve().then(() => snapshotNamed(image, name.snap)))
  if (protection !== 'unprotected') throw new CommandFailure(Errno.EBUSY, 'snap is already protected')
  await attempt(failure, () => protectSnapshot(image, id, { signal: context.signal }))
}

async function unprotect(context: CommandContext): Promise<void> {
  const name = takeImageOrId(context, { snap: 'required' })
  const io = await context.openPool(name)
  const image = await openForUse(context, io, name.which)
  const failure = 'unprotecting snap failed'
  const { id, protection } = await attempt(failure, () => Promise.resolve().then(() => snapshotNamed(image, name.snap)))
  if (protection === 'unprotected') throw invalid('snap is already unprotected')
  await attempt(failure, () => unprotectSnapshot(image, id, { signal: context.signal }))
}

async function setLimit(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const limit = context.args.value<bigint>('limit')
  if (limit === undefined) throw new CommandFailure(Errno.ERANGE, 'must specify --limit <num>')
  const io = await context.openPool(name)
  const image = await openForUse(context, io, { name: name.image })
  await attempt('setting snapshot limit failed', () => setSnapshotLimit(image, limit))
}

async function clearLimit(context: CommandContext): Promise<void> {
  const { image } = await openNamed(context)
  await attempt('clearing snapshot limit failed', () => setSnapshotLimit(image, NO_SNAPSHOT_LIMIT))
}

async function rename(context: CommandContext): Promise<void> {
  const from = takeImage(context, { role: 'source', snap: 'required' })
  const named = takeImage(context, { role: 'dest', snap: 'required', validation: 'snap' })
  const to = { ...named, pool: named.pool || from.pool, namespace: named.namespace || from.namespace }
  if (from.pool !== to.pool) throw invalid('source and destination pool must be the same')
  if (from.namespace !== to.namespace) throw invalid('source and destination namespace must be the same')
  if (from.image !== to.image) throw invalid('source and destination image name must be the same')
  const io = await context.openPool(from)
  const image = await openForUse(context, io, { name: from.image })
  await attempt('renaming snap failed', async () => {
    const { id } = snapshotNamed(image, from.snap)
    if (findSnapshotByName(image.header, 'user', to.snap)) throw new RadosError(Errno.EEXIST, { op: 'rename snapshot' })
    await renameSnapshot(image, id, to.snap, { signal: context.signal })
  })
}

export const snapCommands: readonly Command[] = [
  {
    path: ['snap', 'list'],
    alias: ['snap', 'ls'],
    description: 'Dump list of image snapshots.',
    arguments: together(imageSpec(), [imageIdOption], formatOptions, [
      { name: 'all', short: 'a', flag: true, description: 'list snapshots from all namespaces' },
    ]),
    execute: list,
  },
  {
    path: ['snap', 'create'],
    alias: ['snap', 'add'],
    description: 'Create a snapshot.',
    arguments: together(snapSpec(), snapCreateOptions, [noProgressOption]),
    execute: create,
  },
  {
    path: ['snap', 'remove'],
    alias: ['snap', 'rm'],
    description: 'Delete a snapshot.',
    arguments: together(snapSpec(), [
      imageIdOption,
      { name: 'snap-id', description: 'snapshot id', parse: parseUnsigned, echoed: true },
      noProgressOption,
      { name: 'force', flag: true, description: 'flatten children and unprotect snapshot if needed.' },
    ]),
    execute: remove,
  },
  {
    path: ['snap', 'purge'],
    description: 'Delete all unprotected snapshots.',
    arguments: together(imageSpec(), [imageIdOption, noProgressOption]),
    execute: purge,
  },
  {
    path: ['snap', 'rollback'],
    alias: ['snap', 'revert'],
    description: 'Rollback image to snapshot.',
    arguments: together(snapSpec(), [noProgressOption]),
    execute: rollBack,
  },
  { path: ['snap', 'protect'], description: 'Prevent a snapshot from being deleted.', arguments: snapSpec(), execute: protect },
  {
    path: ['snap', 'unprotect'],
    description: 'Allow a snapshot to be deleted.',
    arguments: together(snapSpec(), [imageIdOption]),
    execute: unprotect,
  },
  {
    path: ['snap', 'limit', 'set'],
    description: 'Limit the number of snapshots.',
    arguments: together(imageSpec(), [{ name: 'limit', description: 'maximum allowed snapshot count', parse: parseUnsigned, echoed: true }]),
    execute: setLimit,
  },
  { path: ['snap', 'limit', 'clear'], description: 'Remove snapshot limit.', arguments: imageSpec(), execute: clearLimit },
  {
    path: ['snap', 'rename'],
    description: 'Rename a snapshot.',
    arguments: together(snapSpec('source'), snapSpec('dest')),
    execute: rename,
  },
]
