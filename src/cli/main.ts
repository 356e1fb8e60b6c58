import { writeFileSync } from 'node:fs'
import { cephOptionNames } from '../config/ceph-option-names.ts'
import { parseCommandLine } from '../config/command-line.ts'
import { ConfigError, UsageError } from '../config/config-error.ts'
import { loadConfiguration, type Configuration } from '../config/load-configuration.ts'
import type { CommandLine } from '../config/command-line.ts'
import { isInBackground, runInBackground, StartReport } from '../daemon/daemonize.ts'
import { redact } from '../observability/redact.ts'
import { subcommandNamed } from './rbd-mirror-subcommands.ts'

const exitFailure = 1
const exitUsage = 2

/** The `rbd-mirror` program. Ends the process. */
export async function main(args: readonly string[]): Promise<void> {
  const report = new StartReport(isInBackground())
  let status: number
  try {
    const subcommand = subcommandNamed(args[0])
    if (subcommand) status = await (await subcommand.load())(args.slice(1))
    else status = await run(parseCommandLine(args, process.env['CEPH_ARGS'], (name) => cephOptionNames.has(name)), args, report)
  } catch (error) {
    const usage = error instanceof UsageError
    if (!usage && !(error instanceof ConfigError)) throw error
    report.failed(redact(usage ? `${error.message}; rbd-mirror --help tells how it is used` : error.message))
    status = usage ? exitUsage : exitFailure
  }
  process.exit(status)
}

async function run(line: CommandLine, args: readonly string[], report: StartReport): Promise<number> {
  switch (line.action.type) {
    case 'help':
      process.stdout.write((await import('./help.ts')).helpText())
      return 0
    case 'version':
      process.stdout.write(`${(await import('../daemon/version.ts')).versionLine}\n`)
      return 0
    case 'show-config':
      return showConfig(loadConfiguration(line, process.env))
    case 'show-config-value':
      return showConfigValue(loadConfiguration(line, process.env), line.action.name)
    case 'run':
      return mirror(line, args, report)
  }
}

function showConfig({ options }: Configuration): number {
  const lines = [`name = ${options.entity}`, `cluster = ${options.cluster}`, ...options.names().map((name) => `${name} = ${shown(options, name)}`)]
  process.stdout.write(`${lines.join('\n')}\n`)
  return 0
}

function shown(options: Configuration['options'], name: string): string {
  return name === 'key' && options.get('key') !== '' ? '********' : (options.text(name) ?? '')
}

function showConfigValue({ options }: Configuration, name: string): number {
  if (options.text(name) === undefined) throw new ConfigError(`failed to get config option '${name}': option not found`)
  process.stdout.write(`${shown(options, name)}\n`)
  return 0
}

async function mirror(line: CommandLine, args: readonly string[], report: StartReport): Promise<number> {
  const configuration = loadConfiguration(line, process.env)
  if (configuration.options.get('daemonize') && !report.background) return runInBackground()
  nameProcess(args)
  const { Daemon } = await import('../daemon/daemon.ts')
  const daemon = new Daemon({
    configuration,
    debug: line.run === 'debug',
    centralConfig: line.centralConfig,
    report,
    mirror: async () => (await import('../daemon/run-mirror.ts')).runMirror,
  })
  return daemon.run()
}

/** What ps, pidof and pgrep show: the program's name and its arguments, as with the C++ daemon. */
function nameProcess(args: readonly string[]): void {
  process.title = redact(['rbd-mirror', ...args].join(' '))
  try {
    writeFileSync('/proc/self/comm', 'rbd-mirror')
  } catch {
    return // no /proc: it keeps the longer name
  }
}
