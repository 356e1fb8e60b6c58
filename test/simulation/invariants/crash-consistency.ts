import { BLOCK, serialOf, type Change, type ImageHistory } from '../clients.ts'

/**
 * Whether a content may be what a power cut leaves on a disk with a cache: there is a flush before which everything has happened, and after which
 * any of the changes up to the next flush. Undefined if so, else why the flush that comes nearest is not it.
 *
 * Changes whose outcome is unknown may have happened or not.
 */
export function inconsistency(content: Buffer, history: ImageHistory): string | undefined {
  const found = Array.from({ length: Math.floor(content.length / BLOCK) }, (_, block) => serialOf(content.subarray(block * BLOCK, (block + 1) * BLOCK)))
  let settled: ReadonlySet<number>[] = found.map(() => new Set([0]))
  let nearest: { wrong: number; what: string } | undefined
  for (const window of windowsOf(history.changes)) {
    const possible = settled.map((before) => new Set(before))
    for (const change of window) each(change, found.length, (block) => possible[block]!.add(valueOf(change)))
    const wrong = found.flatMap((serial, block) => (possible[block]!.has(serial) ? [] : [block]))
    if (wrong.length === 0) return undefined
    if (!nearest || wrong.length < nearest.wrong) {
      const [block] = wrong
      const range = window.length === 0 ? '' : ` in the changes ${window[0]!.serial} to ${window.at(-1)!.serial}`
      nearest = { wrong: wrong.length, what: `block ${block} is of write ${found[block!]}, not of ${[...possible[block!]!].join(' or ')}${range}` }
    }
    settled = settled.map((before, block) => settle(before, window, block))
  }
  return nearest ? `${nearest.wrong} blocks at odds, at the least: ${nearest.what}` : 'no state at all'
}

/** What may be in a block when all of these changes have happened. */
function settle(before: ReadonlySet<number>, window: readonly Change[], block: number): ReadonlySet<number> {
  let values = before
  for (const change of window) {
    if (block < change.from || block >= change.to) continue
    values = change.state === 'done' ? new Set([valueOf(change)]) : new Set([...values, valueOf(change)])
  }
  return values
}

function valueOf({ type, serial }: Change): number {
  return type === 'write' ? serial : 0
}

function each({ from, to }: Change, blocks: number, act: (block: number) => void): void {
  for (let block = from; block < Math.min(to, blocks); block++) act(block)
}

/** The changes between two flushes, each. */
function* windowsOf(changes: readonly Change[]): Generator<readonly Change[]> {
  let window: Change[] = []
  for (const change of changes) {
    if (change.type !== 'flush') window.push(change)
    else if (change.state === 'done') {
      yield window
      window = []
    }
  }
  yield window
}
