import { list, pair, string, u64, type Codec } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ObjectContext } from '../../../objclass/object-context.ts'
import { Errno } from '../../../rados/errors.ts'
import { NO_SNAP } from '../../../rados/io-ctx.ts'
import { atMostSafe, refused, removeKey, serverClass, setValue, storedValues } from '../../server-method.ts'
import { FEATURE_OPERATIONS } from '../features.ts'
import type { StoredParent } from '../types.ts'

/* What the methods of object class `rbd` share on the server side (cls/rbd/cls_rbd.cc). */

export const { read, guard, write } = serverClass('rbd')
export const stored = storedValues(Errno.EIO)

/** Keys of an image's header. */
export const KEY = {
  size: 'size',
  order: 'order',
  features: 'features',
  opFeatures: 'op_features',
  objectPrefix: 'object_prefix',
  dataPoolId: 'data_pool_id',
  snapSeq: 'snap_seq',
  snapLimit: 'snap_limit',
  flags: 'flags',
  stripeUnit: 'stripe_unit',
  stripeCount: 'stripe_count',
  parent: 'parent',
  migration: 'migration',
  createTimestamp: 'create_timestamp',
  accessTimestamp: 'access_timestamp',
  modifyTimestamp: 'modify_timestamp',
} as const

export const snapId = fields({ snapId: u64 })
export const page = fields({ startAfter: string, max: atMostSafe })

/** std::map<string, …> whose entries are in order already, as omap gives them. */
export function ordered<T>(value: Codec<T>): Codec<[key: string, value: T][]> {
  return list(pair(string, value))
}

/** In names of images and groups' ids: letters and digits. */
export function isValidId(id: string): boolean {
  return /^[0-9A-Za-z]+$/.test(id)
}


/** @throws ENOEXEC when the image lacks one of `features`, or is none */
export async function requireFeature(object: ObjectContext, features: bigint): Promise<void> {
  const has = await stored.find(object, KEY.features, u64)
  if (has === undefined || (has & features) !== features) throw refused(Errno.ENOEXEC, `the image lacks features ${features}`)
}

/** Whether the image has all of `features`; an object that is no image has none. */
export async function hasFeatures(object: ObjectContext, features: bigint): Promise<boolean> {
  const has = await stored.find(object, KEY.features, u64)
  return has !== undefined && (has & features) === features
}

/** Switches operation features, and the feature that says that there are any. @throws ENOENT for an object that is no image */
export async function setOpFeatures(object: ObjectContext, wanted: bigint, mask: bigint): Promise<void> {
  const features = await stored.get(object, KEY.features, u64)
  const before = (await stored.find(object, KEY.opFeatures, u64)) ?? 0n
  const after = (before & ~mask) | (wanted & mask)
  if (after === before) return
  if (after === 0n) removeKey(object, KEY.opFeatures)
  else setValue(object, KEY.opFeatures, u64, after)
  const withOperations = after === 0n ? features & ~FEATURE_OPERATIONS : features | FEATURE_OPERATIONS
  if (withOperations !== features) setValue(object, KEY.features, u64, withOperations)
}

export const noParent: StoredParent = { poolId: -1n, poolNamespace: '', imageId: '', snapId: NO_SNAP, headOverlap: undefined }

/** Whether this names a parent at all (cls_rbd_parent::exists). */
export function parentExists(parent: StoredParent | undefined): parent is StoredParent {
  return parent !== undefined && parent.poolId >= 0n && parent.imageId !== '' && parent.snapId !== NO_SNAP
}
