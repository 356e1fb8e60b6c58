import type { Command } from './command.ts'
import { IndentedText } from './indented-text.ts'
import type { OptionSpec } from './option-spec.ts'
import type { Match } from './parse-arguments.ts'

/* The C++ tool's help to the letter (tools/rbd/{Shell,OptionPrinter}.cc). */

const lineWidth = 80
const minNameWidth = 20
const maxDescriptionOffset = 37

export const globalOptions: readonly OptionSpec[] = [
  { name: 'conf', short: 'c', description: 'path to cluster configuration' },
  { name: 'cluster', description: 'cluster name' },
  { name: 'id', description: "client id (without 'client.' prefix)" },
  { name: 'user', description: '', deprecated: 'id' },
  { name: 'name', short: 'n', description: 'client name' },
  { name: 'mon_host', short: 'm', description: 'monitor host' },
  { name: 'secret', description: '', deprecated: 'keyfile' },
  { name: 'keyfile', short: 'K', description: 'path to secret key' },
  { name: 'keyring', short: 'k', description: 'path to keyring' },
]

/** What `rbd help` says. */
export function overallHelp(commands: readonly Command[]): string {
  const sorted = [...commands].sort((a, b) => comparePaths(a.path, b.path))
  const widest = Math.max(minNameWidth, ...sorted.map((command) => commandName(command).length))
  const nameWidth = Math.min(widest + 4, maxDescriptionOffset) + 1
  let text = 'usage: rbd <command> ...\n\nCommand-line interface for managing Ceph RBD images.\n\nPositional arguments:\n  <command>\n'
  for (const command of sorted) text += entry(`    ${commandName(command)}`, command.description, nameWidth)
  text += `\nOptional arguments:\n${optionList(globalOptions, nameWidth)}`
  return `${text}\nSee 'rbd help <command>' for help on a specific command.\n`
}

/** What `rbd help COMMAND` says. */
export function commandHelp({ command, path }: Match): string {
  const usage = `usage: rbd ${path.join(' ')}`
  let text = usage + usageArguments(command, usage.length)
  if (command.description !== '') text += `\n${command.description}\n`
  text += '\n'
  const { positional, options } = command.arguments
  const width = Math.max(minNameWidth, ...positional.map(({ name }) => name.length + 3), ...options.map((option) => optionName(option).length))
  const nameWidth = Math.min(width + 2, maxDescriptionOffset) + 1
  if (positional.length > 0) {
    text += 'Positional arguments\n'
    for (const { name, description } of positional) text += entry(`  <${name}>`, description, nameWidth)
    text += '\n'
  }
  if (options.length > 0) text += `Optional arguments\n${optionList(options, nameWidth)}\n`
  return command.help ? `${text}${command.help}\n` : text
}

function usageArguments({ arguments: { positional, options } }: Command, offset: number): string {
  const optionTexts = options.map(({ name, flag, required }) => {
    const option = flag ? `--${name}` : `--${name} <${name}>`
    return required ? option : `[${option}]`
  })
  const positionalTexts = positional.map(({ name, optional, repeatable }) => {
    const argument = repeatable ? `<${name}> [<${name}> ...]` : `<${name}>`
    return optional ? `[${argument}]` : argument
  })
  const widest = Math.max(0, ...[...optionTexts, ...positionalTexts].map((text) => text.length))
  let indent = Math.min(offset, maxDescriptionOffset) + 1
  if (indent + widest + 2 > lineWidth) indent = lineWidth - widest - 2
  const text = new IndentedText(indent, offset, lineWidth)
  text.delimiters = '['
  for (const option of optionTexts) text.add(`${option} `)
  if (optionTexts.length > 0 || positionalTexts.length === 0) text.add('\n')
  if (positionalTexts.length > 0) {
    text.delimiters = ' '
    for (const argument of positionalTexts) text.add(`${argument} `)
    text.add('\n')
  }
  return text.toString()
}

function optionList(options: readonly OptionSpec[], nameWidth: number): string {
  return options
    .filter(({ deprecated }) => deprecated === undefined)
    .map((option) => entry(`  ${optionName(option)}`, option.description, nameWidth))
    .join('')
}

function optionName({ name, short, flag, argument = 'arg' }: OptionSpec): string {
  const names = short === undefined ? `--${name}` : `-${short} [ --${name} ]`
  return flag ? `${names} ` : `${names} ${argument}`
}

function entry(name: string, description: string, nameWidth: number): string {
  return name + new IndentedText(nameWidth, name.length, lineWidth).add(`${description}\n`).toString()
}

function commandName({ path, alias }: Command): string {
  if (!alias) return path.join(' ')
  let level = 0
  while (path[level] === alias[level]) level++
  const short = level < 2 ? alias.join(' ') : `... ${alias.slice(level).join(' ')}`
  return `${path.join(' ')} (${short})`
}

function comparePaths(a: readonly string[], b: readonly string[]): number {
  for (let at = 0; at < Math.min(a.length, b.length); at++) {
    if (a[at] !== b[at]) return a[at]! < b[at]! ? -1 : 1
  }
  return a.length - b.length
}

/** What completion scripts ask for. */
export function bashCompletion(commands: readonly Command[], match: Match | undefined): string {
  const optionText = (option: OptionSpec) => {
    const words = option.deprecated ?? option.description
    const suffix = option.flag ? '' : /path|file/.test(words) ? ' path' : words.includes('host') ? ' host' : ' arg'
    return `|--${option.name}${suffix}${option.short === undefined ? '' : `|-${option.short}${suffix}`}`
  }
  const words = match
    ? match.command.arguments.options.map(optionText)
    : ['|help', ...commands.flatMap(({ path, alias }) => [path, ...(alias ? [alias] : [])].map((words) => `|${words.join(' ')}`))]
  return `${globalOptions.map(optionText).join('')}${words.join('')}|\n`
}
