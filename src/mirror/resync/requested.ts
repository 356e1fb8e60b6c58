import { Errno, isErrno } from '../../rados/errors.ts'
import type { ImageContext, LocalSide } from '../image-context.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { ImageJournal, loadOwnership } from '../../rbd/journal/image-journal.ts'
import { loadImageMeta, takeBackResync as takeBackImageMeta } from '../../rbd/mirror/image-meta.ts'
import type { ObservedImage } from '../bootstrap/decide.ts'

/** Whether a resync of a local image is asked for, as either mode notes it; what can't be read asks for nothing. */
export async function isResyncRequested({ io, mirrorUuid }: LocalSide, { imageId, info }: ObservedImage): Promise<boolean> {
  try {
    if (info.image.mode === 'journal') return (await loadOwnership(io, imageId)).meta.resyncRequested
    return (await loadImageMeta(io, imageId, mirrorUuid)).resyncRequested
  } catch (error) {
    if (isErrno(error, Errno.ENOENT) || error instanceof MalformedInput) return false
    throw error
  }
}

/**
 * A promotion goes before a resync that was asked for earlier: done after the next demotion, that would give up what was written in between. Stock `rbd`
 * does not take the request back. Since the image was seen to be primary it may have been demoted, and a resync asked for: that is another one, and stays.
 */
export async function takeBackResync({ local, clock, log }: ImageContext, image: ObservedImage): Promise<void> {
  if (!(await isResyncRequested(local, image))) return
  const { io, cluster, mirrorUuid } = local
  const { imageId, info } = image
  const inJournal = async () => {
    const journal = await ImageJournal.open({ io, journalId: imageId, openPool: (id) => cluster.openPoolById(id), clock, log })
    try {
      return await journal.takeBackResync()
    } finally {
      await journal.close()
    }
  }
  const takenBack = await (info.image.mode === 'journal' ? inJournal() : takeBackImageMeta(io, imageId, mirrorUuid))
  if (takenBack) log.info({ imageId }, 'the image was promoted: the resync that was requested before is off')
}
