import type { ImageHeader } from '../../rbd/header.ts'
import { findLocalParent } from '../bootstrap/local-parent.ts'
import type { ImageContext } from '../image-context.ts'

/**
 * Whether a replica was flattened, while it was primary itself, and its primary is still a clone: what only the parent has is nowhere in the replica,
 * and a parent is for new images only. A resync has to make the image anew.
 */
export function lacksParent(local: ImageHeader, remote: ImageHeader): boolean {
  return remote.parent !== undefined && local.parent === undefined
}

/** Before a replica is given up for a new one: rejects with ParentNotReady as long as that can't be made. */
export async function requireLocalParent(context: ImageContext, remote: ImageHeader): Promise<void> {
  const parent = await findLocalParent(context, remote)
  parent?.io.close()
}
