import type { MirrorImageMode } from '../../cls/rbd/mirror-types.ts'
import { errnoText } from '../../rados/errno-text.ts'
import { Errno } from '../../rados/errors.ts'
import { FEATURE_EXCLUSIVE_LOCK, FEATURE_JOURNALING, hasFeature } from '../features.ts'
import type { Image } from '../image.ts'
import { loadOwnership } from '../journal/image-journal.ts'
import { LOCAL_MIRROR_UUID } from '../journal/tag-data.ts'
import { openParentPool } from '../operations/children.ts'
import { updateFeatures } from '../operations/features.ts'
import { findMirrorImage, setMirrorImage } from './image-entry.ts'
import { primaryJournalSwitch } from './journal-switch.ts'
import { getMirrorMode } from './get-mirror-mode.ts'
import { createPrimarySnapshot } from './primary-snapshot.ts'
import { explained, Refusal } from './refusal.ts'

const api = 'librbd::api::Mirror: image_enable: '
const request = 'librbd::mirror::EnableRequest: '

export interface EnableImage {
  mode: MirrorImageMode
  /** whether a parent in the same pool, which is being enabled too, need not be mirrored yet */
  relaxParentCheck?: boolean
  /** because it is journaled, in a pool in pool mode */
  automatic?: boolean
  signal?: AbortSignal | undefined
}

/**
 * Mirrors an image of a pool in image mode, as its primary (librbd/api/Mirror.cc, image_enable). An image that is mirrored in that way already
 * is no error. Rejects with Refusal.
 */
export async function enableImage(image: Image, { mode, relaxParentCheck = false, automatic = false, signal }: EnableImage): Promise<void> {
  const { io } = image
  const refuse = (why: string) => new Refusal(Errno.EINVAL, [`${api}${why}`], image)
  await image.refreshIfNeeded()
  const poolMode = await explained((errno) => `${api}cannot enable mirroring: failed to retrieve mirror mode: ${errnoText(errno)}`, () => getMirrorMode(io))
  const place = io.namespace === '' ? 'pool' : 'namespace'
  if (poolMode === 'disabled') throw refuse(`cannot enable mirroring: mirroring is not enabled on a ${place}`)
  if (poolMode !== (automatic ? 'pool' : 'image')) throw refuse(`cannot enable mirroring: ${place} is not in image mirror mode`)
  if (!(await parentIsMirrored(image, relaxParentCheck))) throw refuse('mirroring is not enabled for the parent')
  if (mode === 'journal') {
    await explained((errno) => `${api}cannot enable journaling: ${errnoText(errno)}`, () => enableJournaling(image, signal))
  }
  await explained((errno) => `${api}cannot enable mirroring: ${errnoText(errno)}`, () => enable(image, mode, signal))
}

/** Makes the entry (librbd/mirror/EnableRequest.cc); a snapshot-mode image gets its first mirror-snapshot before. */
async function enable(image: Image, mode: MirrorImageMode, signal: AbortSignal | undefined): Promise<void> {
  const { io, id, options } = image
  const refuse = (step: string, why: string) => new Refusal(Errno.EINVAL, [`${request}${step}: ${why}`], image)
  const before = await findMirrorImage(io, id)
  if (before) {
    if (before.mode !== mode) throw refuse('handle_get_mirror_image', 'invalid current image mirror mode')
    if (before.state !== 'enabled') throw refuse('handle_get_mirror_image', 'currently disabling')
    return
  }
  const globalImageId = options.random.uuid()
  if (mode === 'journal') {
    const { data } = await loadOwnership(io, id)
    if (data.mirrorUuid !== LOCAL_MIRROR_UUID) throw refuse('handle_get_tag_owner', 'last journal tag not owned by local cluster')
  } else {
    await explained(
      (errno) => `${request}handle_create_primary_snapshot: failed to create initial primary snapshot: ${errnoText(errno)}`,
      () => createPrimarySnapshot(image, { globalImageId, withoutPeers: true, quiesce: 'quiesce', signal }),
    )
  }
  await setMirrorImage(io, id, { globalImageId, state: 'enabled', mode }, options.log)
}

async function enableJournaling(image: Image, signal: AbortSignal | undefined): Promise<void> {
  const { features } = image.header
  if (hasFeature(features, FEATURE_JOURNALING)) return
  const wanted = FEATURE_JOURNALING | (hasFeature(features, FEATURE_EXCLUSIVE_LOCK) ? 0n : FEATURE_EXCLUSIVE_LOCK)
  await updateFeatures(image, { features: wanted, enabled: true, journal: primaryJournalSwitch() }, { signal })
}

async function parentIsMirrored(image: Image, relaxed: boolean): Promise<boolean> {
  const { parent } = image.header
  if (!parent || parent.overlap === undefined || (relaxed && parent.poolId === image.io.poolId)) return true
  const pool = await openParentPool(image, parent)
  if (!pool) return true
  try {
    return (await findMirrorImage(pool, parent.imageId)) !== undefined
  } finally {
    pool.close()
  }
}
