import { objectMapResize, setFeatures, setFlags } from '../../cls/rbd/client.ts'
import { Errno, ifThere } from '../../rados/errors.ts'
import { NO_SNAP } from '../../rados/io-ctx.ts'
import { ObjectState } from '../data/object-states.ts'
import { layoutOf, objectCount } from '../data/striping.ts'
import {
  FEATURE_EXCLUSIVE_LOCK,
  FEATURE_FAST_DIFF,
  FEATURE_JOURNALING,
  FEATURE_OBJECT_MAP,
  FEATURES_DISABLE_ONLY,
  FEATURES_MUTABLE,
  FLAG_FAST_DIFF_INVALID,
  FLAG_OBJECT_MAP_INVALID,
  hasFeature,
} from '../features.ts'
import type { Image } from '../image.ts'
import { objectMapName } from '../names.ts'
import { invoke, operationError, type OperationOptions } from './invoke.ts'

const mapFeatures = FEATURE_OBJECT_MAP | FEATURE_FAST_DIFF

/** What has to come and go with the journaling feature. */
export interface JournalSwitch {
  create(image: Image): Promise<void>
  remove(image: Image): Promise<void>
}

export interface FeatureChange {
  /** bits of features.ts; those that are as wanted already are left out */
  features: bigint
  enabled: boolean
  /** needed for the journaling feature, which is refused with EOPNOTSUPP without it */
  journal?: JournalSwitch | undefined
}

/**
 * Switches features on or off, by the lock owner. Object-map and fast-diff go together; maps that are switched on are marked invalid until they
 * are rebuilt. Rejects with EINVAL for what can't be switched, or needs another feature.
 */
export async function updateFeatures(image: Image, change: FeatureChange, options?: OperationOptions): Promise<void> {
  const { features, enabled } = change
  await invoke(
    image,
    { name: 'update features', local: () => updateFeaturesHere(image, change), request: { type: 'updateFeatures', features, enabled } },
    options,
  )
}

/** Switches features here and now; the lock must be ours, if the image has one. */
export function updateFeaturesHere(image: Image, { features, enabled, journal }: FeatureChange): Promise<void> {
  return image.operations.run('header', async () => {
    const header = await image.refreshIfNeeded()
    const allowed = enabled ? FEATURES_MUTABLE : FEATURES_MUTABLE | FEATURES_DISABLE_ONLY
    if ((features & ~allowed) !== 0n) throw operationError(image, Errno.EINVAL, 'update features that can not be changed')
    let changed = enabled ? features & ~header.features : features & header.features
    if ((changed & mapFeatures) !== 0n) changed |= enabled ? mapFeatures & ~header.features : mapFeatures & header.features
    if (changed === 0n) return
    if ((changed & FEATURE_JOURNALING) !== 0n && !journal) throw operationError(image, Errno.EOPNOTSUPP, 'update the journaling feature')
    if (enabled) await enable(image, changed, journal)
    else await disable(image, changed, journal)
    await image.featuresChanged()
  })
}

/** librbd/operation/EnableFeaturesRequest.cc: journal → flags → header → object maps */
async function enable(image: Image, changed: bigint, journal: JournalSwitch | undefined): Promise<void> {
  const { header } = image
  const features = header.features | changed
  const needsLock = changed & (mapFeatures | FEATURE_JOURNALING)
  if (needsLock !== 0n && !hasFeature(features, FEATURE_EXCLUSIVE_LOCK)) {
    throw operationError(image, Errno.EINVAL, 'enable features that need exclusive-lock')
  }
  if ((changed & FEATURE_JOURNALING) !== 0n) await journal!.create(image)
  await flagEverywhere(image, mapFlags(changed), true)
  let mask = changed
  if (needsLock !== 0n) mask |= FEATURE_EXCLUSIVE_LOCK
  if ((changed & mapFeatures) !== 0n) mask |= mapFeatures
  await setFeatures.call(image.io, image.headerOid, { features, mask })
  if ((changed & FEATURE_OBJECT_MAP) !== 0n) await createObjectMaps(image)
}

/** librbd/operation/DisableFeaturesRequest.cc: journal → object maps → header → flags */
async function disable(image: Image, changed: bigint, journal: JournalSwitch | undefined): Promise<void> {
  const { header } = image
  const features = header.features & ~changed
  if ((changed & FEATURE_EXCLUSIVE_LOCK) !== 0n && (features & (FEATURE_OBJECT_MAP | FEATURE_JOURNALING)) !== 0n) {
    throw operationError(image, Errno.EINVAL, 'disable exclusive-lock under object-map or journaling')
  }
  let mask = changed
  if ((changed & FEATURE_EXCLUSIVE_LOCK) !== 0n) mask |= mapFeatures | FEATURE_JOURNALING
  if ((changed & FEATURE_JOURNALING) !== 0n) {
    await image.closeJournal()
    await journal!.remove(image)
  }
  if ((changed & FEATURE_OBJECT_MAP) !== 0n) await removeObjectMaps(image)
  await setFeatures.call(image.io, image.headerOid, { features, mask })
  await flagEverywhere(image, mapFlags(changed), false)
}

function mapFlags(changed: bigint): bigint {
  let flags = 0n
  if ((changed & FEATURE_OBJECT_MAP) !== 0n) flags |= FLAG_OBJECT_MAP_INVALID
  if ((changed & FEATURE_FAST_DIFF) !== 0n) flags |= FLAG_FAST_DIFF_INVALID
  return flags
}

async function flagEverywhere(image: Image, mask: bigint, on: boolean): Promise<void> {
  if (mask === 0n) return
  for (const snapId of [NO_SNAP, ...image.header.snapContext.snaps]) {
    await ifThere(setFlags.call(image.io, image.headerOid, { flags: on ? mask : 0n, mask, snapId }))
  }
}

async function createObjectMaps(image: Image): Promise<void> {
  const { header } = image
  const layout = layoutOf(header)
  for (const { id, size } of [{ id: NO_SNAP, size: header.size }, ...header.snapshots]) {
    await objectMapResize.call(image.io, objectMapName(image.id, id), {
      objectCount: objectCount(layout, size),
      defaultState: ObjectState.nonexistent,
    })
  }
}

async function removeObjectMaps(image: Image): Promise<void> {
  image.objectMap = undefined
  for (const id of [NO_SNAP, ...image.header.snapContext.snaps]) await ifThere(image.io.remove(objectMapName(image.id, id)))
}
