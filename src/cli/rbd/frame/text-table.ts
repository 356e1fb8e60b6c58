/** Columns as Ceph's TextTable prints them: as wide as their widest cell, two blanks apart, the last one padded too. */
export class TextTable {
  private readonly rows: string[][] = []

  constructor(private readonly columns: readonly { heading: string; align: 'left' | 'right' }[]) {}

  add(...cells: (string | number | bigint)[]): void {
    this.rows.push(cells.map(String))
  }

  toString(): string {
    const widths = this.columns.map(({ heading }, at) => this.rows.reduce((widest, row) => Math.max(widest, width(row[at] ?? '')), width(heading)))
    const headings = this.columns.map(({ heading }, at) => pad(heading, widths[at]!, 'left'))
    const lines = this.rows.map((row) => this.columns.map(({ align }, at) => pad(row[at] ?? '', widths[at]!, align)))
    return [headings, ...lines].map((cells) => `${cells.join('  ')}\n`).join('')
  }
}

/** Ceph counts bytes. */
function width(text: string): number {
  return Buffer.byteLength(text)
}

function pad(text: string, to: number, align: 'left' | 'right'): string {
  const blanks = ' '.repeat(to - width(text))
  return align === 'left' ? text + blanks : blanks + text
}
