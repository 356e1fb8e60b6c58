/**
 * Breaks text into lines behind an indent, as the C++ tool's help does (tools/rbd/IndentStream.cc): the first line goes on where
 * something of `offset` characters stands already, or below it when that reaches into the indent.
 */
export class IndentedText {
  /** characters at one of which a line may be broken */
  delimiters = ' '
  private done = ''
  private line = ''

  constructor(
    private readonly indent: number,
    private offset: number,
    private readonly width: number,
  ) {}

  /** Adds text; \n ends a line. Resolves to itself. */
  add(text: string): this {
    for (const char of text) this.addChar(char)
    return this
  }

  toString(): string {
    return this.done
  }

  private addChar(char: string): void {
    if (char === '\n') {
      this.startLine()
      this.done += `${this.line}\n`
      this.line = ''
      return
    }
    if (this.indent + this.line.length >= this.width) this.breakLine()
    this.line += char === '\t' ? ' ' : char
  }

  private breakLine(): void {
    const atBlanks = this.delimiters === ' '
    let end = lastOf(this.line, this.delimiters)
    if (end < 0 && !atBlanks) end = this.line.lastIndexOf(' ')
    this.startLine()
    this.done += `${end < 0 ? this.line : this.line.slice(0, end)}\n`
    this.line = end < 0 ? '' : this.line.slice(end + (atBlanks ? 1 : 0))
  }

  private startLine(): void {
    if (this.offset >= this.indent) {
      this.done += '\n'
      this.offset = 0
    }
    this.done += ' '.repeat(this.indent - this.offset)
    this.offset = 0
  }
}

function lastOf(text: string, chars: string): number {
  return Math.max(...[...chars].map((char) => text.lastIndexOf(char)))
}
