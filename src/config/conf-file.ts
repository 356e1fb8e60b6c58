import { ConfigError } from './config-error.ts'

export interface ConfEntry {
  value: string
  /** 1-based, of the line on which the name stands */
  line: number
}

const commentStart = /[#;]/

/** Option names in conf files may be written with spaces, dashes and underscores: `rbd mirror-journal_poll age`. */
export function normalizeName(name: string): string {
  return name.trim().replace(/[\s_-]+/g, '_')
}

/**
 * ceph.conf and keyring files: `[section]` lines, `name = value` lines, comments from `#` or `;` on, a backslash takes away the
 * meaning of the next character and joins lines at a line's end, values may stand in quotes (ConfFile of common/ConfUtils.cc).
 */
export class ConfFile {
  private readonly sections = new Map<string, Map<string, ConfEntry>>()

  private constructor(readonly path: string) {}

  static parse(text: string, path: string): ConfFile {
    const file = new ConfFile(path)
    let section: Map<string, ConfEntry> | undefined
    for (const { text: line, number } of logicalLines(text)) {
      const fail = (problem: string): never => {
        throw new ConfigError(problem, `${path}:${number}`)
      }
      const trimmed = line.trim()
      if (trimmed === '' || commentStart.test(trimmed[0]!)) continue
      if (trimmed.startsWith('[')) {
        const header = /^\[([^\]]*)\]\s*(?:[#;].*)?$/s.exec(trimmed) ?? fail('this is no section header: expected [name]')
        section = file.sectionNamed(header[1]!.trim())
        continue
      }
      const equals = trimmed.indexOf('=')
      const name = equals < 0 ? '' : normalizeName(trimmed.slice(0, equals))
      if (name === '' || commentStart.test(name)) fail('expected "name = value", a [section] or a comment')
      if (!section) fail(`"${name}" stands before the first [section]`)
      section!.set(name, { value: parseValue(trimmed.slice(equals + 1).trimStart(), fail), line: number })
    }
    return file
  }

  sectionNames(): string[] {
    return [...this.sections.keys()]
  }

  /** The entries of one section, by normalized name; later lines win over earlier ones. */
  section(name: string): ReadonlyMap<string, ConfEntry> {
    return this.sections.get(name) ?? new Map<string, ConfEntry>()
  }

  /** The first of `sections` that has `name`. */
  find(sections: readonly string[], name: string): ConfEntry | undefined {
    for (const section of sections) {
      const entry = this.sections.get(section)?.get(name)
      if (entry) return entry
    }
    return undefined
  }

  private sectionNamed(name: string): Map<string, ConfEntry> {
    let section = this.sections.get(name)
    if (!section) this.sections.set(name, (section = new Map<string, ConfEntry>()))
    return section
  }
}

/** Sections that hold for an entity such as `client.a`, the strongest first. */
export function sectionsFor(entity: string): string[] {
  const type = entity.slice(0, entity.indexOf('.'))
  return [entity, type, 'global']
}

function* logicalLines(text: string): Iterable<{ text: string; number: number }> {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  for (let index = 0; index < lines.length; index++) {
    const number = index + 1
    let line = lines[index]!
    while (/(?:^|[^\\])(?:\\\\)*\\$/.test(line) && index + 1 < lines.length) line = line.slice(0, -1) + lines[++index]!
    yield { text: line, number }
  }
}

function parseValue(raw: string, fail: (problem: string) => never): string {
  const quote = raw[0]
  if (quote !== '"' && quote !== "'") return unescapeUntil(raw, commentStart).value.trimEnd()
  const { value, rest } = unescapeUntil(raw.slice(1), new RegExp(quote))
  if (rest === undefined) return fail(`the value has an opening ${quote} but no closing one`)
  const behind = rest.slice(1).trim()
  if (behind !== '' && !commentStart.test(behind[0]!)) fail(`unexpected text behind the closing ${quote}`)
  return value
}

function unescapeUntil(raw: string, stop: RegExp): { value: string; rest: string | undefined } {
  let value = ''
  for (let at = 0; at < raw.length; at++) {
    const character = raw[at]!
    if (stop.test(character)) return { value, rest: raw.slice(at) }
    if (character === '\\' && at + 1 < raw.length) value += raw[++at]!
    else value += character
  }
  return { value, rest: undefined }
}
