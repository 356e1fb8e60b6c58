import { clientList, clientUnregister } from '../../cls/journal/client.ts'
import { JOURNAL_MAX_RETURN } from '../../cls/journal/types.ts'
import { encode } from '../../encoding/codec.ts'
import { journalHeaderName } from '../../journal/names.ts'
import { createTag } from '../../journal/tags.ts'
import { ifThere } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { IMAGE_CLIENT_ID, loadOwnership } from './image-journal.ts'
import { LOCAL_MIRROR_UUID, TagData } from './tag-data.ts'

/**
 * Makes a replica's journal that of an image of its own: this site is its owner, and no peer can go on from where it was.
 *
 *     tag: ours, that no peer can follow → the clients of peers go
 *
 * Only what is there is changed, so that a journal that somebody removes meanwhile stays removed; journal/ResetRequest.cc, which makes it anew,
 * would leave one without an image. Without a journal, or with one that was never finished, nothing happens. Bears being done again, and by several at once.
 */
export async function ownJournal(io: IoCtx, imageId: string): Promise<void> {
  const ownership = await ifThere(loadOwnership(io, imageId))
  if (ownership === undefined) return
  const { tid, data, meta } = ownership
  if (data.mirrorUuid !== LOCAL_MIRROR_UUID) {
    const predecessor = { mirrorUuid: LOCAL_MIRROR_UUID, commitValid: true, tagTid: tid, entryTid: 0n }
    const tag = await ifThere(createTag(io, imageId, meta.tagClass, encode(TagData, { mirrorUuid: LOCAL_MIRROR_UUID, predecessor })))
    if (tag === undefined) return
  }
  const oid = journalHeaderName(imageId)
  const clients = await ifThere(clientList.call(io, oid, { startAfter: '', max: JOURNAL_MAX_RETURN }))
  for (const { id } of clients ?? []) if (id !== IMAGE_CLIENT_ID) await ifThere(clientUnregister.call(io, oid, { id }))
}
