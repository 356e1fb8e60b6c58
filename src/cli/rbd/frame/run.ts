import { cephOptionNames } from '../../../config/ceph-option-names.ts'
import { parseClientArguments } from '../../../config/command-line.ts'
import { ConfigError, UsageError } from '../../../config/config-error.ts'
import { loadConfiguration, type Configuration } from '../../../config/load-configuration.ts'
import { MalformedInput } from '../../../encoding/malformed-input.ts'
import type { Cluster } from '../../../rados/cluster.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { Errno, RadosError } from '../../../rados/errors.ts'
import { Refusal } from '../../../rbd/mirror/refusal.ts'
import { commands } from '../commands.ts'
import { CommandContext, type Connect } from './context.ts'
import { CommandFailure } from './failure.ts'
import { bashCompletion, commandHelp, overallHelp } from './help.ts'
import { commandWords, findCommand, parseArguments, type Match } from './parse-arguments.ts'
import type { Terminal } from './terminal.ts'

const exitUsage = 1
/** as a shell says of a program that SIGINT has ended */
const exitInterrupted = 130

export interface RunOptions {
  terminal: Terminal
  environment: NodeJS.ProcessEnv
  signal?: AbortSignal
  /** tests share a connection */
  connect?: Connect
}

/** The `rbd` program without its process. Resolves with the exit status. */
export async function runRbd(args: readonly string[], options: RunOptions): Promise<number> {
  const { terminal, environment } = options
  try {
    const { line, rest } = parseClientArguments(args, environment['CEPH_ARGS'], (name) => cephOptionNames.has(name))
    if (line.action.type === 'version') {
      terminal.out(`${(await import('../../../daemon/version.ts')).versionLineOf('rbd')}\n`)
      return 0
    }
    const words = commandWords(rest, commands)
    if (words.length === 0) return help([], terminal)
    if (words[0] === 'help') return help(words.slice(1), terminal)
    if (words[0] === 'bash-completion') {
      terminal.out(bashCompletion(commands, findCommand(words.slice(1), commands)))
      return 0
    }
    const match = findCommand(words, commands)
    if (!match) return unknownCommand(words, terminal)
    const status = await runCommand(match, rest, () => loadConfiguration(line, environment), options)
    if (args.includes('--user') && !rest.includes('--user')) terminal.err('rbd: --user is deprecated, use --id\n')
    return status
  } catch (error) {
    if (options.signal?.aborted) return exitInterrupted
    return failed(error, terminal)
  }
}

async function runCommand(match: Match, rest: readonly string[], configuration: () => Configuration, options: RunOptions): Promise<number> {
  const { terminal } = options
  const args = parseArguments(rest, match)
  const signal = options.signal ?? new AbortController().signal
  const context = new CommandContext(args, configuration(), terminal, signal, options.connect ?? connect)
  let status: number
  try {
    status = (await match.command.execute(context)) ?? 0
  } catch (error) {
    if (signal.aborted) throw error
    for (const line of linesOf(error)) context.logError(line)
    status = failed(error, terminal)
  } finally {
    await context.close()
  }
  for (const { name, short, deprecated } of args.deprecated) {
    terminal.err(`rbd: ${short === undefined ? `--${name}` : `-${short} [ --${name} ]`} is deprecated, use --${deprecated}\n`)
  }
  return status
}

/** What the C++ tool's library would log; and where the tool says nothing else, what it is that has failed. */
function linesOf(error: unknown): readonly string[] {
  const cause = error instanceof CommandFailure ? error.cause : error
  if (cause instanceof Refusal) return cause.lines
  return error instanceof CommandFailure && error.message === '' && cause instanceof RadosError ? [`librbd: ${cause.message}`] : []
}

/** Says what is wrong and resolves with the exit status of it. */
function failed(error: unknown, terminal: Terminal): number {
  if (error instanceof CommandFailure) {
    if (error.message !== '') terminal.err(`rbd: ${error.message}\n`)
    return error.status
  }
  if (error instanceof UsageError || error instanceof ConfigError) {
    terminal.err(`rbd: ${error.message}\n`)
    return exitUsage
  }
  if (error instanceof RadosError) {
    terminal.err(`rbd: ${error.message}: ${errnoText(error.errno)}\n`)
    return error.errno
  }
  if (error instanceof MalformedInput) {
    terminal.err(`rbd: ${error.message}\n`)
    return Errno.EIO
  }
  throw error
}

function help(words: readonly string[], terminal: Terminal): number {
  if (words.length === 0) {
    terminal.out(overallHelp(commands))
    return 0
  }
  const match = findCommand(words, commands)
  if (!match) return unknownCommand(words, terminal)
  terminal.out(commandHelp(match))
  return 0
}

function unknownCommand(words: readonly string[], terminal: Terminal): number {
  terminal.err(`error: unknown option '${words.join(' ')}'\n\n`)
  terminal.out(overallHelp(commands))
  return exitUsage
}

async function connect(configuration: Configuration, signal: AbortSignal): Promise<Cluster> {
  const { Connections } = await import('../../../daemon/connect.ts')
  const connections = new Connections(configuration)
  connections.check()
  return connections.local(signal)
}

