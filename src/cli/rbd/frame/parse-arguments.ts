import type { Command } from './command.ts'
import { UsageFailure } from './failure.ts'
import type { OptionSpec } from './option-spec.ts'
import { ParsedArguments } from './parsed-arguments.ts'

/** Options without a value, of all commands: needed to tell words of a command from values of options before the command is known. */
const baseSwitches = new Set([
  'whole-object',
  'image-shared',
  'thick-provision',
  'flatten',
  'no-progress',
  'pretty-format',
  'verbose',
  'no-error',
  'skip-quiesce',
  'ignore-quiesce-error',
])

/**
 * The words that may name a command: all that is neither an option nor an option's value (tools/rbd/Shell.cc, get_command_spec).
 * `help` alone when help is asked for.
 */
export function commandWords(args: readonly string[], commands: readonly Command[]): string[] {
  const switches = new Set(baseSwitches)
  for (const command of commands) {
    for (const { name, short, flag } of command.arguments.options) {
      if (!flag) continue
      switches.add(name)
      if (short !== undefined) switches.add(short)
    }
  }
  const words: string[] = []
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!
    if (arg === '-h' || arg === '--help') return ['help']
    if (arg === '--') return [...words, ...args.slice(at + 1)]
    if (!arg.startsWith('-')) words.push(arg)
    else if (arg.length >= 2 && !arg.includes('=') && !switches.has(arg.startsWith('--') ? arg.slice(2) : arg.slice(1, 2))) at++
  }
  return words
}

export interface Match {
  command: Command
  /** the path or the alias, whichever the words are */
  path: readonly string[]
  isAlias: boolean
}

/** The command that the words begin with; the longest path wins. */
export function findCommand(words: readonly string[], commands: readonly Command[]): Match | undefined {
  const begins = (path: readonly string[] | undefined): path is readonly string[] => path !== undefined && path.every((word, at) => words[at] === word)
  for (const command of [...commands].sort((a, b) => b.path.length - a.path.length)) {
    if (begins(command.path)) return { command, path: command.path, isAlias: false }
    if (begins(command.alias)) return { command, path: command.alias, isAlias: true }
  }
  return undefined
}

/**
 * Reads the arguments of a command with the rules, and the words of complaint, of boost's program_options.
 *
 * @throws UsageFailure
 */
export function parseArguments(args: readonly string[], { command, path }: Match): ParsedArguments {
  const reader = new ArgumentReader(args, command.arguments.options)
  reader.read()
  const { positional: specs } = command.arguments
  const words = reader.positional
  const limit = specs.at(-1)?.repeatable ? Number.POSITIVE_INFINITY : path.length + specs.length
  if (words.length > limit) throw new UsageFailure('too many arguments')
  if (path.some((word, at) => words[at] !== word)) throw new UsageFailure('failed to parse command')
  return new ParsedArguments(words.slice(path.length), reader.finish(), reader.deprecated)
}

class ArgumentReader {
  readonly positional: string[] = []
  readonly deprecated: OptionSpec[] = []
  private readonly values = new Map<string, unknown>()
  /** complaints about values come after those about the options' form */
  private readonly found: { spec: OptionSpec; text: string | undefined }[] = []
  private at = 0

  constructor(
    private readonly args: readonly string[],
    private readonly options: readonly OptionSpec[],
  ) {}

  read(): void {
    while (this.at < this.args.length) {
      const arg = this.args[this.at++]!
      if (arg === '--') {
        this.positional.push(...this.args.slice(this.at))
        return
      }
      if (arg.startsWith('--')) this.long(arg.slice(2))
      else if (arg.startsWith('-') && arg.length > 1) this.short(arg.slice(1))
      else this.positional.push(arg)
    }
  }

  finish(): ReadonlyMap<string, unknown> {
    for (const { spec, text } of this.found) this.store(spec, text)
    return this.values
  }

  private long(argument: string): void {
    const equals = argument.indexOf('=')
    const name = equals < 0 ? argument : argument.slice(0, equals)
    const spec = this.options.find((option) => option.name === name)
    if (!spec) throw new UsageFailure(`unrecognised option '--${argument}'`)
    const adjacent = equals < 0 ? undefined : argument.slice(equals + 1)
    if (adjacent === '') throw new UsageFailure(`the argument for option '--${name}' should follow immediately after the equal sign`)
    this.take(spec, adjacent)
  }

  private short(argument: string): void {
    const spec = this.options.find((option) => option.short === argument[0])
    if (!spec) throw new UsageFailure(`unrecognised option '-${argument}'`)
    const rest = argument.slice(1)
    if (spec.flag) {
      this.take(spec, undefined)
      if (rest !== '') this.short(rest)
    } else this.take(spec, rest === '' ? undefined : rest.replace(/^=/, ''))
  }

  private take(spec: OptionSpec, adjacent: string | undefined): void {
    if (spec.flag) {
      if (adjacent !== undefined) throw new UsageFailure(`option '--${spec.name}' does not take any arguments`)
      this.found.push({ spec, text: undefined })
      return
    }
    if (adjacent === undefined && this.at >= this.args.length) {
      throw new UsageFailure(`the required argument for option '--${spec.name}' is missing`)
    }
    this.found.push({ spec, text: adjacent ?? this.args[this.at++]! })
  }

  private store(spec: OptionSpec, text: string | undefined): void {
    const { name, repeatable, parse } = spec
    if (this.values.has(name) && !repeatable) throw new UsageFailure(`option '--${name}' cannot be specified more than once`)
    let value: unknown = true
    if (text !== undefined) {
      value = parse ? parse(text) : text
      if (value === undefined) throw new UsageFailure(`the argument ${spec.echoed && text !== '' ? `('${text}') ` : ''}for option '--${name}' is invalid`)
    }
    if (repeatable) this.values.set(name, [...((this.values.get(name) as unknown[] | undefined) ?? []), value])
    else this.values.set(name, value)
    if (spec.deprecated !== undefined) this.deprecated.push(spec)
  }
}
