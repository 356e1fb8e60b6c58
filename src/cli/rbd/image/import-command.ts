import { forEachBounded } from '../../../base/bounded.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { Errno } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { dataRuns } from '../../../rbd/diff/apply-diff.ts'
import { ByteReader } from '../../../rbd/diff/byte-reader.ts'
import { readImageDiffs, readImageProperties } from '../../../rbd/diff/read-image-file.ts'
import { findImageId } from '../../../rbd/directory.ts'
import type { Image } from '../../../rbd/image.ts'
import { ImageWriter } from '../../../rbd/image-writer.ts'
import { setMetadata } from '../../../rbd/operations/metadata.ts'
import { resizeImage } from '../../../rbd/operations/resize.ts'
import type { Command } from '../frame/command.ts'
import { imageOption, imageSpec, noProgressOption, poolOption, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure } from '../frame/failure.ts'
import type { Progress } from '../frame/progress.ts'
import { extractSpec, takeImage } from '../frame/specs.ts'
import { makeImage } from './create-commands.ts'
import { checkCreateOptions, createImageOptions, takeCreateOptions, type CreateOptions } from './create-options.ts'
import { exportFormatOption, importPath, sparseSizeOption, takePath, takeSparseSize } from './file-options.ts'
import { removeWhole } from './image-commands.ts'
import { importFailure, openSource, told, type Source } from './import-source.ts'
import { openForUse } from './open.ts'

/** Blocks of a file that are written at a time. */
const concurrency = 10

async function importImage(context: CommandContext): Promise<void> {
  const { args } = context
  const path = takePath(context)
  const legacy = extractSpec(context, args.text('image') ?? path.slice(path.lastIndexOf('/') + 1), 'full')
  const named = takeImage(context, { role: 'dest', snap: 'none', validation: 'full', imageRequired: false })
  const image = named.image || legacy.name
  const name = { pool: named.pool || (named.image === '' ? (legacy.pool ?? args.text('pool') ?? '') : (args.text('pool') ?? '')), namespace: named.namespace }
  checkCreateOptions(context)
  const io = await context.openPool(name)
  const begin = args.value<number>('export-format') === 2 ? beginWhole : beginFlat
  try {
    await run(context, io, image, path, begin)
  } catch (error) {
    throw importFailure(context, error, 'import failed')
  }
}

/** How what stands in a file becomes an image. */
interface Plan {
  options: CreateOptions
  /** bytes that the image has at first */
  size: number
  /** Into the image that has just been made. */
  fill: (image: Image, progress: Progress) => Promise<void>
}

type Begin = (context: CommandContext, source: Source) => Promise<Plan>

/** Bytes as they are in the image. */
const beginFlat: Begin = async (context, source) => {
  const options = await takeCreateOptions(context)
  const block = 2 ** options.order
  const fill = (image: Image, progress: Progress) => told(context, 'failed to import image', () => copy(context, image, source, block, progress))
  return { options, size: source.size ?? block, fill }
}

/** With properties, metadata and snapshots; what is said on the command line goes before what the file says. */
const beginWhole: Begin = async (context, source) => {
  const { signal } = context
  const reader = new ByteReader((length) => source.read(length))
  const onUnknownTag = (tag: number) => context.terminal.err(`unrecognized tag byte ${tag} in stream; skipping\n`)
  const { metadata, ...properties } = await told(context, 'import header failed.', () => readImageProperties(reader, onUnknownTag))
  const fill = async (image: Image, progress: Progress) => {
    await told(context, 'failed to import image-meta', async () => {
      for (const [key, value] of metadata) await setMetadata(image, key, value, { signal })
    })
    const onProgress = (done: number, total: number) => progress.update(done, total)
    const options = { sparseSize: takeSparseSize(context), signal, onProgress, onUnknownTag }
    const why = (errno: number) => `import-diff failed: ${errnoText(errno)}`
    await told(context, 'failed to import image', () => told(context, why, () => readImageDiffs(image, reader, options)))
  }
  // each of its diffs says how large the image is then
  return { options: await takeCreateOptions(context, properties), size: 0, fill }
}

async function run(context: CommandContext, io: IoCtx, name: string, path: string, begin: Begin): Promise<void> {
  const progress = context.progress('Importing image')
  const source = await openSource(context, path)
  let created = false
  let image: Image | undefined
  try {
    requireImage(context, source)
    const { options, size, fill } = await begin(context, source)
    await told(context, 'image creation failed', () => makeImage(context, io, name, size, options))
    created = true
    image = await told(context, 'failed to open image', () => openForUse(context, io, { name }))
    await fill(image, progress)
    await image.close()
  } catch (error) {
    await image?.close()
    if (created) await removeAgain(context, io, name)
    progress.fail()
    throw error
  } finally {
    await source.close()
  }
  progress.finish()
}

/** @throws CommandFailure */
function requireImage(context: CommandContext, { directory, size }: Source): void {
  const refuse = (errno: number, line: string) => {
    context.complain(line)
    throw new CommandFailure(errno)
  }
  if (directory) refuse(Errno.EISDIR, 'cannot import a directory')
  if (size === 0) refuse(Errno.EINVAL, 'unable to get size of file/block device')
}

/** What is half imported is of no use. */
async function removeAgain(context: CommandContext, io: IoCtx, name: string): Promise<void> {
  try {
    const id = await findImageId(io, name)
    if (id !== undefined) await removeWhole(context, io, id, () => undefined, 'all')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    context.complain(`image ${name} is half imported and could not be removed: ${why}`)
  }
}

async function copy(context: CommandContext, image: Image, source: Source, block: number, progress: Progress): Promise<void> {
  const writer = new ImageWriter(image)
  const sparse = takeSparseSize(context)
  const write = async (offset: number, data: Buffer) => {
    for (const [from, to] of dataRuns(data, sparse)) await writer.write(offset + from, data.subarray(from, to))
  }
  let size = source.size ?? block
  let end = 0
  if (source.size === undefined) {
    for (let data = await source.read(block); data.length > 0; data = await source.read(block)) {
      while (end + data.length > size) {
        size *= 2
        await told(context, "can't resize image during import", () => resizeImage(image, { size, allowShrink: false }))
      }
      await write(end, data)
      end += data.length
    }
    if (end !== size) await told(context, 'final image resize failed', () => resizeImage(image, { size: end, allowShrink: true }))
  } else {
    let at = 0
    const blocks = function* () {
      for (; at < size; at += block) yield at
    }
    // reads follow one another, writes go side by side
    let reading: Promise<Buffer> = Promise.resolve(Buffer.alloc(0))
    await forEachBounded(blocks(), concurrency, async (offset) => {
      reading = reading.then(() => source.read(Math.min(block, size - offset)))
      const data = await reading
      await write(offset, data)
      progress.update(Math.min(offset, size), size)
    })
  }
  await writer.flush()
}

export const importCommand: Command = {
  path: ['import'],
  description: 'Import image from file.',
  help: 'Image Features:\n  (*) supports enabling/disabling on existing images\n  (-) supports disabling-only on existing images\n  (+) enabled by default for new images if features not specified\n',
  arguments: together(
    importPath,
    imageSpec('dest'),
    createImageOptions(true),
    [
      sparseSizeOption,
      noProgressOption,
      exportFormatOption,
      { ...poolOption(undefined, ' deprecated[:dest-pool]'), deprecated: 'dest-pool' },
      { ...imageOption(undefined, ' deprecated[:dest]'), deprecated: 'dest' },
    ],
  ),
  execute: importImage,
}
