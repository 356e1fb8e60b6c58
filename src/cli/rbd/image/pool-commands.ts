import { dirStateSet } from '../../../cls/rbd/client.ts'
import { namespaceAdd, namespaceRemove } from '../../../cls/rbd/pool-client.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { Errno, isErrno, RadosError } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { listImages } from '../../../rbd/directory.ts'
import { Image } from '../../../rbd/image.ts'
import { listNamespaces } from '../../../rbd/namespaces.ts'
import { RBD_DIRECTORY, RBD_NAMESPACE } from '../../../rbd/names.ts'
import { WriteOperation } from '../../../rados/operation.ts'
import { listTrash } from '../../../rbd/trash.ts'
import { validatePool } from '../../../rbd/validate-pool.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, poolSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, invalid } from '../frame/failure.ts'
import { takePool } from '../frame/specs.ts'
import { TextTable } from '../frame/text-table.ts'
import { byteText } from './text.ts'

async function takeNamespace(context: CommandContext): Promise<{ io: IoCtx; namespace: string }> {
  const { pool, namespace } = takePool(context, { validate: true, namespaces: true })
  if (namespace === '') throw invalid('namespace name was not specified')
  return { io: await context.openPool({ pool, namespace: '' }), namespace }
}

/** librbd/api/Namespace.cc, create: directory of the namespace → entry in the pool → ready */
async function createNamespace(context: CommandContext): Promise<void> {
  const { io, namespace } = await takeNamespace(context)
  await attempt('failed to created namespace', async () => {
    await validatePool(io)
    await namespaceAdd.call(io, RBD_NAMESPACE, { name: namespace })
    const inside = context.adopt(io.duplicate({ namespace }))
    try {
      await dirStateSet.call(inside, RBD_DIRECTORY, { state: 'ready' })
    } catch (error) {
      await namespaceRemove.call(io, RBD_NAMESPACE, { name: namespace })
      throw error
    }
  })
}

async function removeNamespace(context: CommandContext): Promise<void> {
  const { io, namespace } = await takeNamespace(context)
  const texts = { [Errno.EBUSY]: 'namespace contains images which must be deleted first.', [Errno.ENOENT]: 'namespace does not exist.' }
  await attempt(
    'failed to remove namespace',
    async () => {
      const inside = context.adopt(io.duplicate({ namespace }))
      if (!(await listNamespaces(io)).includes(namespace)) throw new RadosError(Errno.ENOENT, { op: 'find namespace' })
      if ((await listTrash(inside)).size > 0) throw new RadosError(Errno.EBUSY, { op: 'remove namespace with trash' })
      // EBUSY while there are images; afterwards none can come
      await unlessAbsent(dirStateSet.call(inside, RBD_DIRECTORY, { state: 'add-disabled' }))
      for (const oid of [RBD_DIRECTORY, 'rbd_trash', 'rbd_group_directory', 'rbd_children', 'rbd_mirroring']) await unlessAbsent(inside.remove(oid))
      await namespaceRemove.call(io, RBD_NAMESPACE, { name: namespace })
    },
    texts,
  )
}

async function unlessAbsent(step: Promise<void>): Promise<void> {
  try {
    await step
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
}

async function showNamespaces(context: CommandContext): Promise<void> {
  const name = takePool(context, { validate: true, namespaces: false })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const names = await attempt('failed to list namespaces', () => listNamespaces(io))
  if (formatter) {
    formatter.openArray('namespaces')
    for (const namespace of names) formatter.openObject('namespace').string('name', namespace).close()
    context.terminal.out(formatter.close().toString())
  } else if (names.length > 0) {
    const table = new TextTable([{ heading: 'NAME', align: 'left' }])
    for (const namespace of names) table.add(namespace)
    context.terminal.out(table.toString())
  }
}

/** Failures are told, and do not show in the status: as the C++ tool has it. */
async function initPool(context: CommandContext): Promise<void> {
  const name = takePool(context, { validate: false, namespaces: false })
  const io = await context.openPool(name)
  const cluster = await context.cluster()
  const command = { prefix: 'osd pool application enable', pool: io.poolName, app: 'rbd', ...(context.args.flag('force') ? { yes_i_really_mean_it: true } : {}) }
  const { code } = await cluster.monCommand(command)
  if (code === Errno.EOPNOTSUPP) return context.complain('luminous or later release required.')
  if (code === Errno.EPERM) return context.complain('pool already registered to a different application.')
  if (code !== 0) return context.complain(`error registered application: ${errnoText(code)}`)
  try {
    await cluster.waitForLatestOsdMap()
    await validatePool(io)
    await io.write('rbd_trash', new WriteOperation().create(false))
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    context.complain(`error registered application: ${errnoText(error.errno)}`)
  }
}

interface Sums {
  images: number
  bytes: number
  snapshots: number
}

async function poolStats(context: CommandContext): Promise<void> {
  const name = takePool(context, { validate: false, namespaces: true })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const [images, trash] = await attempt('failed to query pool stats', async () => {
    const used = await sumUp(context, io, (await listImages(io)).values())
    return [used, await sumUp(context, io, (await listTrash(io)).keys())]
  })
  if (formatter) {
    formatter.openObject('stats')
    for (const [what, sums] of [['images', images], ['trash', trash]] as const) {
      formatter.openObject(what).number('count', sums.images).number('provisioned_bytes', sums.bytes).number('snap_count', sums.snapshots).close()
    }
    context.terminal.out(formatter.close().toString())
    return
  }
  const suffix = (text: string | number) => (trash.images > 0 ? ` (${text} in trash)` : '')
  context.line(`Total Images: ${images.images}${suffix(trash.images)}`)
  context.line(`Total Snapshots: ${images.snapshots}${suffix(trash.snapshots)}`)
  context.line(`Provisioned Size: ${byteText(images.bytes)}${suffix(byteText(trash.bytes))}`)
}

/** Of each image the largest size that it or a snapshot of it has (librbd/api/Pool.cc). */
async function sumUp(context: CommandContext, io: IoCtx, ids: Iterable<string>): Promise<Sums> {
  const sums: Sums = { images: 0, bytes: 0, snapshots: 0 }
  for (const id of ids) {
    const image = await openIfThere(context, io, id)
    if (!image) continue
    const { size, snapshots } = image.header
    await image.close()
    sums.images++
    sums.bytes += Math.max(size, ...snapshots.map((snapshot) => snapshot.size))
    sums.snapshots += snapshots.length
  }
  return sums
}

async function openIfThere(context: CommandContext, io: IoCtx, id: string): Promise<Image | undefined> {
  try {
    return await Image.open(io, { id }, await context.imageOptions('read-only'))
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

export const poolCommands: readonly Command[] = [
  { path: ['namespace', 'create'], description: 'Create an RBD image namespace.', arguments: poolSpec(true), execute: createNamespace },
  { path: ['namespace', 'remove'], alias: ['namespace', 'rm'], description: 'Remove an RBD image namespace.', arguments: poolSpec(true), execute: removeNamespace },
  {
    path: ['namespace', 'list'],
    alias: ['namespace', 'ls'],
    description: 'List RBD image namespaces.',
    arguments: together(poolSpec(false), formatOptions),
    execute: showNamespaces,
  },
  {
    path: ['pool', 'init'],
    description: 'Initialize pool for use by RBD.',
    arguments: together(poolSpec(false), [
      { name: 'force', flag: true, description: 'force initialize pool for RBD use if registered by another application' },
    ]),
    execute: initPool,
  },
  {
    path: ['pool', 'stats'],
    description: 'Display pool statistics.',
    help: 'Note: legacy v1 images are not included in stats',
    arguments: together(poolSpec(true), formatOptions),
    execute: poolStats,
  },
]
