import { getMirrorMode } from '../../../rbd/mirror/get-mirror-mode.ts'
import { findMirrorImage } from '../../../rbd/mirror/image-entry.ts'
import type { MirrorImage } from '../../../cls/rbd/mirror-types.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import type { Image } from '../../../rbd/image.ts'
import { attempt, invalid } from '../frame/failure.ts'

/** @throws CommandFailure unless the pool is mirrored */
export async function requirePoolMirroring(io: IoCtx): Promise<void> {
  const mode = await attempt('failed to retrieve mirror mode', () => getMirrorMode(io))
  if (mode === 'disabled') throw invalid('mirroring not enabled on the pool')
}

/** @throws CommandFailure unless the image is mirrored */
export async function requireImageMirroring(image: Image): Promise<MirrorImage> {
  const entry = await attempt('failed to retrieve mirror info', () => findMirrorImage(image.io, image.id))
  if (entry?.state !== 'enabled') throw invalid('mirroring not enabled on the image')
  return entry
}
