import { ConfigError } from './config-error.ts'
import { sectionsFor, type ConfFile } from './conf-file.ts'
import { expandMetavariables } from './metavariables.ts'
import { definitionOf, optionTable, type OptionDefinition, type OptionName, type OptionValue } from './option-table.ts'
import { formatValue, parseValue } from './option-type.ts'

/** Where a value comes from, weakest first (config_values.h of Ceph): the conf file wins over the monitors' central config. */
export const optionSources = ['default', 'mon', 'file', 'env', 'cmdline', 'override'] as const
export type OptionSource = (typeof optionSources)[number]

interface Setting {
  text: string
  source: OptionSource
}

/** Longest chain of options that name each other in their values. */
const maxExpansionDepth = 10

/** The values of all options, from their sources. Values are checked when they are set; names that Ceph alone knows are kept as text. */
export class Options {
  private readonly layers = new Map<OptionSource, Map<string, string>>(optionSources.map((source) => [source, new Map<string, string>()]))
  private readonly listeners = new Set<{ names: readonly string[]; callback: (changed: ReadonlySet<string>) => void }>()

  constructor(
    readonly cluster: string,
    readonly entity: string,
    readonly pid: number = process.pid,
  ) {}

  /**
   * @param where what to name in an error, e.g. `/etc/ceph/site-b.conf:7`
   * @throws ConfigError for a value that the option can't have
   */
  set(name: string, text: string, source: OptionSource, where?: string): void {
    const definition = definitionOf(name)
    if (definition) check(name, definition, text, where)
    this.change(source, new Map([[name, text]]))
  }

  /** Takes a value of this source away again. */
  unset(name: string, source: OptionSource): void {
    this.change(source, new Map([[name, undefined]]))
  }

  /** The sections of a conf file that hold for this entity. */
  applyFile(file: ConfFile): void {
    const values = new Map<string, string>()
    for (const section of sectionsFor(this.entity).reverse()) {
      for (const [name, { value, line }] of file.section(section)) {
        const definition = definitionOf(name)
        if (definition) check(name, definition, value, `${file.path}:${line}`)
        values.set(name, value)
      }
    }
    this.change('file', values)
  }

  /** Makes `values` all that comes from the monitors; a value that is no good is reported, not applied. */
  applyCentral(values: ReadonlyMap<string, string>, onError: (error: ConfigError) => void): void {
    const changes = new Map<string, string | undefined>([...this.layers.get('mon')!.keys()].map((name) => [name, undefined]))
    for (const [name, text] of values) {
      const definition = definitionOf(name)
      try {
        if (definition) check(name, definition, text, "the monitors' central config")
        changes.set(name, text)
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error
        onError(error)
      }
    }
    this.change('mon', changes)
  }

  get<N extends OptionName>(name: N): OptionValue<N> {
    const definition: OptionDefinition = optionTable[name]
    const parsed = parseValue(definition.type, this.expanded(name, 0)!)
    if (!parsed.ok) throw new ConfigError(`${name} ${parsed.problem}: "${this.expanded(name, 0)}"`)
    return parsed.value as OptionValue<N>
  }

  /** The value as Ceph prints it, whether the option is in our table or only Ceph's; undefined for one that nobody has set. */
  text(name: string): string | undefined {
    const definition = definitionOf(name)
    return definition ? formatValue(definition.type, this.get(name as OptionName)) : this.expanded(name, 0)
  }

  /** Which source the value in force comes from. */
  source(name: string): OptionSource | undefined {
    return this.setting(name)?.source
  }

  /** What each source says, the weakest first. */
  settings(name: string): { source: OptionSource; text: string }[] {
    return optionSources.flatMap((source) => {
      const text = this.layers.get(source)!.get(name) ?? (source === 'default' ? definitionOf(name)?.default : undefined)
      return text === undefined ? [] : [{ source, text }]
    })
  }

  /** Names of all options of the table and of all that is set. */
  names(): string[] {
    const names = new Set<string>(Object.keys(optionTable))
    for (const layer of this.layers.values()) for (const name of layer.keys()) names.add(name)
    return [...names].sort()
  }

  /** Unexpanded values that come from one of `sources`, the stronger source winning. */
  from(...sources: OptionSource[]): Map<string, string> {
    const values = new Map<string, string>()
    for (const source of optionSources) if (sources.includes(source)) for (const [name, text] of this.layers.get(source)!) values.set(name, text)
    return values
  }

  /** Calls back after a change of the value in force of one of `names` (of any, when there are none). Returns what ends it. */
  onChange(names: readonly OptionName[], callback: (changed: ReadonlySet<string>) => void): () => void {
    const listener = { names, callback }
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  private setting(name: string): Setting | undefined {
    return this.settings(name).at(-1)
  }

  private expanded(name: string, depth: number): string | undefined {
    const setting = this.setting(name)
    if (!setting) return undefined
    if (depth > maxExpansionDepth) throw new ConfigError(`${name} refers to itself in "${setting.text}"`)
    return expandMetavariables(setting.text, {
      cluster: this.cluster,
      entity: this.entity,
      pid: this.pid,
      option: (other) => this.expanded(other, depth + 1),
    })
  }

  private change(source: OptionSource, values: ReadonlyMap<string, string | undefined>): void {
    const layer = this.layers.get(source)!
    const changed = new Set<string>()
    for (const [name, text] of values) {
      const before = this.setting(name)?.text
      if (text === undefined) layer.delete(name)
      else layer.set(name, text)
      if (this.setting(name)?.text !== before) changed.add(name)
    }
    if (changed.size === 0) return
    for (const { names, callback } of [...this.listeners]) {
      if (names.length === 0 || names.some((name) => changed.has(name))) callback(changed)
    }
  }
}

function check(name: string, definition: OptionDefinition, text: string, where: string | undefined): void {
  const shown = definition.secret ? '' : ` "${text}"`
  const fail = (problem: string): never => {
    throw new ConfigError(`bad value${shown} for ${name}: ${problem}`, where)
  }
  // What names other options can only be judged when it is read.
  if (definition.type !== 'str' && text.includes('$')) return
  const parsed = parseValue(definition.type, text)
  if (!parsed.ok) return fail(`it ${parsed.problem}`)
  if (typeof parsed.value === 'number') {
    if (definition.min !== undefined && parsed.value < definition.min) fail(`it must be at least ${definition.min}`)
    if (definition.max !== undefined && parsed.value > definition.max) fail(`it must be at most ${definition.max}`)
  }
  if (definition.values && !definition.values.includes(text)) fail(`it must be one of ${definition.values.join(', ')}`)
  try {
    definition.check?.(text)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    fail(error.message)
  }
  if (name.startsWith('debug_') && !/^\d{1,2}(\/\d{1,2})?$/.test(text)) fail('it must be a level from 0 to 99, or two as in 5/20')
}
