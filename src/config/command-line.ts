import { UsageError } from './config-error.ts'
import { definitionOf } from './option-table.ts'

/** What the arguments ask for, besides options. */
export interface CommandLine {
  /** `-f`: foreground with the usual log; `-d`: foreground with the log on stderr */
  run: 'default' | 'foreground' | 'debug'
  action:
    | { type: 'run' }
    | { type: 'help' }
    | { type: 'version' }
    | { type: 'show-config' }
    | { type: 'show-config-value'; name: string }
  cluster: string | undefined
  /** `client.ID` */
  entity: string | undefined
  /** paths of the configuration file, in the order in which they are tried */
  conf: string[] | undefined
  /** `--no-mon-config`: the monitors' central config is left out */
  centralConfig: boolean
  /** Ceph options by normalized name, the last one of a name winning; `where` is the argument as it was written */
  options: Map<string, { text: string; where: string }>
}

/** Does `name` belong to Ceph, though not to our table? */
export type KnowsOption = (name: string) => boolean

const shortOptions: Readonly<Record<string, string>> = {
  i: 'id',
  n: 'name',
  c: 'conf',
  k: 'keyring',
  K: 'keyfile',
  m: 'mon-host',
  h: 'help',
  v: 'version',
  f: 'foreground',
  d: 'debug-stderr',
}

const flags = new Set(['help', 'version', 'foreground', 'debug_stderr', 'show_config', 'no_mon_config', 'no_config_file', 'nodaemon'])

const aliases: Readonly<Record<string, string>> = { user: 'id', mon: 'mon_host', monmap_host: 'mon_host' }

/**
 * Reads arguments as Ceph's daemons do (common/ceph_argparse.cc, md_config_t::parse_argv): `--a-b=value`, `--a_b value`, `-i value`,
 * `-ivalue`; dashes and underscores mix; a boolean option may stand without a value or with `--no-` in front. What CEPH_ARGS holds comes
 * first, so that the command line wins.
 *
 * @throws UsageError
 */
export function parseCommandLine(args: readonly string[], cephArgs: string | undefined, knows: KnowsOption): CommandLine {
  const line = emptyLine()
  parseInto(line, splitWords(cephArgs ?? ''), knows, 'CEPH_ARGS')
  parseInto(line, args, knows, undefined)
  return line
}

/**
 * Reads what a client such as `rbd` shares with all of Ceph's programs, and leaves the rest to it: words, `--help`, options that Ceph
 * does not know, and all from `--` on.
 *
 * @throws UsageError
 */
export function parseClientArguments(
  args: readonly string[],
  cephArgs: string | undefined,
  knows: KnowsOption,
): { line: CommandLine; rest: string[] } {
  const line = emptyLine()
  const rest: string[] = []
  parseInto(line, [...splitWords(cephArgs ?? ''), ...args], knows, undefined, rest)
  return { line, rest }
}

function emptyLine(): CommandLine {
  return {
    run: 'default',
    action: { type: 'run' },
    cluster: undefined,
    entity: undefined,
    conf: undefined,
    centralConfig: true,
    options: new Map(),
  }
}

const ofEveryProgram = new Set(['cluster', 'id', 'user', 'name', 'conf', 'mon', 'monmap_host', 'version', 'show_config', 'no_mon_config', 'no_config_file'])

/** Whether all of Ceph's programs take this argument. */
function isShared(argument: string, knows: KnowsOption): boolean {
  if (/^-[inckmKvfd]/.test(argument)) return true
  if (!argument.startsWith('--')) return false
  const name = normalize(argument.slice(2).split('=')[0]!)
  const belongs = (option: string) => definitionOf(option) !== undefined || knows(option)
  return ofEveryProgram.has(name) || belongs(name) || name.startsWith('debug_') || (name.startsWith('no_') && belongs(name.slice('no_'.length)))
}

/** @param rest gets what is not shared by all programs; without it that is an error */
function parseInto(line: CommandLine, args: readonly string[], knows: KnowsOption, source: string | undefined, rest?: string[]): void {
  for (let at = 0; at < args.length; at++) {
    const argument = args[at]!
    if (rest && argument === '--') {
      rest.push(...args.slice(at))
      return
    }
    if (rest && !isShared(argument, knows)) {
      rest.push(argument)
      continue
    }
    const place = source === undefined ? '' : ` in ${source}`
    const { name, value } = splitArgument(argument, place)
    const given = () => {
      const text = value ?? args[++at]
      if (text === undefined) throw new UsageError(`option ${argument}${place} needs a value`)
      return text
    }
    if (flags.has(name)) {
      if (value !== undefined) throw new UsageError(`option ${argument.split('=')[0]}${place} takes no value`)
      applyFlag(line, name)
      continue
    }
    switch (aliases[name] ?? name) {
      case 'cluster':
        line.cluster = nonEmpty(given(), argument)
        continue
      case 'id':
        line.entity = `client.${nonEmpty(given(), argument)}`
        continue
      case 'name':
        line.entity = entityName(given())
        continue
      case 'conf':
        line.conf = given().split(/[,;\s]+/).filter((path) => path !== '') // prettier-ignore
        if (line.conf.length === 0) throw new UsageError(`option ${argument}${place} names no file`)
        continue
      case 'show_config_value':
        line.action = { type: 'show-config-value', name: normalize(given()) }
        continue
    }
    applyOption(line, aliases[name] ?? name, argument, value, args[at + 1], given, knows, place)
  }
}

function applyOption(
  line: CommandLine,
  name: string,
  argument: string,
  value: string | undefined,
  next: string | undefined,
  given: () => string,
  knows: KnowsOption,
  place: string,
): void {
  const where = `option ${argument.split('=')[0]}${place}`
  const negated = name.startsWith('no_') ? name.slice('no_'.length) : undefined
  if (negated !== undefined && value === undefined && definitionOf(negated)?.type === 'bool') {
    line.options.set(negated, { text: 'false', where })
    return
  }
  if (definitionOf(name)?.type === 'bool') {
    // A value of its own is only taken when it can be one: `--daemonize -f`.
    const text = value ?? (next !== undefined && /^(true|false|0|1)$/i.test(next) ? given() : 'true')
    line.options.set(name, { text, where })
    return
  }
  // `--default-X=value` of containers: the weakest source.
  const isDefault = name.startsWith('default_') && definitionOf(name.slice('default_'.length)) !== undefined
  if (definitionOf(name) || isDefault || name.startsWith('debug_') || knows(name)) {
    line.options.set(name, { text: given(), where })
    return
  }
  if (negated !== undefined && knows(negated)) {
    line.options.set(negated, { text: 'false', where })
    return
  }
  throw new UsageError(`unknown option ${argument.split('=')[0]}${place}`)
}

function applyFlag(line: CommandLine, name: string): void {
  switch (name) {
    case 'help':
      line.action = { type: 'help' }
      break
    case 'version':
      line.action = { type: 'version' }
      break
    case 'show_config':
      line.action = { type: 'show-config' }
      break
    case 'foreground':
    case 'nodaemon':
      line.run = 'foreground'
      break
    case 'debug_stderr':
      line.run = 'debug'
      break
    case 'no_mon_config':
      line.centralConfig = false
      break
    case 'no_config_file':
      line.conf = []
      break
  }
}

function splitArgument(argument: string, place: string): { name: string; value: string | undefined } {
  const long = /^--([^=]+)(?:=(.*))?$/s.exec(argument)
  if (long) return { name: normalize(long[1]!), value: long[2] }
  const short = /^-([a-zA-Z])(.*)$/s.exec(argument)
  const name = short ? shortOptions[short[1]!] : undefined
  if (short && name !== undefined) return { name: normalize(name), value: short[2] === '' ? undefined : short[2]!.replace(/^=/, '') }
  if (argument.startsWith('-')) throw new UsageError(`unknown option ${argument}${place}`)
  throw new UsageError(`unexpected argument "${argument}"${place}`)
}

function normalize(name: string): string {
  return name.replaceAll('-', '_')
}

function nonEmpty(value: string, argument: string): string {
  if (value === '') throw new UsageError(`option ${argument} needs a value`)
  return value
}

function entityName(value: string): string {
  const match = /^([a-z]+)\.(.+)$/.exec(value)
  if (!match) throw new UsageError(`--name wants TYPE.ID as in client.rbd-mirror.a, not "${value}"`)
  if (match[1] !== 'client') throw new UsageError(`--name wants a client, as in client.rbd-mirror.a, not "${value}"`)
  return value
}

/** Words of CEPH_ARGS: separated by blanks, quotes and backslashes as in a shell. */
function splitWords(text: string): string[] {
  return [...text.matchAll(/(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+/g)].map(([word]) =>
    word.replace(/\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'/g, (_, escaped?: string, double?: string, single?: string) => {
      return escaped ?? double?.replace(/\\(.)/g, '$1') ?? single ?? ''
    }),
  )
}
