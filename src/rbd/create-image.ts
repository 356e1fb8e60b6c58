import type { Random } from '../base/random.ts'
import * as rbd from '../cls/rbd/client.ts'
import { Errno, ifThere, isErrno, RadosError } from '../rados/errors.ts'
import type { IoCtx, SnapId } from '../rados/io-ctx.ts'
import { WriteOperation } from '../rados/operation.ts'
import { MAX_OBJECT_MAP_OBJECTS, ObjectState } from './data/object-states.ts'
import { layoutOf, objectCount } from './data/striping.ts'
import {
  FEATURE_DATA_POOL,
  FEATURE_EXCLUSIVE_LOCK,
  FEATURE_FAST_DIFF,
  FEATURE_JOURNALING,
  FEATURE_LAYERING,
  FEATURE_OBJECT_MAP,
  FEATURE_STRIPINGV2,
  FEATURES_ALL,
  FEATURES_IMPLICIT_ENABLE,
  hasFeature,
  OP_FEATURE_CLONE_CHILD,
} from './features.ts'
import { dataObjectPrefix, headerName, idObjectName, MAX_IMAGE_ID_LENGTH, objectMapName, RBD_CHILDREN, RBD_DIRECTORY } from './names.ts'

const minOrder = 12
const maxOrder = 25
const minStripeUnit = 512

export interface ImageToCreate {
  /** from {@link generateImageId}; the same again makes an interrupted creation go on */
  id: string
  name: string
  /** bytes */
  size: number
  /** log2 of the object size, 12 to 25 */
  order: number
  /** bits of features.ts; striping, data pool and fast-diff follow from the rest */
  features: bigint
  /** bytes; 0 or left out together with `stripeCount` for no fancy striping */
  stripeUnit?: number | undefined
  stripeCount?: number | undefined
  /** where the data goes if not into the header's pool */
  dataPoolId?: bigint | undefined
  parent?: ParentToAttach | undefined
  /** Makes the journal, where the journaling feature is asked for. Has to bear being called again. */
  createJournal?: (() => Promise<void>) | undefined
}

/** What a clone is made of. */
export interface ParentToAttach {
  poolId: bigint
  poolNamespace: string
  imageId: string
  snapId: SnapId
  /** bytes */
  overlap: number
  /** 1: the parent's snapshot is protected; 2: the parent keeps a list of its children */
  cloneFormat: 1 | 2
  /** the parent's pool and namespace */
  io: IoCtx
}

/** An id that no other image has: the connection's global id and chance, in hexadecimal (librbd/Utils.cc, generate_image_id). */
export function generateImageId(instanceId: bigint, random: Random): string {
  const id = instanceId.toString(16) + Math.floor(random.next() * 0xffffffff).toString(16)
  return id.slice(-MAX_IMAGE_ID_LENGTH)
}

/**
 * Makes an image (librbd/image/CreateRequest.cc, CloneRequest.cc):
 *
 *     directory → id object → header → striping → object map → journal → parent in the header → child at the parent
 *
 * An interrupted creation goes on when called again with the same id and name. Rejects with RadosError: EEXIST when name or id belong to
 * another image, EINVAL, EDOM or ENOSYS for what can't be. What was made is left as it is for the next try, except a name that is taken.
 */
export async function createImage(io: IoCtx, image: ImageToCreate): Promise<void> {
  const features = effectiveFeatures(image)
  validate(io, image, features)
  await enterDirectory(io, image)
  await createIdObject(io, image)
  await createHeader(io, image, features)
  if (hasFeature(features, FEATURE_STRIPINGV2)) {
    const { stripeUnit = 0, stripeCount = 0 } = image
    await rbd.setStripeUnitCount.call(io, headerName(image.id), { stripeUnit, stripeCount })
  }
  if (hasFeature(features, FEATURE_OBJECT_MAP)) {
    await rbd.objectMapResize.call(io, objectMapName(image.id), {
      objectCount: objectCount(layoutFor(image), image.size),
      defaultState: ObjectState.nonexistent,
    })
  }
  if (hasFeature(features, FEATURE_JOURNALING)) await image.createJournal!()
  if (image.parent) await attachParent(io, image.id, image.parent)
}

function layoutFor({ order, stripeUnit, stripeCount }: ImageToCreate) {
  return layoutOf({ order, stripeUnit: stripeUnit || 2 ** order, stripeCount: stripeCount || 1 })
}

function effectiveFeatures({ features, order, stripeUnit, stripeCount, dataPoolId }: ImageToCreate): bigint {
  let effective = features & ~FEATURES_IMPLICIT_ENABLE
  if (hasFeature(effective, FEATURE_OBJECT_MAP)) effective |= FEATURE_FAST_DIFF
  if (dataPoolId !== undefined) effective |= FEATURE_DATA_POOL
  if ((stripeUnit && stripeUnit !== 2 ** order) || (stripeCount && stripeCount !== 1)) effective |= FEATURE_STRIPINGV2
  return effective
}

function validate(io: IoCtx, image: ImageToCreate, features: bigint): void {
  const { order, stripeUnit = 0, stripeCount = 0, size, id } = image
  const refuse = (errno: number, why: string): never => {
    throw failure(io, errno, `create image ${image.name} (${why})`)
  }
  if ((features & ~FEATURES_ALL) !== 0n) refuse(Errno.ENOSYS, 'unknown features')
  if (hasFeature(features, FEATURE_OBJECT_MAP) && !hasFeature(features, FEATURE_EXCLUSIVE_LOCK)) {
    refuse(Errno.EINVAL, 'object-map without exclusive-lock')
  }
  if (hasFeature(features, FEATURE_JOURNALING) && !hasFeature(features, FEATURE_EXCLUSIVE_LOCK)) {
    refuse(Errno.EINVAL, 'journaling without exclusive-lock')
  }
  if (hasFeature(features, FEATURE_JOURNALING) && !image.createJournal) refuse(Errno.EOPNOTSUPP, 'journaling')
  if (image.parent && !hasFeature(features, FEATURE_LAYERING)) refuse(Errno.EINVAL, 'a clone without layering')
  if (!Number.isInteger(order) || order < minOrder || order > maxOrder) refuse(Errno.EDOM, `order ${order}`)
  if ((stripeUnit === 0) !== (stripeCount === 0)) refuse(Errno.EINVAL, 'stripe unit and count go together')
  if (stripeUnit !== 0 && (stripeUnit < minStripeUnit || 2 ** order % stripeUnit !== 0)) refuse(Errno.EINVAL, `stripe unit ${stripeUnit}`)
  if (!Number.isSafeInteger(size) || size < 0) refuse(Errno.EINVAL, `size ${size}`)
  if (id === '' || id.length > MAX_IMAGE_ID_LENGTH) refuse(Errno.EINVAL, `id ${id}`)
  if (hasFeature(features, FEATURE_OBJECT_MAP) && objectCount(layoutFor(image), size) > MAX_OBJECT_MAP_OBJECTS) {
    refuse(Errno.EINVAL, 'more objects than an object map can hold')
  }
}

/** A namespace that is being removed takes no new images. */
async function enterDirectory(io: IoCtx, { name, id }: ImageToCreate): Promise<void> {
  const op = new WriteOperation()
  if (io.namespace !== '') rbd.dirStateAssert.step(op, { state: 'ready' })
  try {
    await io.write(RBD_DIRECTORY, rbd.dirAddImage.step(op, { name, id }))
  } catch (error) {
    if (!isErrno(error, Errno.EEXIST, Errno.EBADF)) throw error
    const [ownName, ownId] = await Promise.all([ifThere(rbd.dirGetName.call(io, RBD_DIRECTORY, { id })), ifThere(rbd.dirGetId.call(io, RBD_DIRECTORY, { name }))])
    if (ownName !== name || ownId !== id) throw failure(io, Errno.EEXIST, `create image ${name}`, error)
  }
}

async function createIdObject(io: IoCtx, { name, id }: ImageToCreate): Promise<void> {
  try {
    await io.write(idObjectName(name), rbd.setId.step(new WriteOperation().create(true), { id }))
  } catch (error) {
    if (!isErrno(error, Errno.EEXIST)) throw error
    if ((await ifThere(rbd.getId.call(io, idObjectName(name)))) === id) return
    await rbd.dirRemoveImage.call(io, RBD_DIRECTORY, { name, id })
    throw failure(io, Errno.EEXIST, `create image ${name}`, error)
  }
}

async function createHeader(io: IoCtx, image: ImageToCreate, features: bigint): Promise<void> {
  const { id, size, order, dataPoolId } = image
  const objectPrefix = dataObjectPrefix(id, io.poolId, dataPoolId !== undefined)
  const op = rbd.create.step(new WriteOperation().create(true), { size, order, features, objectPrefix, dataPoolId: dataPoolId ?? -1n })
  try {
    await io.write(headerName(id), op)
  } catch (error) {
    // with this id it can only be what an earlier try has made
    if (!isErrno(error, Errno.EEXIST)) throw error
  }
}

/** Makes an image a clone; what is attached already stays. */
export async function attachParent(io: IoCtx, imageId: string, parent: ParentToAttach): Promise<void> {
  const { poolId, poolNamespace, imageId: parentId, snapId, overlap } = parent
  const spec = { poolId, poolNamespace, imageId: parentId, snapId }
  await exists(rbd.parentAttach.call(io, headerName(imageId), { parent: spec, overlap, reattach: false }))
  if (parent.cloneFormat === 2) {
    const opFeatures = OP_FEATURE_CLONE_CHILD
    await rbd.opFeaturesSet.call(io, headerName(imageId), { opFeatures, mask: opFeatures })
    const child = { poolId: io.poolId, poolNamespace: io.namespace, imageId }
    await exists(rbd.childAttach.call(parent.io, headerName(parentId), { snapId, child }))
    return
  }
  await exists(rbd.addChild.call(io, RBD_CHILDREN, { parent: { poolId, imageId: parentId, snapId }, childId: imageId }))
  // a snapshot that lost its protection before we entered ourselves as a child may be gone at any moment
  if ((await rbd.getProtectionStatus.call(parent.io, headerName(parentId), { snapId })) !== 'protected') {
    throw failure(io, Errno.EINVAL, 'clone of an unprotected snapshot')
  }
}

async function exists(step: Promise<void>): Promise<void> {
  try {
    await step
  } catch (error) {
    if (!isErrno(error, Errno.EEXIST)) throw error
  }
}

function failure(io: IoCtx, errno: number, op: string, cause?: unknown): RadosError {
  return new RadosError(errno, { op, cluster: io.clusterName, pool: io.poolName, namespace: io.namespace, cause })
}
