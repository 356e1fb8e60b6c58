/* Image features and flags, and their names. */

import {
  FEATURE_LAYERING,
  FEATURE_STRIPINGV2,
  FEATURE_EXCLUSIVE_LOCK,
  FEATURE_OBJECT_MAP,
  FEATURE_FAST_DIFF,
  FEATURE_DEEP_FLATTEN,
  FEATURE_JOURNALING,
  FEATURE_DATA_POOL,
  FEATURE_OPERATIONS,
  FEATURE_MIGRATING,
  FEATURE_NON_PRIMARY,
  FEATURE_DIRTY_CACHE,
} from '../cls/rbd/features.ts'

export {
  FEATURE_LAYERING,
  FEATURE_STRIPINGV2,
  FEATURE_EXCLUSIVE_LOCK,
  FEATURE_OBJECT_MAP,
  FEATURE_FAST_DIFF,
  FEATURE_DEEP_FLATTEN,
  FEATURE_JOURNALING,
  FEATURE_DATA_POOL,
  FEATURE_OPERATIONS,
  FEATURE_MIGRATING,
  FEATURE_NON_PRIMARY,
  FEATURE_DIRTY_CACHE,
  FEATURES_ALL,
  FEATURES_INCOMPATIBLE,
  FEATURES_RW_INCOMPATIBLE,
  FEATURES_MUTABLE,
  FEATURES_DISABLE_ONLY,
  FEATURES_IMPLICIT_ENABLE,
  FEATURES_INTERNAL,
  OP_FEATURE_CLONE_PARENT,
  OP_FEATURE_CLONE_CHILD,
  OP_FEATURE_GROUP,
  OP_FEATURE_SNAP_TRASH,
  FLAG_OBJECT_MAP_INVALID,
  FLAG_FAST_DIFF_INVALID,
} from '../cls/rbd/features.ts'

const names: readonly (readonly [bigint, string])[] = [
  [FEATURE_LAYERING, 'layering'],
  [FEATURE_STRIPINGV2, 'striping'],
  [FEATURE_EXCLUSIVE_LOCK, 'exclusive-lock'],
  [FEATURE_OBJECT_MAP, 'object-map'],
  [FEATURE_FAST_DIFF, 'fast-diff'],
  [FEATURE_DEEP_FLATTEN, 'deep-flatten'],
  [FEATURE_JOURNALING, 'journaling'],
  [FEATURE_DATA_POOL, 'data-pool'],
  [FEATURE_OPERATIONS, 'operations'],
  [FEATURE_MIGRATING, 'migrating'],
  [FEATURE_NON_PRIMARY, 'non-primary'],
  [FEATURE_DIRTY_CACHE, 'dirty-cache'],
]

export function hasFeature(features: bigint, feature: bigint): boolean {
  return (features & feature) === feature
}

/** The names `rbd info` prints, in its order; bits without a name are left out. */
export function featureNames(features: bigint): string[] {
  return names.filter(([bit]) => (features & bit) !== 0n).map(([, name]) => name)
}
