import { metadataGet } from '../../../cls/rbd/client.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { Errno, RadosError } from '../../../rados/errors.ts'
import { IMAGE_META_PREFIX } from '../../../rbd/mirror/image-meta.ts'
import { listMetadata, removeMetadata, setMetadata } from '../../../rbd/operations/metadata.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, imageSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure, invalid } from '../frame/failure.ts'
import { takeImage } from '../frame/specs.ts'
import { TextTable } from '../frame/text-table.ts'
import { openForUse } from './open.ts'

function takeKey({ args }: CommandContext): string {
  const key = args.take()
  if (key === '') throw invalid('metadata key was not specified')
  return key
}

/** Both the step and the command say what is wrong. */
async function saying<T>(context: CommandContext, step: (errno: number) => string, command: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    context.terminal.err(`${step(error.errno)}\n`)
    throw new CommandFailure(error.errno, `${command}: ${errnoText(error.errno)}`, { cause: error })
  }
}

async function list(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const image = await context.openImage(io, { name: name.image }, 'read-only')
  const step = (errno: number) => `failed to list metadata of image : ${errnoText(errno)}`
  const all = await saying(context, step, 'listing metadata failed', () => listMetadata(io, image.id, context.signal))
  const metadata = [...all].filter(([key]) => !key.startsWith(IMAGE_META_PREFIX))
  if (formatter) {
    if (metadata.length === 0) return
    formatter.openObject('metadatas')
    for (const [key, value] of metadata) formatter.string(key, value.toString())
    context.terminal.out(formatter.close().toString())
    return
  }
  const count = metadata.length
  context.line(`There ${count === 1 ? 'is' : 'are'} ${count} ${count === 1 ? 'metadatum' : 'metadata'} on this image${count === 0 ? '.' : ':'}`)
  if (count === 0) return
  const table = new TextTable([
    { heading: 'Key', align: 'left' },
    { heading: 'Value', align: 'left' },
  ])
  for (const [key, value] of metadata) table.add(key, value.toString())
  context.terminal.out(`\n${table.toString()}`)
}

async function get(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const key = takeKey(context)
  const io = await context.openPool(name)
  const image = await context.openImage(io, { name: name.image }, 'read-only')
  const step = (errno: number) => `failed to get metadata ${key} of image : ${errnoText(errno)}`
  const value = await saying(context, step, 'getting metadata failed', () => metadataGet.call(io, image.headerOid, { key }))
  context.line(value.toString())
}

async function set(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const key = takeKey(context)
  const value = context.args.take()
  if (value === '') throw invalid('metadata value was not specified')
  const io = await context.openPool(name)
  const image = await openForUse(context, io, { name: name.image })
  const step = (errno: number) => `failed to set metadata ${key} of image : ${errnoText(errno)}`
  await saying(context, step, 'setting metadata failed', () => setMetadata(image, key, value, { signal: context.signal }))
}

async function remove(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const key = takeKey(context)
  const io = await context.openPool(name)
  const image = await openForUse(context, io, { name: name.image })
  const step = (errno: number) =>
    errno === Errno.ENOENT ? `rbd: no existing metadata key ${key} of image : ${errnoText(errno)}` : `failed to remove metadata ${key} of image : ${errnoText(errno)}`
  await saying(context, step, 'removing metadata failed', async () => {
    await metadataGet.call(io, image.headerOid, { key })
    await removeMetadata(image, key, { signal: context.signal })
  })
}

const key = { name: 'key', description: 'image meta key' }

export const metadataCommands: readonly Command[] = [
  {
    path: ['image-meta', 'list'],
    alias: ['image-meta', 'ls'],
    description: 'Image metadata list keys with values.',
    arguments: together(imageSpec(), formatOptions),
    execute: list,
  },
  { path: ['image-meta', 'get'], description: 'Image metadata get the value associated with the key.', arguments: together(imageSpec(), { positional: [key] }), execute: get },
  {
    path: ['image-meta', 'set'],
    description: 'Image metadata set key with value.',
    arguments: together(imageSpec(), { positional: [key, { name: 'value', description: 'image meta value' }] }),
    execute: set,
  },
  {
    path: ['image-meta', 'remove'],
    alias: ['image-meta', 'rm'],
    description: 'Image metadata remove the key and value associated.',
    arguments: together(imageSpec(), { positional: [key] }),
    execute: remove,
  },
]
