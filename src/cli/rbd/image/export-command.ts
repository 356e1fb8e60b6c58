import { open, unlink } from 'node:fs/promises'
import { errnoText } from '../../../rados/errno-text.ts'
import { RadosError } from '../../../rados/errors.ts'
import { NO_SNAP } from '../../../rados/io-ctx.ts'
import { writeImageFile } from '../../../rbd/diff/write-image-file.ts'
import type { ImageSnapshot } from '../../../rbd/header.ts'
import type { Image } from '../../../rbd/image.ts'
import { readImage } from '../../../rbd/read-image.ts'
import type { Command } from '../frame/command.ts'
import { imageOrSnapSpec, noProgressOption, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure } from '../frame/failure.ts'
import { takeImage } from '../frame/specs.ts'
import { exportFormatOption, exportPath, takePath } from './file-options.ts'
import { snapshotContext } from './open.ts'

/** Objects that are read at a time (rbd_concurrent_management_ops). */
const concurrency = 10

/** Where an export goes. */
export interface Sink {
  /** Behind what was written before. */
  write(data: Buffer): Promise<void>
  /** Where bytes belong; those that are never written are zeros in a file. */
  writeAt(offset: number, data: Buffer): Promise<void>
  setSize(size: number): Promise<void>
  close(): Promise<void>
  /** What was written is of no use. */
  discard(): Promise<void>
}

type Update = (done: number, total: number) => void

async function exportImage(context: CommandContext): Promise<void> {
  const name = takeImage(context, { role: 'source', snap: 'permitted' })
  const path = takePathOr(context, name.image)
  const io = await context.openPool(name)
  const image = await context.openImage(io, { name: name.image }, 'read-only')
  const snapshot = snapshotContext(context, image, name.snap)
  await exportTo(context, path, { what: 'Exporting image', command: 'export' }, (sink, onProgress) => {
    if (context.args.value<number>('export-format') !== 2) return exportFlat(context, image, snapshot, sink, onProgress)
    // all snapshots and the head, whichever was named, as the C++ tool has it
    return writeImageFile(image, { signal: context.signal, onProgress }, (data) => sink.write(data))
  })
}

/** Writes a new file, or to standard output, and leaves no file behind that is not whole. @throws CommandFailure */
export async function exportTo(
  context: CommandContext,
  path: string,
  { what, command }: { what: string; command: string },
  act: (sink: Sink, update: Update) => Promise<void>,
): Promise<void> {
  try {
    const sink = await openSink(context, path)
    try {
      await context.progress(what).track((update) => act(sink, update))
    } catch (error) {
      await sink.discard()
      throw error
    }
    await sink.close()
  } catch (error) {
    const errno = error instanceof RadosError ? error.errno : Math.abs((error as NodeJS.ErrnoException).errno ?? 0)
    if (errno === 0) throw error
    throw new CommandFailure(errno, `${command} error: ${errnoText(errno)}`, { cause: error })
  }
}

/** Rejects as the file system does, with EEXIST for a file that is there. */
export function openSink(context: CommandContext, path: string): Promise<Sink> {
  return path === '-' ? Promise.resolve(output(context)) : createFile(path)
}

async function exportFlat(context: CommandContext, image: Image, snapshot: ImageSnapshot | undefined, sink: Sink, update: Update): Promise<void> {
  const { size } = snapshot ?? image.header
  const period = 2 ** image.header.order * image.header.stripeCount
  const snap = snapshot?.id ?? NO_SNAP
  const ahead: Promise<Buffer>[] = []
  const fetch = (offset: number) => {
    if (offset >= size) return
    const reading = readImage(image, { offset, length: Math.min(period, size - offset), snap, signal: context.signal })
    reading.catch(() => undefined) // told when its turn comes
    ahead.push(reading)
  }
  for (let index = 0; index < concurrency; index++) fetch(index * period)
  for (let offset = 0; offset < size; offset += period) {
    const data = await ahead.shift()!
    fetch(offset + concurrency * period)
    await sink.writeAt(offset, data)
    update(offset, size)
  }
  await sink.setSize(size)
}

/** The image's name when no file is named. */
function takePathOr(context: CommandContext, image: string): string {
  return context.args.has('path') || context.args.peek() !== '' ? takePath(context) : image
}

function output({ terminal }: CommandContext): Sink {
  const write = async (data: Buffer) => {
    terminal.out(data)
    await terminal.flush()
  }
  const nothing = () => Promise.resolve()
  return { write, writeAt: (_offset, data) => write(data), setSize: nothing, close: nothing, discard: nothing }
}

/** A new file, with holes where an image has zeros. */
async function createFile(path: string): Promise<Sink> {
  const file = await open(path, 'wx', 0o644)
  let end = 0
  const writeAll = async (offset: number, data: Buffer) => {
    for (let at = 0; at < data.length; ) at += (await file.write(data, at, data.length - at, offset + at)).bytesWritten
    end = offset + data.length
  }
  return {
    write: (data) => writeAll(end, data),
    async writeAt(offset, data) {
      if (!data.equals(Buffer.alloc(data.length))) await writeAll(offset, data)
    },
    setSize: (size) => file.truncate(size),
    close: () => file.close(),
    async discard() {
      await file.close()
      await unlink(path)
    },
  }
}

export const exportCommand: Command = {
  path: ['export'],
  description: 'Export image to file.',
  arguments: together(imageOrSnapSpec('source'), exportPath, [noProgressOption, exportFormatOption]),
  execute: exportImage,
}
