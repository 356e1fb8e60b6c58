import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { errnoText } from '../../../rados/errno-text.ts'
import { getDataPool } from '../../../cls/rbd/client.ts'
import type { Cluster } from '../../../rados/cluster.ts'
import { Errno, ifThere, isErrno, RadosError } from '../../../rados/errors.ts'
import { NO_SNAP, type IoCtx } from '../../../rados/io-ctx.ts'
import { findImageId } from '../../../rbd/directory.ts'
import { Image } from '../../../rbd/image.ts'
import { headerName } from '../../../rbd/names.ts'
import { parentLink, parentText, type ParentLink } from '../../../rbd/parent-link.ts'
import { restoreFromTrash } from '../../../rbd/trash-restore.ts'
import { chooseToFree, poolUsages, type ThrownAway } from '../../../rbd/trash-usage.ts'
import { findInTrash, listTrash, moveToTrash, removeTrashEntry, setTrashState } from '../../../rbd/trash.ts'
import { usedBytes } from '../../../rbd/used-bytes.ts'
import type { TrashImageSpec } from '../../../cls/rbd/types.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, imageIdOption, imageOption, imageSpec, namespaceOption, noProgressOption, poolOption, poolSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, CommandFailure, invalid } from '../frame/failure.ts'
import type { Progress } from '../frame/progress.ts'
import { takeImage, takeImageId, takePool } from '../frame/specs.ts'
import { TextTable } from '../frame/text-table.ts'
import { hasSnapshotsText, hasWatchersText, removeWhole } from './image-commands.ts'
import { parseFloatingPoint, timeText } from './text.ts'

const run = promisify(execFile)

/** Seconds since the epoch of what `date` understands, e.g. `tomorrow`. @throws CommandFailure */
async function secondsOf(date: string): Promise<number> {
  try {
    const { stdout } = await run('/bin/date', ['--utc', `--date=${date}`, '+%s'], { env: { ...process.env, LC_ALL: 'C' } })
    return Number(stdout)
  } catch {
    throw new CommandFailure(Errno.EINVAL, `error calling /bin/date: ${errnoText(Errno.EINVAL)}`)
  }
}

async function move(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const io = await context.openPool(name)
  const expiresAt = context.args.text('expires-at') ?? 'now'
  const now = Math.floor(Date.now() / 1000)
  const delay = expiresAt === 'now' ? 0 : (await secondsOf(expiresAt)) - now
  if (delay < 0) throw invalid('cannot use a date in the past as an expiration date')
  await attempt('deferred delete error', async () => {
    const id = await findImageId(io, name.image)
    if (id === undefined) throw new RadosError(Errno.ENOENT, { op: `find image ${name.image}` })
    await refuseIfWatched(context, io, id)
    const spec: TrashImageSpec = {
      source: 'user',
      name: name.image,
      deletionTime: { sec: now, nsec: 0 },
      defermentEndTime: { sec: now + delay, nsec: 0 },
      state: 'moving',
    }
    await moveToTrash(io, id, spec)
    await setTrashState(io, id, 'normal', 'moving')
  })
  if (expiresAt === 'now') return
  const end = new Date((now + delay) * 1000).toISOString().replace('Z', '000+0000')
  context.line(`rbd: image ${name.image} will expire at ${end}`)
}

/** An image in use, or mirrored from elsewhere, stays. */
async function refuseIfWatched(context: CommandContext, io: IoCtx, id: string): Promise<void> {
  const image = await Image.open(io, { id }, await context.imageOptions('write'))
  try {
    if (image.usesLock && (await image.lock!.acquire({ signal: context.signal })) !== 'acquired') throw new RadosError(Errno.EBUSY, { op: 'image in use' })
    const own = (await context.cluster()).instanceId
    const watchers = (await io.listWatchers(image.headerOid)).filter(({ clientId }) => clientId !== own)
    if (watchers.length > 0) throw new RadosError(Errno.EBUSY, { op: 'image in use' })
  } finally {
    await image.close()
  }
}

async function remove(context: CommandContext): Promise<void> {
  const name = takeImageId(context)
  const io = await context.openPool(name)
  const progress = context.progress('Removing image')
  try {
    await removeTrashed(context, io, name.id, context.args.flag('force'), (done, total) => progress.update(done, total))
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    sayWhyNotRemoved(context, error.errno)
    progress.fail()
    throw new CommandFailure(error.errno)
  }
  progress.finish()
}

function sayWhyNotRemoved(context: CommandContext, errno: number): void {
  if (errno === Errno.ENOTEMPTY) context.complain(hasSnapshotsText)
  else if (errno === Errno.EUCLEAN) context.complain('error: image not fully moved to trash.')
  else if (errno === Errno.EBUSY) context.complain(hasWatchersText)
  else if (errno === Errno.EMLINK) context.terminal.err('\nRemove the image from the group and try again.\n')
  else if (errno === Errno.EPERM) {
    context.terminal.err('\nDeferment time has not expired, please use --force if you really want to remove the image\n')
  } else context.complain(`remove error: ${errnoText(errno)}`)
}

/** librbd/api/Trash.cc, remove: EPERM before its time, unless forced */
async function removeTrashed(context: CommandContext, io: IoCtx, id: string, force: boolean, onProgress: (done: number, total: number) => void): Promise<void> {
  const spec = await findInTrash(io, id)
  if (!spec) throw new RadosError(Errno.ENOENT, { op: 'find image in trash' })
  if (!force && spec.defermentEndTime.sec > Date.now() / 1000) throw new RadosError(Errno.EPERM, { op: 'remove image before its time' })
  if (spec.state === 'moving') throw new RadosError(Errno.EUCLEAN, { op: 'remove image that is not all in the trash' })
  if (spec.state !== 'normal' && spec.state !== 'removing') throw new RadosError(Errno.EBUSY, { op: 'remove image that is being restored' })
  await setTrashState(io, id, 'removing', 'normal')
  try {
    await removeWhole(context, io, id, onProgress)
  } catch (error) {
    await setTrashState(io, id, 'normal', 'removing')
    throw error
  }
  await removeTrashEntry(io, id)
}

const sourceTexts: Readonly<Record<TrashImageSpec['source'], string>> = {
  user: 'USER',
  mirroring: 'MIRRORING',
  migration: 'MIGRATION',
  removing: 'REMOVING',
  user_parent: 'USER_PARENT',
}

async function list(context: CommandContext): Promise<void> {
  const name = takePool(context, { validate: false, namespaces: true })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const all = await attempt('trash list', () => listTrash(io))
  const entries = [...all].filter(([, { source }]) => context.args.flag('all') || source === 'user' || source === 'user_parent')
  formatter?.openArray('trash')
  if (!context.args.flag('long')) {
    for (const [id, spec] of entries) {
      if (formatter) formatter.openObject('image').string('id', id).string('name', spec.name).close()
      else context.line(`${id} ${spec.name}`)
    }
    if (formatter) context.terminal.out(formatter.close().toString())
    return
  }
  const table = new TextTable(['ID', 'NAME', 'SOURCE', 'DELETED_AT', 'STATUS', 'PARENT'].map((heading) => ({ heading, align: 'left' as const })))
  for (const [id, spec] of entries) {
    const found = await parentOf(context, io, id)
    if (!found) continue
    const end = spec.defermentEndTime.sec
    const status = Date.now() / 1000 < end ? `protected until ${timeText(end)}` : `expired at ${timeText(end)}`
    const deleted = timeText(spec.deletionTime.sec)
    if (!formatter) {
      table.add(id, spec.name, sourceTexts[spec.source], deleted, status, found.parent ? parentText(found.parent) : '')
      continue
    }
    formatter.openObject('image').string('id', id).string('name', spec.name).string('source', sourceTexts[spec.source])
    formatter.string('deleted_at', deleted).string('status', status)
    if (found.parent) {
      const { pool, poolNamespace, image, snapshot } = found.parent
      formatter.openObject('parent').string('pool', pool).string('pool_namespace', poolNamespace).string('image', image).string('snapshot', snapshot).close()
    }
    formatter.close()
  }
  if (formatter) context.terminal.out(formatter.close().toString())
  else if (entries.length > 0) context.terminal.out(table.toString())
}

/** undefined for an image that is gone. */
async function parentOf(context: CommandContext, io: IoCtx, id: string): Promise<{ parent: ParentLink | undefined } | undefined> {
  try {
    const image = await Image.open(io, { id }, await context.imageOptions('read-only'))
    try {
      return { parent: await parentLink(image) }
    } finally {
      await image.close()
    }
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    if (!(error instanceof RadosError)) throw error
    context.complain(`error opening ${id}: ${errnoText(error.errno)}`)
    return undefined
  }
}

/** What keeps an image in the trash until somebody does something about it. */
const whyKept = [Errno.ENOTEMPTY, Errno.EBUSY, Errno.EMLINK, Errno.EUCLEAN]

async function purge(context: CommandContext): Promise<void> {
  const name = takePool(context, { validate: false, namespaces: true })
  const io = await context.openPool(name)
  const threshold = context.args.value<number>('threshold')
  const before = context.args.text('expired-before')
  // where both are given that by how full the pool is goes before
  const limit = before === undefined || threshold !== undefined ? undefined : await secondsOf(before)
  const progress = context.progress('Removing images')
  let failure: RadosError | undefined
  try {
    const all = await listTrash(io)
    const users = [...all].filter(([, { source }]) => source === 'user' || source === 'user_parent')
    const chosen = threshold === undefined ? new Set<string>() : await chooseByUsage(context, io, users, threshold)
    const now = Date.now() / 1000
    if (chosen) for (const [id, { defermentEndTime }] of users) if (defermentEndTime.sec <= (limit ?? now)) chosen.add(id)
    failure = await removeAll(context, io, chosen ?? new Set(), progress)
  } catch (error) {
    progress.fail()
    if (!(error instanceof RadosError)) throw error
    throw new CommandFailure(error.errno, undefined, { cause: error })
  }
  if (failure) {
    progress.fail()
    const line =
      'some expired images could not be removed\nEnsure that they are closed/unmapped, do not have snapshots (including trashed snapshots with linked clones), are not in a group and were moved to the trash successfully.'
    throw new CommandFailure(failure.errno, line)
  }
  progress.finish()
}

/** Those that expire first, so that no pool is fuller than `threshold`; undefined when none has to go. */
async function chooseByUsage(context: CommandContext, io: IoCtx, entries: [string, TrashImageSpec][], threshold: number): Promise<Set<string> | undefined> {
  if (!(threshold >= 0 && threshold <= 1)) {
    context.logError("librbd::api::Trash: purge: argument 'threshold' is out of valid range")
    throw new CommandFailure(Errno.EINVAL)
  }
  const cluster = await context.cluster()
  const options = await context.imageOptions('read-only')
  const images: ThrownAway[] = []
  const byEnd = [...entries].sort(([, a], [, b]) => a.defermentEndTime.sec - b.defermentEndTime.sec)
  for (const [id] of byEnd) {
    const dataPoolId = await ifThere(getDataPool.call(io, headerName(id)))
    images.push({ id, dataPool: dataPoolId === undefined || dataPoolId < 0n ? io.poolName : await poolNameOf(cluster, dataPoolId) })
  }
  return chooseToFree(images, await poolUsages(cluster), threshold, async (id) => {
    try {
      const image = await Image.open(io, { id }, options)
      try {
        return await usedBytes(image, { from: 0n, to: NO_SNAP, exact: false, signal: context.signal })
      } finally {
        await image.close()
      }
    } catch (error) {
      if (!(error instanceof RadosError)) throw error
      if (error.errno !== Errno.ENOENT) context.logError(`librbd::api::Trash: purge: failed to calculate disk usage for image ${id}: ${errnoText(error.errno)}`)
      return undefined
    }
  })
}

async function poolNameOf(cluster: Cluster, id: bigint): Promise<string> {
  const pool = await cluster.openPoolById(id)
  pool.close()
  return pool.poolName
}

/** Again and again as long as it helps: a parent goes only after its clones. Resolves with what keeps the first of those that stay. */
async function removeAll(context: CommandContext, io: IoCtx, ids: ReadonlySet<string>, progress: Progress): Promise<RadosError | undefined> {
  let left = [...ids].sort()
  let removed = 0
  for (;;) {
    const stay: string[] = []
    let failure: RadosError | undefined
    for (const id of left) {
      try {
        // a parent may have gone with the last of its clones
        if (await findInTrash(io, id)) await removeTrashed(context, io, id, true, () => undefined)
      } catch (error) {
        if (!isErrno(error, ...whyKept)) throw error
        failure ??= error
        stay.push(id)
        continue
      }
      progress.update(++removed, ids.size)
    }
    if (stay.length === 0 || stay.length === left.length) return failure
    left = stay
  }
}

async function restore(context: CommandContext): Promise<void> {
  const name = takeImageId(context)
  const io = await context.openPool(name)
  await attempt('restore error', () => restoreFromTrash(io, name.id, context.args.text('image')), {
    [Errno.ENOENT]: 'error: image does not exist in trash',
    [Errno.EEXIST]: 'error: an image with the same name already exists, try again with a different name',
  })
}

const idArgument = (example: string) => ({
  positional: [{ name: 'image-id', description: `image id\n(example: ${example})` }],
  options: [poolOption(), namespaceOption(), imageIdOption],
})

export const trashCommands: readonly Command[] = [
  {
    path: ['trash', 'move'],
    alias: ['trash', 'mv'],
    description: 'Move an image to the trash.',
    arguments: together(imageSpec(), [
      { name: 'expires-at', argument: 'arg (=now)', description: 'set the expiration time of an image so it can be purged when it is stale' },
    ]),
    execute: move,
  },
  {
    path: ['trash', 'remove'],
    alias: ['trash', 'rm'],
    description: 'Remove an image from trash.',
    arguments: together(idArgument('[<pool-name>/[<namespace>/]]<image-id>'), [
      noProgressOption,
      { name: 'force', flag: true, description: 'force remove of non-expired delayed images' },
    ]),
    execute: remove,
  },
  {
    path: ['trash', 'purge'],
    description: 'Remove all expired images from trash.',
    arguments: together(poolSpec(true), [
      noProgressOption,
      { name: 'expired-before', argument: 'date', description: 'purges images that expired before the given date' },
      {
        name: 'threshold',
        description: 'purges images until the current pool data usage is reduced to X%, value range: 0.0-1.0',
        parse: parseFloatingPoint,
        echoed: true,
      },
    ]),
    execute: purge,
  },
  {
    path: ['trash', 'list'],
    alias: ['trash', 'ls'],
    description: 'List trash images.',
    arguments: together(
      poolSpec(true),
      [
        { name: 'all', short: 'a', flag: true, description: 'list images from all sources' },
        { name: 'long', short: 'l', flag: true, description: 'long listing format' },
      ],
      formatOptions,
    ),
    execute: list,
  },
  {
    path: ['trash', 'restore'],
    description: 'Restore an image from trash.',
    arguments: together(idArgument('[<pool-name>/]<image-id>'), [imageOption()]),
    execute: restore,
  },
]
