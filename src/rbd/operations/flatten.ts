import { ifThere } from '../../rados/errors.ts'
import { forEachBounded } from '../../base/bounded.ts'
import { parentDetach } from '../../cls/rbd/client.ts'
import { copyUpObject } from '../copyup.ts'
import { reliableStates } from '../data/object-map.ts'
import { ObjectState } from '../data/object-states.ts'
import { layoutOf, objectCount } from '../data/striping.ts'
import { FEATURE_DEEP_FLATTEN, hasFeature } from '../features.ts'
import type { Image } from '../image.ts'
import { detachFromParent } from './children.ts'
import { changeHeader, invoke, type OperationOptions } from './invoke.ts'

/** Makes a clone independent of its parent, by the lock owner. An image without a parent is no error. */
export async function flattenImage(image: Image, options?: OperationOptions): Promise<void> {
  if ((await image.refreshIfNeeded()).parent?.overlap === undefined) return
  await invoke(image, { name: 'flatten', local: () => flattenImageHere(image, options), request: { type: 'flatten' } }, options)
}

/**
 *     every object made out of the parent's data → parent forgets us, unless snapshots still need it → header forgets the parent
 *
 * (librbd/operation/FlattenRequest.cc). The lock must be ours, if the image has one.
 */
export async function flattenImageHere(image: Image, { signal, progress }: OperationOptions = {}): Promise<void> {
  const { parent } = image.header
  if (parent?.overlap === undefined) return
  const objects = objectCount(layoutOf(image.header), parent.overlap)
  let percent = 0
  await forEachBounded(range(objects), image.numericOption('rbd_concurrent_management_ops', 10), async (object) => {
    signal?.throwIfAborted()
    const known = reliableStates(image) && image.objectMap
    if (!known || known.expected(object) === ObjectState.nonexistent) await copyUpObject(image, object, signal)
    const now = Math.floor((object * 100) / objects)
    if (now <= percent) return
    percent = now
    progress?.(BigInt(object), BigInt(objects))
  })
  await changeHeader(image, async () => {
    const { features, snapshots } = image.header
    // without deep-flatten snapshots go on to name the parent; the last of them tells it when it goes
    if (hasFeature(features, FEATURE_DEEP_FLATTEN) || snapshots.length === 0) await detachFromParent(image, parent)
    await ifThere(parentDetach.call(image.io, image.headerOid))
  })
}

function* range(end: number): Generator<number> {
  for (let number = 0; number < end; number++) yield number
}
