import { getSnapcontext, snapshotGet } from '../../cls/rbd/client.ts'
import { mirrorImageGet } from '../../cls/rbd/mirror-client.ts'
import type { MirrorImage } from '../../cls/rbd/mirror-types.ts'
import type { SnapshotNamespace } from '../../cls/rbd/types.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx, SnapId } from '../../rados/io-ctx.ts'
import { ReadOperation } from '../../rados/operation.ts'
import { loadOwnership, promotionOfTag } from '../journal/image-journal.ts'
import { snapshotInfoOf } from '../malformed-snapshot.ts'
import { headerName, RBD_MIRRORING } from '../names.ts'

/**
 * Who may write to an image:
 * - `primary`: its users;
 * - `non-primary`: only mirroring, from the site with `primaryMirrorUuid`;
 * - `orphan`: nobody, it was demoted;
 * - `unknown`: nothing tells (an image that was never finished).
 */
export type PromotionState = 'primary' | 'non-primary' | 'orphan' | 'unknown'

export interface Promotion {
  state: PromotionState
  /** of a non-primary image; else '' */
  primaryMirrorUuid: string
}

const unknown: Promotion = { state: 'unknown', primaryMirrorUuid: '' }

/** What the newest mirror-snapshot says (librbd/mirror/GetInfoRequest.cc, calc_promotion_state). */
export function promotionOf(snapshots: readonly { id: SnapId; namespace: SnapshotNamespace }[]): Promotion {
  let newest: { id: SnapId; promotion: Promotion } | undefined
  for (const { id, namespace } of snapshots) {
    if (namespace.type !== 'mirror' || (newest && newest.id > id)) continue
    switch (namespace.state) {
      case 'primary':
        newest = { id, promotion: { state: 'primary', primaryMirrorUuid: '' } }
        break
      case 'non-primary':
        newest = { id, promotion: { state: 'non-primary', primaryMirrorUuid: namespace.primaryMirrorUuid } }
        break
      case 'primary-demoted':
      case 'non-primary-demoted':
        newest = { id, promotion: { state: 'orphan', primaryMirrorUuid: '' } }
    }
  }
  return newest?.promotion ?? unknown
}

export interface SnapshotMirrorInfo {
  image: MirrorImage
  promotion: Promotion
}

/** Snapshots may go while they are read; then it begins again. */
const maxTries = 10

/** Rejects with RadosError; ENOENT when the image is not mirrored. */
export async function loadMirrorInfo(io: IoCtx, imageId: string, options?: { signal?: AbortSignal | undefined }): Promise<SnapshotMirrorInfo> {
  const image = await mirrorImageGet.call(io, RBD_MIRRORING, { imageId }, options)
  try {
    const journaled = image.mode === 'journal'
    return { image, promotion: journaled ? promotionOfTag((await loadOwnership(io, imageId)).data) : await loadPromotion(io, imageId, options) }
  } catch (error) {
    // a mirror image entry comes before the image, see create-local-image
    if (isErrno(error, Errno.ENOENT) && image.state === 'creating') return { image, promotion: unknown }
    throw error
  }
}

/** Of an image in snapshot mode. */
export async function loadPromotion(io: IoCtx, imageId: string, options?: { signal?: AbortSignal | undefined }): Promise<Promotion> {
  const oid = headerName(imageId)
  for (let tries = 1; ; tries++) {
    const { snaps } = await getSnapcontext.call(io, oid, undefined, options)
    if (snaps.length === 0) return unknown
    try {
      const operation = new ReadOperation()
      const handles = snaps.map((snapId) => ({ snapId, step: snapshotGet.step(operation, { snapId }) }))
      const results = await io.read(oid, operation, options)
      return promotionOf(handles.map(({ snapId, step }) => snapshotInfoOf(snapId, () => snapshotGet.result(results, step))))
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT) || tries === maxTries) throw error
    }
  }
}
