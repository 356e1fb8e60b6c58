import type { AdminArguments, AdminCommands } from '../observability/admin-commands.ts'
import { cephOptionNames } from '../config/ceph-option-names.ts'
import { ConfigError } from '../config/config-error.ts'
import { normalizeName } from '../config/conf-file.ts'
import { definitionOf } from '../config/option-table.ts'
import { parseValue, type OptionType } from '../config/option-type.ts'
import type { Options } from '../config/options.ts'
import { Errno } from '../rados/errors.ts'
import { AdminCommandError } from './admin-registry.ts'

const variable = 'name=var,type=CephString'
const hidden = '********'

function noSuchOption(verb: string): AdminCommandError {
  return new AdminCommandError(Errno.ENOENT, `${verb}: (2) No such file or directory`)
}

function typed(type: OptionType | undefined, text: string): unknown {
  const parsed = type === undefined ? undefined : parseValue(type, text)
  return parsed?.ok ? parsed.value : text
}

/** `config show|get|set|unset|diff|help` of the admin socket: what is set there wins over every other source until the daemon ends. */
export function registerConfigCommands(commands: AdminCommands, options: Options): void {
  const nameOf = (args: AdminArguments) => normalizeName(String(args['var']))
  const shown = (name: string) => (definitionOf(name)?.secret && options.text(name) !== '' ? hidden : (options.text(name) ?? ''))
  const known = (name: string) => definitionOf(name) !== undefined || cephOptionNames.has(name) || name.startsWith('debug_')

  /** What it is now, as it may be shown. */
  const set = (name: string, value: string): string => {
    if (!known(name)) throw noSuchOption(`error setting '${name}' to '${value}'`)
    const definition = definitionOf(name)
    if (definition?.startup) throw new AdminCommandError(Errno.ENOSYS, `error setting '${name}': it takes effect only at the start of the daemon`)
    try {
      options.set(name, value, 'override')
    } catch (error) {
      if (error instanceof ConfigError) throw new AdminCommandError(Errno.EINVAL, `error setting '${name}': ${error.message}`)
      throw error
    }
    return definition?.secret ? hidden : value
  }

  commands.register({
    words: ['config', 'show'],
    help: 'dump current config settings',
    run: () => ({
      name: options.entity,
      cluster: options.cluster,
      ...Object.fromEntries(options.names().map((name) => [name, shown(name)])),
    }),
  })
  commands.register({
    words: ['config', 'get', variable],
    help: 'config get <field>: get the config value',
    run: (args) => {
      const name = nameOf(args)
      if (options.text(name) === undefined) throw noSuchOption(`error getting '${name}'`)
      return { [name]: shown(name) }
    },
  })
  commands.register({
    words: ['config', 'set', variable, 'name=val,type=CephString,n=N'],
    help: 'config set <field> <val> [<val> ...]: set a config variable',
    run: (args) => {
      const name = nameOf(args)
      const value = Array.isArray(args['val']) ? args['val'].join(' ') : String(args['val'])
      return { success: `${name} = '${set(name, value)}' ` }
    },
  })
  commands.register({
    words: ['injectargs', 'name=injected_args,type=CephString,n=N,req=false'],
    help: 'inject configuration arguments into running daemon',
    run: (args) => {
      const given = (args['injected_args'] ?? []) as string | string[]
      const words = [given].flat().join(' ').split(/\s+/).filter((word) => word !== '')
      for (let at = 0; at < words.length; at++) {
        const [, written, text] = /^--([^=]+)(?:=(.*))?$/.exec(words[at]!) ?? []
        if (written === undefined || !known(normalizeName(written))) throw new AdminCommandError(Errno.EINVAL, ` failed to parse arguments: ${words.slice(at).join(',')}`)
        set(normalizeName(written), text ?? words[++at] ?? 'true')
      }
      return {}
    },
  })
  commands.register({
    words: ['config', 'unset', variable],
    help: 'config unset <field>: unset a config variable',
    run: (args) => {
      const name = nameOf(args)
      if (!known(name)) throw new AdminCommandError(Errno.EINVAL, `error unsetting '${name}': (22) Invalid argument`)
      options.unset(name, 'override')
      return { success: '' }
    },
  })
  const diff = (names: string[]) => ({
    diff: Object.fromEntries(
      names
        .filter((name) => options.source(name) !== 'default' && options.source(name) !== undefined)
        .map((name) => {
          const type = definitionOf(name)?.type
          const value = (text: string) => (definitionOf(name)?.secret ? hidden : typed(type, text))
          const sources = options.settings(name).map(({ source, text }) => [source, value(text)])
          return [name, { ...Object.fromEntries(sources), final: value(options.text(name)!) }]
        }),
    ),
  })
  commands.register({
    words: ['config', 'diff'],
    help: 'dump diff of current config and default config',
    run: () => diff(options.names()),
  })
  commands.register({
    words: ['config', 'diff', 'get', variable],
    help: 'dump diff get <field>: dump diff of current and default config setting <field>',
    run: (args) => diff([nameOf(args)]),
  })
  commands.register({
    words: ['config', 'help', `${variable},req=false`],
    help: 'get config setting schema and descriptions',
    run: (args) => {
      const names = args['var'] === undefined ? options.names().filter((name) => definitionOf(name)) : [nameOf(args)]
      const described = names.map((name) => {
        const definition = definitionOf(name)
        if (!definition) throw noSuchOption(`Setting not found: '${name}'`)
        const { type, description, min, max, values, startup } = definition
        return {
          name,
          type,
          desc: description,
          default: typed(type, definition.default),
          ...(values ? { enum_values: values } : {}),
          min: min ?? '',
          max: max ?? '',
          can_update_at_runtime: !startup,
        }
      })
      return args['var'] === undefined ? { options: described } : { option: described[0] }
    },
  })
}

