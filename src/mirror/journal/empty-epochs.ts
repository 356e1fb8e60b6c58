import type { ObjectPosition } from '../../cls/journal/types.ts'
import { decode } from '../../encoding/codec.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import type { Journal } from '../../journal/journal.ts'
import { getTag } from '../../journal/tags.ts'
import { ifThere } from '../../rados/errors.ts'
import { EventEntry } from '../../rbd/journal/events.ts'
import { decodeTag, type ImageJournal } from '../../rbd/journal/image-journal.ts'
import { emptyEpochs, isDemotionHere, type NumberedTag } from './tag-chain.ts'

/** So many of the local journal's newest tags are looked at. */
const MAX_TAGS = 64
/** A promotion and a demotion are two small entries: they lie in the active set, or some of them in the one before it. */
const MAX_SETS = 2

export interface UnwrittenSince {
  /** the local journal's newest tags before epochs in which nothing was written here, the newest first: they tell as well what the image holds */
  tags: readonly NumberedTag[]
  /** the image's own commit position when that was so */
  committed: readonly ObjectPosition[]
}

/**
 * Looks for epochs at the end of the local journal in which this site was promoted and demoted again without a write. Its entries have the last word:
 * a client may have recorded what it did not live to commit.
 */
export async function findUnwrittenEpochs({ journal, ownership, committed }: ImageJournal): Promise<UnwrittenSince> {
  const epochs = emptyEpochs(await newestTags(journal, ownership))
  const oldest = epochs.at(-1)
  const proven = oldest !== undefined && (await holdsOnlyChangesOfOwner(journal, oldest.promotion))
  return { tags: proven ? epochs.map(({ before }) => before) : [], committed }
}

/** As far back as `emptyEpochs` may need them, in ascending order. Listed for any client they begin with what that one has committed. */
async function newestTags(journal: Journal, newest: NumberedTag): Promise<NumberedTag[]> {
  const { io, journalId } = journal.metadata
  const tags = [newest]
  for (;;) {
    const { tid, data } = tags[0]!
    const { commitValid, entryTid, tagTid } = data.predecessor
    const from = tagTid - 1n
    if (!isDemotionHere(data) || !commitValid || entryTid !== 0n || from < 0n || from >= tid || tid - from > MAX_TAGS - tags.length) return tags
    const older: NumberedTag[] = []
    for (let each = from; each < tid; each++) {
      const tag = await ifThere(getTag(io, journalId, each))
      if (tag) older.push({ tid: each, data: decodeTag(tag) })
    }
    tags.unshift(...older)
    if (older[0]?.tid !== from) return tags
  }
}

/** Whether all entries from the promotion `since` on are changes of owner, and that promotion's own is still there: then so are all that followed. */
async function holdsOnlyChangesOfOwner(journal: Journal, since: bigint): Promise<boolean> {
  const { activeSet, minimumSet } = journal.metadata
  try {
    for (let set = activeSet; set >= Math.max(minimumSet, activeSet - MAX_SETS + 1); set--) {
      let found = false
      for await (const { tagTid, entryTid, data } of journal.entriesOfSet(set)) {
        if (tagTid < since) continue
        if (decode(EventEntry, data, `journal entry ${entryTid} of tag ${tagTid}`).event.type !== 'demotePromote') return false
        found ||= tagTid === since && entryTid === 0n
      }
      if (found) return true
    }
    return false
  } catch (error) {
    if (error instanceof MalformedInput) return false
    throw error
  }
}
