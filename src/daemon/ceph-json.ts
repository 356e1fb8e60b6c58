/** JSON as Ceph's formatters print it: four spaces when it is to be read by people; 64-bit integers as numbers. */
export function formatJson(value: unknown, style: 'pretty' | 'compact'): string {
  const bigints: string[] = []
  // JSON has no bigint in JavaScript: mark them, then take the marks off again.
  const mark = (_key: string, entry: unknown) => {
    if (typeof entry !== 'bigint') return entry
    bigints.push(entry.toString())
    return `\u0000${bigints.length - 1}\u0000`
  }
  const text = JSON.stringify(value, mark, style === 'pretty' ? 4 : undefined)
  return bigints.length === 0 ? text : text.replace(/"\\u0000(\d+)\\u0000"/g, (_, index: string) => bigints[Number(index)]!)
}
