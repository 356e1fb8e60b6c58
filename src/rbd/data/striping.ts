import { assert } from '../../base/assert.ts'
import type { ByteExtent } from '../../rados/io-ctx.ts'

/**
 * How an image's bytes are spread over its data objects (Ceph's file_layout_t). Without fancy striping `stripeUnit` is the object size
 * and `stripeCount` is 1. All in bytes; `stripeUnit` divides `objectSize`.
 */
export interface Layout {
  objectSize: number
  stripeUnit: number
  stripeCount: number
}

/** A part of one object, and where its bytes lie in the image range that was asked for. */
export interface ObjectExtent {
  objectNumber: number
  /** within the object */
  offset: number
  length: number
  /** pieces of the range asked for, in the order of the object's bytes; offsets are relative to the range's start */
  pieces: ByteExtent[]
}

/** The layout of an image's header. */
export function layoutOf(header: { order: number; stripeUnit: number; stripeCount: number }): Layout {
  const objectSize = 2 ** header.order
  const stripeCount = header.stripeCount || 1
  // a unit of one stripe has no meaning: such an image is laid out object by object (osdc/Striper.cc, file_to_extents)
  const stripeUnit = stripeCount === 1 ? objectSize : header.stripeUnit || objectSize
  return { objectSize, stripeUnit, stripeCount }
}

export function sameLayout(a: Layout, b: Layout): boolean {
  return a.objectSize === b.objectSize && a.stripeUnit === b.stripeUnit && a.stripeCount === b.stripeCount
}

/** How many objects an image of `size` bytes may have (Striper::get_num_objects). */
export function objectCount(layout: Layout, size: number): number {
  const { objectSize, stripeUnit, stripeCount } = layout
  const period = objectSize * stripeCount
  const periods = Math.ceil(size / period)
  const remainder = size % period
  // the last set of objects may be short: only its first stripe need not reach all of them
  const missing = remainder > 0 && remainder < stripeCount * stripeUnit ? stripeCount - Math.ceil(remainder / stripeUnit) : 0
  return periods * stripeCount - missing
}

/** The objects that hold `length` bytes of the image from `offset`, by object number (Striper::file_to_extents). */
export function imageToObjects(layout: Layout, offset: number, length: number): ObjectExtent[] {
  const { objectSize, stripeUnit, stripeCount } = layout
  const stripesPerObject = objectSize / stripeUnit
  const found = new Map<number, ObjectExtent[]>()
  const end = offset + length
  for (let at = offset; at < end; ) {
    const block = Math.floor(at / stripeUnit)
    const stripe = Math.floor(block / stripeCount)
    const objectNumber = Math.floor(stripe / stripesPerObject) * stripeCount + (block % stripeCount)
    const within = at % stripeUnit
    const objectOffset = (stripe % stripesPerObject) * stripeUnit + within
    const bytes = Math.min(stripeUnit - within, end - at)
    let extents = found.get(objectNumber)
    if (!extents) found.set(objectNumber, (extents = []))
    const last = extents.at(-1)
    if (last && last.offset + last.length === objectOffset) {
      last.length += bytes
      last.pieces.push([at - offset, bytes])
    } else extents.push({ objectNumber, offset: objectOffset, length: bytes, pieces: [[at - offset, bytes]] })
    at += bytes
  }
  return [...found.values()].flat().sort((a, b) => a.objectNumber - b.objectNumber || a.offset - b.offset)
}

/** Where a part of an object lies in the image, in the order of the object's bytes (Striper::extent_to_file). */
export function objectToImage(layout: Layout, objectNumber: number, offset: number, length: number): ByteExtent[] {
  const { objectSize, stripeUnit, stripeCount } = layout
  assert(offset + length <= objectSize, 'a part of one object')
  const stripesPerObject = objectSize / stripeUnit
  const objectSet = Math.floor(objectNumber / stripeCount)
  const position = objectNumber % stripeCount
  const extents: [number, number][] = []
  const end = offset + length
  for (let at = offset; at < end; ) {
    const stripe = Math.floor(at / stripeUnit) + objectSet * stripesPerObject
    const within = at % stripeUnit
    const bytes = Math.min(stripeUnit - within, end - at)
    const imageOffset = (stripe * stripeCount + position) * stripeUnit + within
    const last = extents.at(-1)
    if (last && last[0] + last[1] === imageOffset) last[1] += bytes
    else extents.push([imageOffset, bytes])
    at += bytes
  }
  return extents
}
