import { bool, encode, nothing, s64, string, u64, u8, utime, utimeFromMs, zeroTime } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno } from '../../../rados/errors.ts'
import { NO_SNAP } from '../../../rados/io-ctx.ts'
import { refused, requireExists, setValue, trailing, unlessMissing } from '../../server-method.ts'
import {
  FEATURE_DATA_POOL,
  FEATURE_OPERATIONS,
  FEATURE_STRIPINGV2,
  FEATURES_ALL,
  FEATURES_DISABLE_ONLY,
  FEATURES_INCOMPATIBLE,
  FEATURES_INTERNAL,
  FEATURES_MUTABLE,
  FEATURES_RW_INCOMPATIBLE,
  OP_FEATURES_ALL,
} from '../features.ts'
import { StoredParent } from '../types.ts'
import { KEY, parentExists, read, requireFeature, setOpFeatures, snapId, stored, write } from './shared.ts'
import { getSnapshot, putSnapshot } from './stored-snapshots.ts'

/* An image's header: size, features, layout, flags, times. */

const NO_POOL = -1n

const createInput = fields({ size: u64, order: u8, features: u64, objectPrefix: string, dataPoolId: trailing(s64, NO_POOL) })

const create = write('create', createInput, async (object, { size, order, features, objectPrefix, dataPoolId }) => {
  if ((features & ~FEATURES_ALL) !== 0n) throw refused(Errno.ENOSYS, `features ${features & ~FEATURES_ALL} are not known`)
  if (objectPrefix === '') throw refused(Errno.EINVAL, 'an image needs an object prefix')
  if (await unlessMissing(object.omapGetValue(KEY.objectPrefix))) throw refused(Errno.EEXIST, 'the image exists')
  if ((features & FEATURE_OPERATIONS) !== 0n) throw refused(Errno.EINVAL, 'feature operations can not be set')
  if (((features & FEATURE_DATA_POOL) !== 0n) !== (dataPoolId !== NO_POOL))
    throw refused(Errno.EINVAL, 'a data pool and the feature data-pool need each other')
  const now = encode(utime, utimeFromMs(object.now))
  const header = new Map([
    [KEY.size, encode(u64, size)],
    [KEY.order, encode(u8, order)],
    [KEY.features, encode(u64, features)],
    [KEY.objectPrefix, encode(string, objectPrefix)],
    [KEY.snapSeq, encode(u64, 0n)],
    [KEY.createTimestamp, now],
    [KEY.accessTimestamp, now],
    [KEY.modifyTimestamp, now],
  ] as [string, Buffer][])
  if (dataPoolId !== NO_POOL) header.set(KEY.dataPoolId, encode(s64, dataPoolId))
  object.omapSet(header)
})

// --- size ---

const getSize = read('get_size', snapId, fields({ order: u8, size: u64 }), async (object, { snapId }) => {
  const order = await stored.get(object, KEY.order, u8)
  const size = snapId === NO_SNAP ? await stored.get(object, KEY.size, u64) : BigInt((await getSnapshot(object, snapId)).imageSize)
  return { order, size }
})

const setSize = write('set_size', fields({ size: u64 }), async (object, { size }) => {
  const before = await stored.get(object, KEY.size, u64)
  setValue(object, KEY.size, u64, size)
  if (size >= before) return
  const parent = await stored.find(object, KEY.parent, StoredParent)
  if (parentExists(parent) && BigInt(parent.headOverlap ?? 0) > size)
    setValue(object, KEY.parent, StoredParent, { ...parent, headOverlap: Number(size) })
})

// --- features ---

const getFeatures = read(
  'get_features',
  fields({ snapId: u64, readOnly: trailing(bool, false) }),
  fields({ features: u64, incompatible: u64 }),
  async (object, { readOnly }) => {
    const features = await stored.get(object, KEY.features, u64)
    return { features, incompatible: features & (readOnly ? FEATURES_INCOMPATIBLE : FEATURES_RW_INCOMPATIBLE) }
  },
)

const setFeatures = write('set_features', fields({ features: u64, mask: u64 }), async (object, args) => {
  const before = (await stored.find(object, KEY.features, u64)) ?? 0n
  if ((args.mask & FEATURES_INTERNAL) !== 0n) throw refused(Errno.EINVAL, 'an internal feature can not be set')
  const mask = args.mask & FEATURES_ALL
  const enabled = args.features & mask
  if ((enabled & ~FEATURES_MUTABLE) !== 0n) throw refused(Errno.EINVAL, `features ${enabled & ~FEATURES_MUTABLE} can not be enabled`)
  const disabled = ~args.features & mask
  if ((disabled & ~(FEATURES_MUTABLE | FEATURES_DISABLE_ONLY)) !== 0n) throw refused(Errno.EINVAL, 'an immutable feature can not be disabled')
  setValue(object, KEY.features, u64, (before & ~mask) | enabled)
})

const getAllFeatures = read('get_all_features', nothing, u64, () => FEATURES_ALL)

const opFeaturesGet = read('op_features_get', nothing, u64, async (object) => (await stored.find(object, KEY.opFeatures, u64)) ?? 0n)

const opFeaturesSet = write('op_features_set', fields({ opFeatures: u64, mask: u64 }), async (object, { opFeatures, mask }) => {
  if ((mask & ~OP_FEATURES_ALL) !== 0n) throw refused(Errno.EINVAL, `operation features ${mask & ~OP_FEATURES_ALL} are not known`)
  await setOpFeatures(object, opFeatures, mask)
})

// --- layout ---

const getObjectPrefix = read('get_object_prefix', nothing, string, (object) => stored.get(object, KEY.objectPrefix, string))

const getDataPool = read('get_data_pool', nothing, s64, async (object) => (await stored.find(object, KEY.dataPoolId, s64)) ?? NO_POOL)

const striping = fields({ stripeUnit: u64, stripeCount: u64 })

const getStripeUnitCount = read('get_stripe_unit_count', nothing, striping, async (object) => {
  await requireExists(object)
  await requireFeature(object, FEATURE_STRIPINGV2)
  let stripeUnit = await stored.find(object, KEY.stripeUnit, u64)
  if (stripeUnit === undefined) {
    const order = await stored.find(object, KEY.order, u8)
    if (order === undefined) throw refused(Errno.EIO, 'the image has no order')
    stripeUnit = objectSize(order)
  }
  return { stripeUnit, stripeCount: (await stored.find(object, KEY.stripeCount, u64)) ?? 1n }
})

const setStripeUnitCount = write('set_stripe_unit_count', striping, async (object, { stripeUnit, stripeCount }) => {
  if (stripeUnit === 0n || stripeCount === 0n) throw refused(Errno.EINVAL, 'a stripe can not be empty')
  await requireExists(object)
  await requireFeature(object, FEATURE_STRIPINGV2)
  const size = objectSize(await stored.get(object, KEY.order, u8))
  if (size % stripeUnit !== 0n || stripeUnit > size) throw refused(Errno.EINVAL, `a stripe unit of ${stripeUnit} does not divide objects of ${size}`)
  object.omapSet(
    new Map([
      [KEY.stripeUnit, encode(u64, stripeUnit)],
      [KEY.stripeCount, encode(u64, stripeCount)],
    ]),
  )
})

/** As a 64-bit processor shifts. */
function objectSize(order: number): bigint {
  return 1n << BigInt(order & 63)
}

// --- flags ---

const getFlags = read('get_flags', snapId, u64, async (object, { snapId }) =>
  snapId === NO_SNAP ? ((await stored.find(object, KEY.flags, u64)) ?? 0n) : (await getSnapshot(object, snapId)).flags,
)

const setFlags = write('set_flags', fields({ flags: u64, mask: u64, snapId: trailing(u64, NO_SNAP) }), async (object, { flags, mask, snapId }) => {
  if (snapId === NO_SNAP) {
    const before = (await stored.find(object, KEY.flags, u64)) ?? 0n
    setValue(object, KEY.flags, u64, (before & ~mask) | (flags & mask))
    return
  }
  const snapshot = await getSnapshot(object, snapId)
  await putSnapshot(object, { ...snapshot, flags: (snapshot.flags & ~mask) | (flags & mask) })
})

// --- times ---

const getTimestamp = (name: string, key: string) =>
  read(name, nothing, utime, async (object) => (await stored.find(object, key, utime)) ?? zeroTime)

const setTimestamp = (name: string, key: string) =>
  write(name, nothing, async (object) => {
    await requireExists(object)
    setValue(object, key, utime, utimeFromMs(object.now))
  })

export const headerMethods: readonly ServerMethod[] = [
  create,
  getSize,
  setSize,
  getFeatures,
  setFeatures,
  getAllFeatures,
  opFeaturesGet,
  opFeaturesSet,
  getObjectPrefix,
  getDataPool,
  getStripeUnitCount,
  setStripeUnitCount,
  getFlags,
  setFlags,
  getTimestamp('get_create_timestamp', KEY.createTimestamp),
  getTimestamp('get_access_timestamp', KEY.accessTimestamp),
  getTimestamp('get_modify_timestamp', KEY.modifyTimestamp),
  setTimestamp('set_access_timestamp', KEY.accessTimestamp),
  setTimestamp('set_modify_timestamp', KEY.modifyTimestamp),
]
