import { open } from 'node:fs/promises'
import { errnoText } from '../../../rados/errno-text.ts'
import { RadosError } from '../../../rados/errors.ts'
import { NO_SNAP } from '../../../rados/io-ctx.ts'
import { readImage } from '../../../rbd/read-image.ts'
import type { Command } from '../frame/command.ts'
import { imageOrSnapSpec, noProgressOption, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure } from '../frame/failure.ts'
import { takeImage } from '../frame/specs.ts'
import { exportFormatOption, requireFormatOne, takePath } from './file-options.ts'
import { snapshotContext } from './open.ts'

/** Objects that are read at a time (rbd_concurrent_management_ops). */
const concurrency = 10

interface Sink {
  write(offset: number, data: Buffer): Promise<void>
  finish(size: number): Promise<void>
  close(): Promise<void>
}

async function exportImage(context: CommandContext): Promise<void> {
  const name = takeImage(context, { role: 'source', snap: 'permitted' })
  const path = takePathOr(context, name.image)
  const io = await context.openPool(name)
  const image = await context.openImage(io, { name: name.image }, 'read-only')
  const snapshot = snapshotContext(context, image, name.snap)
  requireFormatOne(context)
  const { size } = snapshot ?? image.header
  const period = 2 ** image.header.order * image.header.stripeCount
  const snap = snapshot?.id ?? NO_SNAP
  try {
    const sink = path === '-' ? output(context) : await createFile(path)
    try {
      await context.progress('Exporting image').track(async (update) => {
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
          await sink.write(offset, data)
          update(offset, size)
        }
        await sink.finish(size)
      })
    } finally {
      await sink.close()
    }
  } catch (error) {
    const errno = error instanceof RadosError ? error.errno : Math.abs((error as NodeJS.ErrnoException).errno ?? 0)
    if (errno === 0) throw error
    throw new CommandFailure(errno, `export error: ${errnoText(errno)}`, { cause: error })
  }
}

/** The image's name when no file is named. */
function takePathOr(context: CommandContext, image: string): string {
  return context.args.has('path') || context.args.peek() !== '' ? takePath(context) : image
}

function output({ terminal }: CommandContext): Sink {
  return {
    async write(_offset, data) {
      terminal.out(data)
      await terminal.flush()
    },
    finish: () => Promise.resolve(),
    close: () => Promise.resolve(),
  }
}

/** A new file, with holes where the image has zeros. */
async function createFile(path: string): Promise<Sink> {
  const file = await open(path, 'wx', 0o644)
  return {
    async write(offset, data) {
      if (data.equals(Buffer.alloc(data.length))) return
      for (let at = 0; at < data.length; ) at += (await file.write(data, at, data.length - at, offset + at)).bytesWritten
    },
    finish: (size) => file.truncate(size),
    close: () => file.close(),
  }
}

export const exportCommand: Command = {
  path: ['export'],
  description: 'Export image to file.',
  arguments: together(
    imageOrSnapSpec('source'),
    { positional: [{ name: 'path-name', description: "export file (or '-' for stdout)" }], options: [{ name: 'path', description: "export file (or '-' for stdout)" }] },
    [noProgressOption, exportFormatOption],
  ),
  execute: exportImage,
}
