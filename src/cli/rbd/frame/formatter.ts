/**
 * Builds a document as Ceph's formatters do (common/Formatter.cc), byte for byte. Names of array elements show up in XML only. Text of the
 * document is complete after `toString`.
 */
export abstract class Formatter {
  protected text = ''

  constructor(protected readonly pretty: boolean) {}

  abstract openObject(name: string): this
  abstract openArray(name: string): this
  /** Closes the object or array that was opened last. */
  abstract close(): this
  abstract string(name: string, value: string): this
  abstract number(name: string, value: number | bigint): this
  abstract bool(name: string, value: boolean): this
  /** A number as text that is written as it is, e.g. `0.500000`. */
  abstract literal(name: string, value: string): this
  abstract toString(): string
}

export function createFormatter(format: 'json' | 'xml', pretty: boolean): Formatter {
  return format === 'json' ? new JsonFormatter(pretty) : new XmlFormatter(pretty)
}

class JsonFormatter extends Formatter {
  private readonly stack: { isArray: boolean; size: number }[] = []

  openObject(name: string): this {
    return this.open(name, false)
  }

  openArray(name: string): this {
    return this.open(name, true)
  }

  close(): this {
    const { isArray, size } = this.stack.pop()!
    if (size > 0) this.newLine()
    this.text += isArray ? ']' : '}'
    if (this.pretty && this.stack.length === 0) this.text += '\n'
    return this
  }

  string(name: string, value: string): this {
    return this.literal(name, quote(value))
  }

  number(name: string, value: number | bigint): this {
    return this.literal(name, String(value))
  }

  bool(name: string, value: boolean): this {
    return this.literal(name, String(value))
  }

  literal(name: string, value: string): this {
    this.begin(name)
    this.text += value
    return this
  }

  toString(): string {
    return this.pretty ? this.text : `${this.text}\n`
  }

  private open(name: string, isArray: boolean): this {
    this.begin(name)
    this.text += isArray ? '[' : '{'
    this.stack.push({ isArray, size: 0 })
    return this
  }

  private begin(name: string): void {
    const parent = this.stack.at(-1)
    if (!parent) return
    if (parent.size++ > 0) this.text += ','
    this.newLine()
    // Ceph does not escape names
    if (!parent.isArray) this.text += `"${name}":${this.pretty ? ' ' : ''}`
  }

  private newLine(): void {
    if (this.pretty) this.text += `\n${'    '.repeat(this.stack.length)}`
  }
}

function quote(text: string): string {
  // JSON.stringify differs in what it escapes: control characters have short forms only for \t, \n
  return `"${text.replace(/["\\\p{Cc}]/gu, (char) => jsonEscapes[char] ?? (isControl(char) ? `\\u${hex(char, 4)}` : char))}"`
}

const jsonEscapes: Readonly<Record<string, string>> = { '"': '\\"', '\\': '\\\\', '\t': '\\t', '\n': '\\n' }

class XmlFormatter extends Formatter {
  private readonly sections: string[] = []

  openObject(name: string): this {
    this.text += `${this.indent}<${name}>${this.lineEnd}`
    this.sections.push(name)
    return this
  }

  openArray(name: string): this {
    return this.openObject(name)
  }

  close(): this {
    const name = this.sections.pop()!
    this.text += `${this.indent}</${name}>${this.lineEnd}`
    return this
  }

  string(name: string, value: string): this {
    return this.literal(name, value.replace(/[&<>"'\p{Cc}]/gu, (char) => escapeXml(char)))
  }

  number(name: string, value: number | bigint): this {
    return this.literal(name, String(value))
  }

  bool(name: string, value: boolean): this {
    return this.literal(name, String(value))
  }

  literal(name: string, value: string): this {
    this.text += `${this.indent}<${name}>${value}</${name}>${this.lineEnd}`
    return this
  }

  toString(): string {
    return `${this.text}\n`
  }

  private get indent(): string {
    return this.pretty ? ' '.repeat(this.sections.length) : ''
  }

  private get lineEnd(): string {
    return this.pretty ? '\n' : ''
  }
}

const xmlEscapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;', '\t': '\t', '\n': '\n' }

function escapeXml(char: string): string {
  return xmlEscapes[char] ?? (isControl(char) ? `&#x${hex(char, 2)};` : char)
}

/** Those of ASCII: others are bytes of UTF-8 to Ceph, which it leaves alone. */
function isControl(char: string): boolean {
  return char.charCodeAt(0) < 0x80
}

function hex(char: string, digits: number): string {
  return char.charCodeAt(0).toString(16).padStart(digits, '0')
}
