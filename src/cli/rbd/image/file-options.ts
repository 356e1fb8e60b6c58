import { Errno } from '../../../rados/errors.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure, invalid } from '../frame/failure.ts'
import type { OptionSpec } from '../frame/option-spec.ts'

export const exportFormatOption: OptionSpec = {
  name: 'export-format',
  description: 'format of image file',
  parse: (text) => (text === '1' || text === '2' ? Number(text) : undefined),
}

/** The file of an import or export. @throws CommandFailure */
export function takePath({ args }: CommandContext): string {
  const path = args.text('path') ?? args.take()
  if (path === '') throw invalid('path was not specified')
  return path
}

/** Format 2, with snapshots and metadata, is the installed tool's alone. @throws CommandFailure */
export function requireFormatOne({ args }: CommandContext): void {
  if (args.value<number>('export-format') === 2) throw new CommandFailure(Errno.EOPNOTSUPP, 'image files of format 2 are not supported; use --export-format 1')
}
