import { forEachBounded } from '../../base/bounded.ts'
import { setSize } from '../../cls/rbd/client.ts'
import { Errno } from '../../rados/errors.ts'
import { copyUpObject } from '../copyup.ts'
import { reliableStates } from '../data/object-map.ts'
import { MAX_OBJECT_MAP_OBJECTS, ObjectState } from '../data/object-states.ts'
import { layoutOf, objectCount } from '../data/striping.ts'
import { FEATURE_OBJECT_MAP, hasFeature } from '../features.ts'
import type { Progress } from '../header-watcher.ts'
import type { Image } from '../image.ts'
import { trimData } from '../trim.ts'
import { changeHeader, invoke, operationError, type OperationOptions } from './invoke.ts'

export interface Resize {
  /** bytes */
  size: number
  /** without it a smaller size is refused with EINVAL */
  allowShrink: boolean
}

/** Gives an image another size, by the lock owner. What a shrink cuts off is removed, except from snapshots. */
export function resizeImage(image: Image, resize: Resize, options?: OperationOptions): Promise<void> {
  return invoke(
    image,
    { name: 'resize', local: () => resizeImageHere(image, resize, options), request: { type: 'resize', ...resize } },
    options,
  )
}

/**
 *     grow:   object map → header → peers told
 *     shrink: what snapshots have of a parent → data → header → object map → peers told
 *
 * so that the object map is never smaller than the image (librbd/operation/ResizeRequest.cc). The lock must be ours, if the image has one.
 */
export function resizeImageHere(image: Image, { size, allowShrink }: Resize, options: OperationOptions = {}): Promise<void> {
  return changeHeader(image, async () => {
    const { header, objectMap } = image
    const objects = objectCount(layoutOf(header), size)
    if (size < header.size && !allowShrink) throw operationError(image, Errno.EINVAL, 'shrink')
    if (hasFeature(header.features, FEATURE_OBJECT_MAP) && objects > MAX_OBJECT_MAP_OBJECTS) {
      throw operationError(image, Errno.EINVAL, 'resize beyond what object maps can hold')
    }
    if (size > header.size) await objectMap?.resize(objects)
    if (size < header.size) {
      const concurrency = image.numericOption('rbd_concurrent_management_ops', 10)
      await forEachBounded(leavingParent(image, size), concurrency, (object) => copyUpObject(image, object, options.signal))
      await trimData(size, {
        data: image.data(),
        header,
        objectMap,
        concurrency,
        onProgress: toProgress(options.progress),
        signal: options.signal,
      })
    }
    if (size !== header.size) await setSize.call(image.io, image.headerOid, { size })
    if (size < header.size) await objectMap?.resize(objects)
  })
}

/**
 * Objects that a clone smaller than its parent no longer has of that, while snapshots do: flattening looks at the head's part alone, and may take the
 * parent from the snapshots as well.
 */
function* leavingParent({ header, objectMap }: Image, size: number): Generator<number> {
  const overlap = header.parent?.overlap ?? 0
  if (overlap <= size || !header.snapshots.some((snapshot) => (snapshot.parentOverlap ?? 0) > size)) return
  const layout = layoutOf(header)
  const period = layout.objectSize * layout.stripeCount
  const known = reliableStates({ header, objectMap })
  for (let object = Math.floor(size / period) * layout.stripeCount; object < objectCount(layout, overlap); object++) {
    if (known === undefined || object >= known.length || known.get(object) === ObjectState.nonexistent) yield object
  }
}

/** Peers need to hear something now and then, not of every object. */
function toProgress(progress: Progress | undefined): ((done: number, total: number) => void) | undefined {
  if (!progress) return undefined
  let percent = -1
  return (done, total) => {
    const now = Math.floor((done * 100) / total)
    if (now === percent) return
    percent = now
    progress(BigInt(done), BigInt(total))
  }
}
