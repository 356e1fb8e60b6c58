import { UsageError } from '../config/config-error.ts'

/** `flag`: stands alone; `value`: takes what follows. */
export type OwnOptions = Readonly<Record<string, 'flag' | 'value'>>

export interface Taken {
  flags: ReadonlySet<string>
  values: ReadonlyMap<string, string>
  /** everything else, for Ceph's own command line */
  rest: string[]
}

/** Takes a subcommand's own options out of its arguments: `--json`, `--limit=5` or `--limit 5`. @throws UsageError */
export function takeOwnOptions(args: readonly string[], own: OwnOptions): Taken {
  const flags = new Set<string>()
  const values = new Map<string, string>()
  const rest: string[] = []
  for (let at = 0; at < args.length; at++) {
    const argument = args[at]!
    const [, name, value] = /^--([a-z-]+)(?:=(.*))?$/s.exec(argument) ?? []
    const kind = name !== undefined && Object.hasOwn(own, name) ? own[name] : undefined
    if (kind === undefined) rest.push(argument)
    else if (kind === 'flag') {
      if (value !== undefined) throw new UsageError(`option --${name} takes no value`)
      flags.add(name!)
    } else {
      const text = value ?? args[++at]
      if (text === undefined) throw new UsageError(`option --${name} needs a value`)
      values.set(name!, text)
    }
  }
  return { flags, values, rest }
}
