import { Errno, isErrno } from '../../rados/errors.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { loadOwnership } from '../../rbd/journal/image-journal.ts'
import { loadImageMeta } from '../../rbd/mirror/image-meta.ts'
import type { LocalSide } from '../image-context.ts'
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
