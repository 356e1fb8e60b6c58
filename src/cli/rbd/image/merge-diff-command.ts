import { ByteReader } from '../../../rbd/diff/byte-reader.ts'
import { mergeDiffs } from '../../../rbd/diff/merge-diffs.ts'
import type { Command } from '../frame/command.ts'
import { noProgressOption } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure, invalid } from '../frame/failure.ts'
import { openSink, type Sink } from './export-command.ts'
import { takePath } from './file-options.ts'
import { importFailure, openSource, told, type Source } from './import-source.ts'

async function mergeDiff(context: CommandContext): Promise<void> {
  const [first, second] = [context.args.take(), context.args.take()]
  if (first === '') throw invalid('first diff was not specified')
  if (second === '') throw invalid('second diff was not specified')
  const path = takePath(context)
  const progress = context.progress('Merging image diff')
  const sources: Source[] = []
  try {
    for (const source of [first, second]) sources.push(await openSource(context, source))
    const [a, b] = sources.map((source) => new ByteReader((length) => source.read(length)))
    const sink = await told(context, `error create ${path}`, () => openSink(context, path))
    await merge(sink, () => mergeDiffs(a!, b!, (bytes) => sink.write(bytes), (done, total) => progress.update(done, total)))
  } catch (error) {
    const { status } = importFailure(context, error, 'merge-diff error')
    progress.fail()
    throw new CommandFailure(status, 'merge-diff error', { cause: error })
  } finally {
    for (const source of sources) await source.close()
  }
  progress.finish()
}

async function merge(sink: Sink, act: () => Promise<void>): Promise<void> {
  try {
    await act()
  } catch (error) {
    await sink.discard()
    throw error
  }
  await sink.close()
}

export const mergeDiffCommand: Command = {
  path: ['merge-diff'],
  description: 'Merge two diff exports together.',
  arguments: {
    positional: [
      { name: 'diff1-path', description: "path to first diff (or '-' for stdin)" },
      { name: 'diff2-path', description: 'path to second diff' },
      { name: 'path-name', description: "path to merged diff (or '-' for stdout)" },
    ],
    options: [{ name: 'path', description: "path to merged diff (or '-' for stdout)" }, noProgressOption],
  },
  execute: mergeDiff,
}
