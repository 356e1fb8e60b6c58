import { setTimeout as sleep } from 'node:timers/promises'
import type { Commands } from './commands.ts'
import { JOURNAL_IMAGE, SNAPSHOT_IMAGE, type Sites } from './sites.ts'

const EVERY_MS = 2_000
/** So many rounds of writes are between two mirror-snapshots. */
const ROUNDS_PER_SNAPSHOT = 5
const WRITES = ['bench', '--io-type', 'write', '--io-size', '16K', '--io-total', '256K', '--io-threads', '4', '--io-pattern', 'rand']

/** Somebody who uses the images: writes to each wherever it is primary, also after a failover. Resolves when the signal is aborted. */
export async function keepWriting(sites: Sites, commands: Commands, signal: AbortSignal): Promise<void> {
  const primary = new Map([JOURNAL_IMAGE, SNAPSHOT_IMAGE].map((image) => [image, sites.a]))
  for (let round = 0; !signal.aborted; round++) {
    for (const [image, site] of primary) {
      const { status } = await commands.tryRbd('--cluster', site, ...WRITES, image)
      // it may be the other site's by now, or nobody's until it is promoted
      if (status !== 0) primary.set(image, site === sites.a ? sites.b : sites.a)
      else if (image === SNAPSHOT_IMAGE && round % ROUNDS_PER_SNAPSHOT === 0) await commands.tryRbd('--cluster', site, 'mirror', 'image', 'snapshot', image)
    }
    await sleep(EVERY_MS, undefined, { signal }).catch(() => undefined) // ends the loop
  }
}
