import type { SnapId } from '../../rados/io-ctx.ts'
import { TwoBitVector } from './two-bit-vector.ts'

/** What an object map says of an object (include/rbd/object_map_types.h). */
export const ObjectState = {
  nonexistent: 0,
  /** exists and was written since the previous snapshot */
  exists: 1,
  /** is being removed */
  pending: 2,
  /** exists and is the same as in the previous snapshot (only with fast-diff) */
  existsClean: 3,
} as const
export type ObjectState = (typeof ObjectState)[keyof typeof ObjectState]

/** An object map: one of {@link ObjectState} per object. */
export type ObjectMap = TwoBitVector
export type { SnapId }
