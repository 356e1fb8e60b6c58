import type { ObjectPosition } from '../../cls/journal/types.ts'
import { LOCAL_MIRROR_UUID, ORPHAN_MIRROR_UUID, type TagData } from '../../rbd/journal/tag-data.ts'

/** One image's journal, as far as it tells of the history that its own site has written. */
export interface JournalHistory {
  /** in ascending order, newest last; of the local journal only the newest */
  tags: readonly { tid: bigint; data: TagData }[]
  /** the image's own commit position, newest first */
  committed: readonly ObjectPosition[]
}

/** Tells how two images of journal mode came to differ: behind the text that the stock daemon has, what their tags say. */
export function journalSplitBrain(reason: string, local: JournalHistory, remote: JournalHistory): string {
  return `split-brain detected: ${reason}; this site ${story(local)}; the other site ${story(remote)}`
}

function story({ tags, committed }: JournalHistory): string {
  const newest = tags.at(-1)
  if (!newest) return 'has no history'
  const { mirrorUuid, predecessor } = newest.data
  // of a demoted image the demotion says where its own epoch ended
  if (mirrorUuid === ORPHAN_MIRROR_UUID && predecessor.mirrorUuid === LOCAL_MIRROR_UUID) {
    const until = `until its demotion (tag ${newest.tid})`
    if (!predecessor.commitValid) return `was primary ${until}, and has written nothing that is committed`
    return `was primary ${until}, and has written ${predecessor.entryTid + 1n} entries under tag ${predecessor.tagTid}`
  }
  if (mirrorUuid !== LOCAL_MIRROR_UUID) return `is not primary since tag ${newest.tid}`
  const first = tags.findLast(({ data }, index) => data.mirrorUuid === LOCAL_MIRROR_UUID && tags[index - 1]?.data.mirrorUuid !== LOCAL_MIRROR_UUID)!
  const last = committed.find(({ tagTid }) => tagTid >= first.tid)
  const amount = last ? `${last.entryTid + 1n} entries under tag ${last.tagTid}` : 'nothing that is committed'
  return `is primary, by tag ${first.tid}${first === tags[0] ? ' or an older one' : ''}, and has written ${amount}`
}
