import { systemRandom } from '../../../base/random.ts'
import { Errno, isErrno, RadosError } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { createImage, generateImageId, type ParentToAttach } from '../../../rbd/create-image.ts'
import { FEATURE_JOURNALING, hasFeature } from '../../../rbd/features.ts'
import { findSnapshotByName } from '../../../rbd/header.ts'
import { Image } from '../../../rbd/image.ts'
import { getMirrorMode } from '../../../rbd/mirror/get-mirror-mode.ts'
import { enableImage } from '../../../rbd/mirror/enable-image.ts'
import { createPrimaryJournal } from '../../../rbd/mirror/journal-switch.ts'
import { listMetadata, setMetadataHere } from '../../../rbd/operations/metadata.ts'
import { validatePool } from '../../../rbd/validate-pool.ts'
import { ImageWriter } from '../../../rbd/image-writer.ts'
import type { Command } from '../frame/command.ts'
import { imageSpec, noProgressOption, snapSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt } from '../frame/failure.ts'
import { takeImage } from '../frame/specs.ts'
import { checkCreateOptions, createImageOptions, sizeOption, takeCreateOptions, takeSize, type CreateOptions } from './create-options.ts'
import { longFeaturesHelp } from './feature-names.ts'
import { openForUse } from './open.ts'

/** Makes an image, and mirrors it when the options or the pool say so. Rejects with RadosError. */
export async function makeImage(context: CommandContext, io: IoCtx, name: string, size: number, options: CreateOptions, parent?: ParentToAttach): Promise<string> {
  const cluster = await context.cluster()
  if (await imageExists(io, name)) {
    context.logError(`librbd: rbd image ${name} already exists`)
    throw new RadosError(Errno.EEXIST, { op: 'create image' })
  }
  const dataPool = options.dataPoolId === undefined ? io : await cluster.openPoolById(options.dataPoolId)
  try {
    await validatePool(dataPool)
  } finally {
    if (dataPool !== io) dataPool.close()
  }
  const id = generateImageId(cluster.instanceId, systemRandom)
  const images = await context.imageOptions('write')
  const createJournal = () => createPrimaryJournal({ io, id, options: images }, options.journal)
  await createImage(io, { ...options, id, name, size, parent, createJournal })
  const poolMode = await getMirrorMode(io)
  const automatic = poolMode === 'pool' && hasFeature(options.features, FEATURE_JOURNALING)
  const mode = automatic ? 'journal' : options.mirrorMode
  if (mode === undefined) return id
  const image = await Image.open(io, { id }, await context.imageOptions('write'))
  try {
    await enableImage(image, { mode, automatic, signal: context.signal })
  } finally {
    await image.close()
  }
  return id
}

async function imageExists(io: IoCtx, name: string): Promise<boolean> {
  try {
    await io.stat(`rbd_id.${name}`)
    return true
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return false
    throw error
  }
}

async function create(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none', validation: 'full' })
  checkCreateOptions(context)
  const size = takeSize(context)
  const io = await context.openPool(name)
  const options = await takeCreateOptions(context)
  await attempt('create error', () => makeImage(context, io, name.image, size, options))
  if (context.args.flag('thick-provision')) await provision(context, io, name.image)
}

/** Writes zeros all over. */
async function provision(context: CommandContext, io: IoCtx, name: string): Promise<void> {
  const image = await openForUse(context, io, { name })
  const { header } = image
  const writer = new ImageWriter(image)
  const chunk = Buffer.alloc(2 ** header.order * header.stripeCount)
  const progress = context.progress('Thick provisioning')
  await attempt('image created but error encountered during thick provisioning', () =>
    progress.track(async (update) => {
      for (let offset = 0; offset < header.size; offset += chunk.length) {
        await writer.write(offset, chunk.subarray(0, Math.min(chunk.length, header.size - offset)))
        update(Math.min(offset + chunk.length, header.size), header.size)
      }
      await writer.flush()
    }),
  )
}

async function clone(context: CommandContext): Promise<void> {
  const from = takeImage(context, { role: 'source', snap: 'required' })
  const to = takeImage(context, { role: 'dest', snap: 'none', validation: 'full' })
  const fromPool = await context.openPool(from)
  const toPool = await context.openPool(to)
  await attempt('clone error', async () => {
    const parent = context.adoptAsync(await Image.open(fromPool, { name: from.image }, await context.imageOptions('read-only')))
    const { header } = parent
    const snapshot = findSnapshotByName(header, 'user', from.snap)
    if (!snapshot) throw new RadosError(Errno.ENOENT, { op: `find snapshot ${from.snap}` })
    const format = await context.option('rbd_default_clone_format', 'auto')
    const cloneFormat = format === '2' ? 2 : format === '1' || !(await mimicRequired(context)) ? 1 : 2
    if (cloneFormat === 1 && snapshot.protection !== 'protected') {
      context.logError('librbd::image::CloneRequest: validate_parent: parent snapshot must be protected')
      throw new RadosError(Errno.EINVAL, { op: 'clone an unprotected snapshot' })
    }
    const options = await takeCreateOptions(context, { order: header.order, features: header.features })
    const id = await makeImage(context, toPool, to.image, snapshot.size, options, {
      poolId: fromPool.poolId,
      poolNamespace: fromPool.namespace,
      imageId: parent.id,
      snapId: snapshot.id,
      overlap: snapshot.size,
      cloneFormat,
      io: fromPool,
    })
    const metadata = await listMetadata(fromPool, parent.id)
    if (metadata.size === 0) return
    const child = await Image.open(toPool, { id }, await context.imageOptions('write'))
    try {
      await setMetadataHere(child, metadata)
    } finally {
      await child.close()
    }
  })
}

/** Clones without protection need clients that know of them. */
async function mimicRequired(context: CommandContext): Promise<boolean> {
  const { output } = await (await context.cluster()).monCommand({ prefix: 'osd get-require-min-compat-client' })
  const release = output.toString().trim()
  return /^[m-z]/.test(release)
}

export const createCommands: readonly Command[] = [
  {
    path: ['create'],
    description: 'Create an empty image.',
    help: longFeaturesHelp,
    arguments: together(imageSpec(), createImageOptions(true), [
      { name: 'thick-provision', flag: true, description: 'fully allocate storage and zero image' },
      sizeOption,
      noProgressOption,
    ]),
    execute: create,
  },
  {
    path: ['clone'],
    description: 'Clone a snapshot into a CoW child image.',
    help: longFeaturesHelp,
    arguments: together(snapSpec('source'), imageSpec('dest'), createImageOptions(false)),
    execute: clone,
  },
]
