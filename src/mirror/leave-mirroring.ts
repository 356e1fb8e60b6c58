import type { Log } from '../base/log.ts'
import { setFeatures } from '../cls/rbd/client.ts'
import { mirrorImageRemove, mirrorImageSet } from '../cls/rbd/mirror-client.ts'
import type { MirrorImage } from '../cls/rbd/mirror-types.ts'
import { ifThere } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { WriteOperation } from '../rados/operation.ts'
import { FEATURE_NON_PRIMARY } from '../rbd/features.ts'
import { ownJournal } from '../rbd/journal/own-journal.ts'
import { notifyMirroring } from '../rbd/mirror/mirroring-notify.ts'
import { headerName, RBD_MIRRORING } from '../rbd/names.ts'

/**
 * Takes an image that mirroring has thrown away out of mirroring: restored from the trash it is an image of its own, and may be written.
 *
 *     entry DISABLING → its own journal, or writable → entry removed → daemons told
 *
 * No step makes anything that is not there: whoever threw the image away and whoever deletes it may both do this, at the same time, and go on
 * from wherever the other one was.
 */
export async function leaveMirroring(io: IoCtx, imageId: string, mirrorImage: MirrorImage, log: Log): Promise<void> {
  const { mode, globalImageId } = mirrorImage
  await ifThere(mirrorImageSet.call(io, RBD_MIRRORING, { imageId, image: { ...mirrorImage, state: 'disabling' } }))
  if (mode === 'journal') await ownJournal(io, imageId)
  else {
    const writable = setFeatures.step(new WriteOperation().assertExists(), { features: 0n, mask: FEATURE_NON_PRIMARY })
    await ifThere(io.write(headerName(imageId), writable))
  }
  await ifThere(mirrorImageRemove.call(io, RBD_MIRRORING, { imageId }))
  await notifyMirroring(io, { type: 'imageUpdated', state: 'disabled', imageId, globalImageId }, log)
}
