import type { CommandContext } from '../frame/context.ts'
import { invalid } from '../frame/failure.ts'
import type { Arguments, OptionSpec } from '../frame/option-spec.ts'
import { parseBytes } from './text.ts'

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

const fileArgument = (description: string): Partial<Arguments> => ({
  positional: [{ name: 'path-name', description }],
  options: [{ name: 'path', description }],
})
export const exportPath = fileArgument("export file (or '-' for stdout)")
export const importPath = fileArgument("import file (or '-' for stdin)")

export const sparseSizeOption: OptionSpec = { name: 'sparse-size', description: 'sparse size in B/K/M [default: 4K]', parse: parseSparse }

const defaultSparseSize = 4096

export function takeSparseSize({ args }: CommandContext): number {
  return args.value<number>('sparse-size') ?? defaultSparseSize
}

function parseSparse(text: string): number | undefined {
  const bytes = parseBytes(text)
  if (bytes === 0) throw invalid('sparse size must not be zero')
  return bytes
}
