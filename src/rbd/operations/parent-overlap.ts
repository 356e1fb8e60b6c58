import { parentAttach } from '../../cls/rbd/client.ts'
import type { Image } from '../image.ts'
import { changeHeader } from './invoke.ts'

/**
 * Lets a clone's head show more of its parent again, up to `overlap` bytes. An image whose header does not know a parent any more stays as it is. The
 * lock must be ours, if the image has one.
 */
export async function raiseParentOverlapHere(image: Image, overlap: number): Promise<void> {
  await changeHeader(image, async () => {
    const { parent } = image.header
    if (!parent || overlap <= (parent.overlap ?? 0)) return
    const { poolId, poolNamespace, imageId, snapId } = parent
    await parentAttach.call(image.io, image.headerOid, { parent: { poolId, poolNamespace, imageId, snapId }, overlap, reattach: true })
  })
}
