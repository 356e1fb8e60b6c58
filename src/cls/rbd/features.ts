/* Image features and flags as bit masks; defined in Ceph's include/rbd/features.h and include/rbd/librbd.h. */

export const FEATURE_LAYERING = 1n << 0n
export const FEATURE_STRIPINGV2 = 1n << 1n
export const FEATURE_EXCLUSIVE_LOCK = 1n << 2n
export const FEATURE_OBJECT_MAP = 1n << 3n
export const FEATURE_FAST_DIFF = 1n << 4n
export const FEATURE_DEEP_FLATTEN = 1n << 5n
export const FEATURE_JOURNALING = 1n << 6n
export const FEATURE_DATA_POOL = 1n << 7n
export const FEATURE_OPERATIONS = 1n << 8n
export const FEATURE_MIGRATING = 1n << 9n
export const FEATURE_NON_PRIMARY = 1n << 10n
export const FEATURE_DIRTY_CACHE = 1n << 11n

export const FEATURES_ALL = (1n << 12n) - 1n

/** what an old client must understand before it may read, and before it may write */
export const FEATURES_INCOMPATIBLE = FEATURE_LAYERING | FEATURE_STRIPINGV2 | FEATURE_DATA_POOL | FEATURE_DIRTY_CACHE
export const FEATURES_RW_INCOMPATIBLE =
  FEATURES_INCOMPATIBLE |
  FEATURE_EXCLUSIVE_LOCK |
  FEATURE_OBJECT_MAP |
  FEATURE_FAST_DIFF |
  FEATURE_DEEP_FLATTEN |
  FEATURE_JOURNALING |
  FEATURE_OPERATIONS |
  FEATURE_MIGRATING |
  FEATURE_NON_PRIMARY

/** what may be switched on a living image */
export const FEATURES_MUTABLE =
  FEATURE_EXCLUSIVE_LOCK |
  FEATURE_OBJECT_MAP |
  FEATURE_FAST_DIFF |
  FEATURE_JOURNALING |
  FEATURE_NON_PRIMARY |
  FEATURE_DIRTY_CACHE
/** what may only be switched off */
export const FEATURES_DISABLE_ONLY = FEATURE_DEEP_FLATTEN
/** follows from other settings, never asked for */
export const FEATURES_IMPLICIT_ENABLE =
  FEATURE_STRIPINGV2 |
  FEATURE_DATA_POOL |
  FEATURE_FAST_DIFF |
  FEATURE_OPERATIONS |
  FEATURE_MIGRATING |
  FEATURE_NON_PRIMARY |
  FEATURE_DIRTY_CACHE
/** never set by a user */
export const FEATURES_INTERNAL = FEATURE_OPERATIONS | FEATURE_MIGRATING

export const OP_FEATURE_CLONE_PARENT = 1n << 0n
export const OP_FEATURE_CLONE_CHILD = 1n << 1n
export const OP_FEATURE_GROUP = 1n << 2n
export const OP_FEATURE_SNAP_TRASH = 1n << 3n
export const OP_FEATURES_ALL = OP_FEATURE_CLONE_PARENT | OP_FEATURE_CLONE_CHILD | OP_FEATURE_GROUP | OP_FEATURE_SNAP_TRASH

/** flags of the head and of each snapshot */
export const FLAG_OBJECT_MAP_INVALID = 1n << 0n
export const FLAG_FAST_DIFF_INVALID = 1n << 1n
