import { Errno, RadosError } from '../../../rados/errors.ts'
import { NO_SNAP } from '../../../rados/io-ctx.ts'
import { applyDiff, type AppliedDiff } from '../../../rbd/diff/apply-diff.ts'
import { ByteReader } from '../../../rbd/diff/byte-reader.ts'
import { diffImage } from '../../../rbd/diff/image-diff.ts'
import { writeDiff } from '../../../rbd/diff/write-diff.ts'
import { findSnapshotByName, type ImageSnapshot } from '../../../rbd/header.ts'
import type { Image } from '../../../rbd/image.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, imageOrSnapSpec, imageSpec, noProgressOption, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt } from '../frame/failure.ts'
import type { OptionSpec } from '../frame/option-spec.ts'
import { takeImage } from '../frame/specs.ts'
import { TextTable } from '../frame/text-table.ts'
import { exportTo } from './export-command.ts'
import { exportPath, importPath, sparseSizeOption, takePath, takeSparseSize } from './file-options.ts'
import { importFailure, openSource } from './import-source.ts'
import { openForUse, snapshotContext } from './open.ts'

const diffOptions: readonly OptionSpec[] = [
  { name: 'from-snap', description: 'snapshot starting point' },
  { name: 'whole-object', flag: true, description: 'compare whole object' },
]

/** Rejects with ENOENT for a snapshot that is not there; undefined when none is named. */
function fromSnapshot({ args }: CommandContext, image: Image): ImageSnapshot | undefined {
  const name = args.text('from-snap') ?? ''
  if (name === '') return undefined
  const found = findSnapshotByName(image.header, 'user', name)
  if (!found) throw new RadosError(Errno.ENOENT, { op: `find snapshot ${name}` })
  return found
}

async function diff(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'permitted' })
  const formatter = context.formatter()
  const io = await context.openPool(name)
  const image = await context.openImage(io, { name: name.image }, 'read-only')
  const to = snapshotContext(context, image, name.snap)?.id ?? NO_SNAP
  const table = new TextTable(['Offset', 'Length', 'Type'].map((heading) => ({ heading, align: 'left' as const })))
  let empty = true
  formatter?.openArray('extents')
  try {
    await attempt('diff error', async () => {
      const from = fromSnapshot(context, image)?.id ?? 0n
      const options = { from, to, wholeObject: context.args.flag('whole-object'), includeParent: true, signal: context.signal }
      for await (const { offset, length, exists } of diffImage(image, options)) {
        empty = false
        if (formatter) formatter.openObject('extent').number('offset', offset).number('length', length).string('exists', String(exists)).close()
        else table.add(offset, length, exists ? 'data' : 'zero')
      }
    })
  } finally {
    // as far as it came, as the C++ tool has it
    if (formatter) context.terminal.out(formatter.close().toString())
    else if (!empty) context.terminal.out(table.toString())
  }
}

async function exportDiff(context: CommandContext): Promise<void> {
  const name = takeImage(context, { role: 'source', snap: 'permitted' })
  const path = takePath(context)
  const io = await context.openPool(name)
  const image = await context.openImage(io, { name: name.image }, 'read-only')
  const to = snapshotContext(context, image, name.snap)
  await exportTo(context, path, { what: 'Exporting image', command: 'export-diff' }, (sink, onProgress) => {
    const from = fromSnapshot(context, image)
    return writeDiff(image, { format: 1, from, to, wholeObject: context.args.flag('whole-object'), signal: context.signal, onProgress }, (data) => sink.write(data))
  })
}

async function importDiff(context: CommandContext): Promise<void> {
  const path = takePath(context)
  const name = takeImage(context, { snap: 'none' })
  const io = await context.openPool(name)
  const image = await openForUse(context, io, { name: name.image })
  const applied: AppliedDiff = { changed: false }
  try {
    const source = await openSource(context, path)
    const { size = 0 } = source
    try {
      const reader = new ByteReader((length) => source.read(length))
      await context.progress('Importing image diff').track((update) => {
        const onProgress = (position: number) => update(Math.min(position, size), size)
        return applyDiff(image, reader, { format: 1, sparseSize: takeSparseSize(context), signal: context.signal, onProgress }, applied)
      })
    } finally {
      await source.close()
    }
  } catch (error) {
    const failure = importFailure(context, error, 'import-diff failed', { [Errno.EDOM]: Errno.EBADMSG })
    if (applied.changed) context.complain(`a part of the diff has been written to image ${name.image}, which has no snapshot of it`)
    throw failure
  }
}

export const diffCommands: readonly Command[] = [
  {
    path: ['diff'],
    description: 'Print extents that differ since a previous snap, or image creation.',
    arguments: together(imageOrSnapSpec(), diffOptions, formatOptions),
    execute: diff,
  },
  {
    path: ['export-diff'],
    description: 'Export incremental diff to file.',
    arguments: together(imageOrSnapSpec('source'), exportPath, diffOptions, [noProgressOption]),
    execute: exportDiff,
  },
  {
    path: ['import-diff'],
    description: 'Import an incremental diff.',
    arguments: together(importPath, imageSpec(), [sparseSizeOption, noProgressOption]),
    execute: importDiff,
  },
]
