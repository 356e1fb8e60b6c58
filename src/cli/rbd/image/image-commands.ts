import { errnoText } from '../../../rados/errno-text.ts'
import { Errno, RadosError } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { findImageId } from '../../../rbd/directory.ts'
import { Image } from '../../../rbd/image.ts'
import { disableImage } from '../../../rbd/mirror/disable-image.ts'
import { findMirrorImage } from '../../../rbd/mirror/image-entry.ts'
import { getMirrorMode } from '../../../rbd/mirror/get-mirror-mode.ts'
import { journalOptionsOf, primaryJournalSwitch } from '../../../rbd/mirror/journal-switch.ts'
import { removeJournal } from '../../../journal/journal.ts'
import { updateFeatures } from '../../../rbd/operations/features.ts'
import { flattenImage } from '../../../rbd/operations/flatten.ts'
import { renameImage } from '../../../rbd/operations/rename-image.ts'
import { resizeImage } from '../../../rbd/operations/resize.ts'
import { removeImage } from '../../../rbd/remove-image.ts'
import type { Command } from '../frame/command.ts'
import { imageSpec, noProgressOption, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, CommandFailure, invalid, UsageFailure } from '../frame/failure.ts'
import { takeImage } from '../frame/specs.ts'
import { createJournalOptions, sizeOption, takeJournalLayout, takeSize } from './create-options.ts'
import { parseFeatures } from './feature-names.ts'
import { openForUse, openNamed } from './open.ts'

/** What `rbd rm` and `rbd trash rm` say of an image that is in use. */
export const hasWatchersText =
  'error: image still has watchers\nThis means the image is still open or the client using it crashed. Try again after closing/unmapping it or waiting 30s for the crashed client to timeout.'
export const hasSnapshotsText = "image has snapshots - these must be deleted with 'rbd snap purge' before the image can be removed."

/**
 * Takes an image out of mirroring and removes all of it. Rejects with RadosError.
 *
 * @param snapshots `mirror`: those of users make it fail with ENOTEMPTY
 */
export async function removeWhole(
  context: CommandContext,
  io: IoCtx,
  id: string,
  onProgress: (done: number, total: number) => void,
  snapshots: 'all' | 'mirror' = 'mirror',
): Promise<void> {
  const options = await context.imageOptions('write')
  await leaveMirroring(context, io, id, snapshots)
  const journal = journalOptionsOf({ io, id, options })
  await removeImage(io, id, { ...options, snapshots, removeJournal: () => removeJournal(journal), onProgress })
}

async function leaveMirroring(context: CommandContext, io: IoCtx, id: string, snapshots: 'all' | 'mirror'): Promise<void> {
  if (!(await findMirrorImage(io, id))) return
  const image = await Image.open(io, { id }, await context.imageOptions('write'))
  try {
    const users = image.header.snapshots.filter(({ namespace }) => namespace.type !== 'mirror' && namespace.type !== 'trash')
    if (users.length > 0 && snapshots === 'mirror') throw new RadosError(Errno.ENOTEMPTY, { op: 'remove image with snapshots' })
    if ((await getMirrorMode(io)) === 'image') await disableImage(image, false, context.signal)
  } finally {
    await image.close()
  }
}

async function remove(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const io = await context.openPool(name)
  try {
    await context.progress('Removing image').track(async (update) => {
      const id = await findImageId(io, name.image)
      if (id === undefined) throw new RadosError(Errno.ENOENT, { op: `find image ${name.image}` })
      await removeWhole(context, io, id, update)
    })
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    throw new CommandFailure(error.errno, await removeFailure(context, io, name.image, error), { cause: error })
  }
}

async function removeFailure(context: CommandContext, io: IoCtx, name: string, { errno }: RadosError): Promise<string> {
  if (errno === Errno.EBUSY) return hasWatchersText
  if (errno !== Errno.ENOTEMPTY) return `delete error: ${errnoText(errno)}`
  const image = await context.openImage(io, { name }, 'read-only')
  if (image.header.snapshots.some(({ namespace }) => namespace.type !== 'trash')) return hasSnapshotsText
  return 'image has snapshots with linked clones - these must be deleted or flattened before the image can be removed.'
}

async function resize(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const size = takeSize(context)
  const allowShrink = context.args.flag('allow-shrink')
  const io = await context.openPool(name)
  const image = await openForUse(context, io, { name: name.image })
  if (image.header.size === size) throw invalid('new size is equal to original size ')
  const shrink = 'shrinking an image is only allowed with the --allow-shrink flag'
  if (image.header.size > size && !allowShrink) throw invalid(shrink)
  await attempt(
    'resize error',
    () => context.progress('Resizing image').track((progress) => resizeImage(image, { size, allowShrink }, { progress, signal: context.signal })),
    allowShrink ? {} : { [Errno.EINVAL]: shrink },
  )
}

async function rename(context: CommandContext): Promise<void> {
  const from = takeImage(context, { role: 'source', snap: 'none' })
  // what is not said of the destination is as it is of the source
  const named = takeImage(context, { role: 'dest', snap: 'none', validation: 'full' })
  const to = { ...named, pool: named.pool || from.pool, namespace: named.namespace || from.namespace }
  if (from.pool !== to.pool) throw invalid(`mv/rename across pools not supported\nsource pool: ${from.pool} dest pool: ${to.pool}`)
  if (from.namespace !== to.namespace) {
    throw invalid(`mv/rename across namespaces not supported\nsource namespace: ${from.namespace} dest namespace: ${to.namespace}`)
  }
  const io = await context.openPool(from)
  await attempt('rename error', async () => {
    const image = context.adoptAsync(await Image.open(io, { name: from.image }, { ...(await context.imageOptions('write')), journaled: true }))
    if ((await findImageId(io, to.image)) !== undefined) {
      context.logError(`librbd: rbd image ${to.image} already exists`)
      throw new RadosError(Errno.EEXIST, { op: 'rename image' })
    }
    await renameImage(image, to.image, { signal: context.signal })
  })
}

async function flatten(context: CommandContext): Promise<void> {
  const { image } = await openNamed(context)
  await attempt('flatten error', () =>
    context.progress('Image flatten').track(async (progress) => {
      if (image.header.parent?.overlap === undefined) {
        context.logError('librbd: image has no parent')
        throw new RadosError(Errno.EINVAL, { op: 'flatten' })
      }
      await flattenImage(image, { progress, signal: context.signal })
    }),
  )
}

async function changeFeatures(context: CommandContext, enabled: boolean): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const layout = takeJournalLayout(context)
  const words = context.args.takeRest()
  if (words.length === 0) throw invalid('at least one feature name must be specified')
  let features = 0n
  for (const word of words) {
    const some = parseFeatures(word)
    if (some === undefined) throw new UsageFailure('the argument for option is invalid')
    features |= some
  }
  const io = await context.openPool(name)
  const image = await openForUse(context, io, { name: name.image })
  await attempt('failed to update image features', () => updateFeatures(image, { features, enabled, journal: primaryJournalSwitch(layout) }, { signal: context.signal }))
}

const featuresArgument = { name: 'features', description: 'image features\n[exclusive-lock, object-map, journaling]', repeatable: true }

export const imageOperationCommands: readonly Command[] = [
  {
    path: ['remove'],
    alias: ['rm'],
    description: 'Delete an image.',
    arguments: together(imageSpec(), [noProgressOption]),
    execute: remove,
  },
  {
    path: ['resize'],
    description: 'Resize (expand or shrink) image.',
    arguments: together(imageSpec(), [sizeOption, { name: 'allow-shrink', flag: true, description: 'permit shrinking' }, noProgressOption]),
    execute: resize,
  },
  {
    path: ['rename'],
    alias: ['mv'],
    description: 'Rename image within pool.',
    arguments: together(imageSpec('source'), imageSpec('dest')),
    execute: rename,
  },
  {
    path: ['flatten'],
    description: 'Fill clone with parent data (make it independent).',
    arguments: together(imageSpec(), [noProgressOption]),
    execute: flatten,
  },
  {
    path: ['feature', 'enable'],
    description: 'Enable the specified image feature.',
    arguments: together(imageSpec(), { positional: [featuresArgument] }, createJournalOptions),
    execute: (context) => changeFeatures(context, true),
  },
  {
    path: ['feature', 'disable'],
    description: 'Disable the specified image feature.',
    arguments: together(imageSpec(), { positional: [featuresArgument] }),
    execute: (context) => changeFeatures(context, false),
  },
]
