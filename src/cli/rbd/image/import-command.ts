import { open, type FileHandle } from 'node:fs/promises'
import { forEachBounded } from '../../../base/bounded.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { Errno, RadosError } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { findImageId } from '../../../rbd/directory.ts'
import type { Image } from '../../../rbd/image.ts'
import { ImageWriter } from '../../../rbd/image-writer.ts'
import { resizeImage } from '../../../rbd/operations/resize.ts'
import type { Command } from '../frame/command.ts'
import { imageOption, imageSpec, noProgressOption, poolOption, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure, invalid } from '../frame/failure.ts'
import type { Progress } from '../frame/progress.ts'
import { extractSpec, takeImage } from '../frame/specs.ts'
import { makeImage } from './create-commands.ts'
import { checkCreateOptions, createImageOptions, takeCreateOptions } from './create-options.ts'
import { exportFormatOption, requireFormatOne, takePath } from './file-options.ts'
import { removeWhole } from './image-commands.ts'
import { openForUse } from './open.ts'
import { parseBytes } from './text.ts'

const defaultSparseSize = 4096
/** Blocks of a file that are written at a time. */
const concurrency = 10

interface Source {
  /** bytes; undefined where only its end will tell */
  size: number | undefined
  /** The next bytes, fewer than asked for at the end only. */
  read(length: number): Promise<Buffer>
  close(): Promise<void>
}

async function importImage(context: CommandContext): Promise<void> {
  const { args } = context
  const path = takePath(context)
  const legacy = extractSpec(context, args.text('image') ?? path.slice(path.lastIndexOf('/') + 1), 'full')
  const named = takeImage(context, { role: 'dest', snap: 'none', validation: 'full', imageRequired: false })
  const image = named.image || legacy.name
  const name = { pool: named.pool || (named.image === '' ? (legacy.pool ?? args.text('pool') ?? '') : (args.text('pool') ?? '')), namespace: named.namespace }
  checkCreateOptions(context)
  const io = await context.openPool(name)
  requireFormatOne(context)
  try {
    await run(context, io, image, path)
  } catch (error) {
    const failure = failureOf(error)
    throw new CommandFailure(failure, `import failed: ${errnoText(failure)}`, { cause: error })
  }
}

function failureOf(error: unknown): number {
  if (error instanceof RadosError) return error.errno
  if (error instanceof CommandFailure) return error.status
  const { errno } = error as NodeJS.ErrnoException
  if (typeof errno === 'number') return Math.abs(errno)
  throw error
}

async function run(context: CommandContext, io: IoCtx, name: string, path: string): Promise<void> {
  const options = await takeCreateOptions(context)
  const block = 2 ** options.order
  const progress = context.progress('Importing image')
  const source = path === '-' ? input(context) : await openFile(context, path, progress)
  let created = false
  try {
    await told(context, 'image creation failed', () => makeImage(context, io, name, source.size ?? block, options))
    created = true
    const image = await told(context, 'failed to open image', () => openForUse(context, io, { name }))
    await told(context, 'failed to import image', () => copy(context, image, source, block, progress))
    await image.close()
  } catch (error) {
    if (created) await removeAgain(context, io, name)
    progress.fail()
    throw error
  } finally {
    await source.close()
  }
  progress.finish()
}

async function told<T>(context: CommandContext, line: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    context.complain(line)
    throw error
  }
}

/** What is half imported is of no use. */
async function removeAgain(context: CommandContext, io: IoCtx, name: string): Promise<void> {
  const id = await findImageId(io, name)
  if (id !== undefined) await removeWhole(context, io, id, () => undefined)
}

async function copy(context: CommandContext, image: Image, source: Source, block: number, progress: Progress): Promise<void> {
  const writer = new ImageWriter(image)
  const sparse = context.args.value<number>('sparse-size') ?? defaultSparseSize
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

/** Runs [from, to) of whole sparse units that are not all zeros (tools/rbd/Utils.cc, calc_sparse_extent). */
export function* dataRuns(data: Buffer, unit: number): Generator<readonly [number, number]> {
  const zeros = Buffer.alloc(unit)
  let start: number | undefined
  for (let at = 0; at < data.length; at += unit) {
    const part = data.subarray(at, at + unit)
    const empty = part.equals(zeros.subarray(0, part.length))
    if (!empty) start ??= at
    else if (start !== undefined) {
      yield [start, at]
      start = undefined
    }
  }
  if (start !== undefined) yield [start, data.length]
}

function input({ terminal }: CommandContext): Source {
  return { size: undefined, read: (length) => terminal.readInput(length), close: () => Promise.resolve() }
}

async function openFile(context: CommandContext, path: string, progress: Progress): Promise<Source> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (error) {
    context.complain(`error opening ${path}`)
    throw error
  }
  const stat = await file.stat()
  const refuse = async (errno: number, line: string) => {
    await file.close()
    context.complain(line)
    progress.fail()
    throw new CommandFailure(errno)
  }
  if (stat.isDirectory()) await refuse(21, 'cannot import a directory')
  if (stat.size === 0 && !stat.isBlockDevice()) await refuse(Errno.EINVAL, 'unable to get size of file/block device')
  return {
    size: stat.size,
    async read(length) {
      const buffer = Buffer.allocUnsafe(length)
      let have = 0
      while (have < length) {
        const { bytesRead } = await file.read(buffer, have, length - have)
        if (bytesRead === 0) break
        have += bytesRead
      }
      return buffer.subarray(0, have)
    },
    close: () => file.close(),
  }
}

export const importCommand: Command = {
  path: ['import'],
  description: 'Import image from file.',
  help: 'Image Features:\n  (*) supports enabling/disabling on existing images\n  (-) supports disabling-only on existing images\n  (+) enabled by default for new images if features not specified\n',
  arguments: together(
    { positional: [{ name: 'path-name', description: "import file (or '-' for stdin)" }], options: [{ name: 'path', description: "import file (or '-' for stdin)" }] },
    imageSpec('dest'),
    createImageOptions(true),
    [
      { name: 'sparse-size', description: 'sparse size in B/K/M [default: 4K]', parse: (text) => parseSparse(text) },
      noProgressOption,
      exportFormatOption,
      { ...poolOption(undefined, ' deprecated[:dest-pool]'), deprecated: 'dest-pool' },
      { ...imageOption(undefined, ' deprecated[:dest]'), deprecated: 'dest' },
    ],
  ),
  execute: importImage,
}

function parseSparse(text: string): number | undefined {
  const bytes = parseBytes(text)
  if (bytes === 0) throw invalid('sparse size must not be zero')
  return bytes
}
