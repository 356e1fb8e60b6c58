import { errnoText } from '../../../rados/errno-text.ts'
import { Errno } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { findSnapshotByName, type ImageSnapshot } from '../../../rbd/header.ts'
import { Image } from '../../../rbd/image.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, CommandFailure, invalid } from '../frame/failure.ts'
import { takeImage, type ImageName, type TakeImage } from '../frame/specs.ts'

/** Opens an image as its user, who takes its lock and writes its journal. @throws CommandFailure with the tool's words */
export async function openForUse(context: CommandContext, io: IoCtx, which: { id: string } | { name: string }): Promise<Image> {
  const shown = 'id' in which ? `with id ${which.id}` : which.name
  const options = { ...(await context.imageOptions('write')), journaled: true }
  return context.adoptAsync(await attempt(`error opening image ${shown}`, () => Image.open(io, which, options)))
}

/** The image that a command is about, open for use. */
export async function openNamed(context: CommandContext, options: TakeImage = { snap: 'none' }): Promise<{ image: Image; name: ImageName }> {
  const name = takeImage(context, options)
  const io = await context.openPool(name)
  return { image: await openForUse(context, io, { name: name.image }), name }
}

export interface NamedOrId extends ImageName {
  which: { id: string } | { name: string }
}

/** An image by name or `--image-id`. @throws CommandFailure */
export function takeImageOrId(context: CommandContext, options: TakeImage, space = ' '): NamedOrId {
  const id = context.args.text('image-id') ?? ''
  const name = takeImage(context, { ...options, imageRequired: id === '' })
  if (id !== '' && name.image !== '') throw invalid(`trying to access image using both name and id.${space}`)
  return { ...name, which: id === '' ? { name: name.image } : { id } }
}

/** The user snapshot that is to be read. @throws CommandFailure as the tool fails that sets a snapshot context */
export function snapshotContext(context: CommandContext, image: Image, snap: string): ImageSnapshot | undefined {
  if (snap === '') return undefined
  const found = findSnapshotByName(image.header, 'user', snap)
  if (found) return found
  context.terminal.err(`error setting snapshot context: ${errnoText(Errno.ENOENT)}\n`)
  throw new CommandFailure(Errno.ENOENT)
}
