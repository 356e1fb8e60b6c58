import { forEachBounded } from '../../base/bounded.ts'
import { Extents } from '../../base/extents.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import { NO_SNAP, type SnapId, type SnapSet } from '../../rados/io-ctx.ts'
import { backedExtents } from '../copyup.ts'
import { changeBetween, cloneAt } from '../data/extent-diff.ts'
import { diffObjects, DiffState, type ObjectDiff } from '../data/object-diff.ts'
import { imageToObjects, layoutOf, type Layout, type ObjectExtent } from '../data/striping.ts'
import { findSnapshot, type ImageHeader } from '../header.ts'
import type { Image } from '../image.ts'
import { dataObjectName } from '../names.ts'
import { operationError } from '../operations/invoke.ts'

/** Periods that are looked at ahead of the one whose turn it is. */
const periodsAhead = 16
/** Objects of one period that are looked at at a time. */
const objectsAtATime = 16

export interface ImageDiffOptions {
  /** changes since this snapshot; 0 for all there is */
  from: SnapId
  /** NO_SNAP for the head */
  to: SnapId
  /** Objects count whole, so that object maps tell it at once; else exactly the bytes that were written. */
  wholeObject: boolean
  /** Where a clone has nothing of its own, what its parent has counts too; only from the beginning of time. */
  includeParent: boolean
  signal?: AbortSignal | undefined
}

/** A part of the image that has changed. */
export interface ImageExtent {
  /** bytes */
  offset: number
  length: number
  /** false where there is nothing any more: it reads as zeros */
  exists: boolean
}

/** Whoever wants every byte gets what the objects themselves say, as with librbd, whatever may be wrong with a map. */
const exactly: ObjectDiff = { known: false, reason: 'only objects tell bytes' }

/** Disjoint parts of an image. */
interface Change {
  data: Extents
  zeros: Extents
}

/**
 * What was written to an image between two of its snapshots, in the image's order, joined within each stripe period (one object without fancy
 * striping), as librbd tells it (librbd/api/DiffIterate.cc). Within the size that the image has at the end; what was cut off since is not told.
 * Rejects with RadosError: ENOENT for a snapshot that is not there, EINVAL for an end before the beginning.
 */
export async function* diffImage(image: Image, options: ImageDiffOptions): AsyncGenerator<ImageExtent, void, undefined> {
  const { from, to, signal } = options
  const header = withHead(image.header)
  for (const snap of from === 0n ? [to] : [from, to]) {
    if (!findSnapshot(header, snap)) throw operationError(image, Errno.ENOENT, `find snapshot ${snap}`)
  }
  if (from > to) throw operationError(image, Errno.EINVAL, `tell what changed from snapshot ${from} to the older ${to}`)
  if (from === to) return
  const view = await ImageView.open(image, header, options)
  const ahead: (Change | Promise<Change>)[] = []
  let next = 0
  const fill = () => {
    while (next < view.periods && ahead.length < periodsAhead) {
      const period = next++
      if (view.isQuiet(period)) continue
      const looking = view.mappedChange(period) ?? view.changeOf(period * view.period, view.period)
      if (looking instanceof Promise) looking.catch(() => undefined) // told when its turn comes
      ahead.push(looking)
    }
  }
  try {
    for (fill(); ahead.length > 0; fill()) {
      signal?.throwIfAborted()
      const change = ahead.shift()!
      for (const extent of extentsOf(change instanceof Promise ? await change : change)) yield extent
    }
  } finally {
    await Promise.allSettled(ahead.filter((change) => change instanceof Promise))
  }
}

function extentsOf({ data, zeros }: Change): ImageExtent[] {
  const list = (extents: Extents, exists: boolean) => [...extents].map(([start, end]) => ({ offset: start, length: end - start, exists }))
  return [...list(data, true), ...list(zeros, false)].sort((a, b) => a.offset - b.offset)
}

/** An image between two snapshots. */
class ImageView {
  readonly period: number
  readonly periods: number
  private readonly size: number
  private readonly layout: Layout
  private parent: Promise<ImageView> | undefined

  private constructor(
    private readonly image: Image,
    private readonly header: ImageHeader,
    private readonly options: ImageDiffOptions,
    private readonly maps: ObjectDiff,
  ) {
    this.layout = layoutOf(header)
    this.size = findSnapshot(header, options.to)!.size
    this.period = this.layout.objectSize * this.layout.stripeCount
    this.periods = Math.ceil(this.size / this.period)
  }

  static async open(image: Image, header: ImageHeader, options: ImageDiffOptions): Promise<ImageView> {
    const { from, to, wholeObject, signal } = options
    const maps = wholeObject ? await diffObjects(image.io, header, from, to, signal) : exactly
    return new ImageView(image, header, options, maps)
  }

  /** Whether the object maps tell that there is nothing to tell of a period. */
  isQuiet(period: number): boolean {
    if (!this.maps.known || this.overlap > period * this.period) return false
    const { stripeCount } = this.layout
    for (let object = period * stripeCount; object < (period + 1) * stripeCount; object++) {
      if (this.mapped(object) !== DiffState.hole && this.mapped(object) !== DiffState.data) return false
    }
    return true
  }

  /** Of a period that is one object, if the object maps tell: images of many terabytes have millions of them. */
  mappedChange(period: number): Change | undefined {
    if (!this.maps.known || this.layout.stripeCount > 1) return undefined
    const state = this.mapped(period)
    if (state !== DiffState.dataUpdated && state !== DiffState.holeUpdated) return undefined
    const start = period * this.period
    const whole = Extents.of([start, Math.min(start + this.period, this.size)])
    return state === DiffState.dataUpdated ? { data: whole, zeros: new Extents() } : { data: new Extents(), zeros: whole }
  }

  /** Of a range of at most one period; what lies behind the image's end does not count. */
  async changeOf(offset: number, wanted: number): Promise<Change> {
    const change: Change = { data: new Extents(), zeros: new Extents() }
    const length = Math.min(wanted, this.size - offset)
    if (length <= 0) return change
    const whole = new Map<number, Promise<Change>>()
    await forEachBounded(imageToObjects(this.layout, offset, length), objectsAtATime, async (extent) => {
      let looking = whole.get(extent.objectNumber)
      if (!looking) whole.set(extent.objectNumber, (looking = this.objectChange(extent.objectNumber)))
      const object = await looking
      toImage(extent, offset, object.data, change.data)
      toImage(extent, offset, object.zeros, change.zeros)
    })
    return change
  }

  /** Bytes of the image, from its start, for which a parent stands in where there is no object. */
  private get overlap(): number {
    const { includeParent, from, to } = this.options
    return includeParent && from === 0n ? (findSnapshot(this.header, to)!.parentOverlap ?? 0) : 0
  }

  /** In bytes of the object. */
  private async objectChange(object: number): Promise<Change> {
    const { wholeObject, from, to, signal } = this.options
    signal?.throwIfAborted()
    const state = this.mapped(object)
    if (state === DiffState.data) return nothing()
    if (state === DiffState.hole) return this.parentChange(object)
    if (state !== undefined) return this.wholeChange(state === DiffState.dataUpdated)
    const set = await this.listSnaps(object)
    const change = set ? changeOfObject(set, from, to) : nothing()
    if (change.data.empty && change.zeros.empty) return this.parentChange(object)
    return wholeObject ? this.wholeChange(cloneAt(set!, to) !== undefined) : change
  }

  private wholeChange(exists: boolean): Change {
    const whole = Extents.of([0, this.layout.objectSize])
    return exists ? { data: whole, zeros: new Extents() } : { data: new Extents(), zeros: whole }
  }

  /**
   * What the parent has in the place of an object that has nothing itself. Where an empty one hides the parent that is said too: whoever makes the
   * same of a clone of the same parent has to hide it there.
   */
  private async parentChange(object: number): Promise<Change> {
    const change = nothing()
    const backed = backedExtents(this.header, object, this.overlap)
    if (backed.length === 0) return change
    const parent = await this.parentView()
    let at = 0 // only the last part is cut short, by the overlap's end
    for (const [offset, length] of backed) {
      for (let done = 0; done < length; ) {
        const part = Math.min(length - done, parent.period - ((offset + done) % parent.period))
        const { data } = await parent.changeOf(offset + done, part)
        for (const [start, end] of data) change.data.add(at + start - offset, at + end - offset)
        done += part
      }
      at += length
    }
    return change
  }

  private parentView(): Promise<ImageView> {
    this.parent ??= (async () => {
      const parent = await this.image.openParent()
      return ImageView.open(parent, withHead(parent.header), { ...this.options, to: this.image.header.parent!.snapId })
    })()
    return this.parent
  }

  private mapped(object: number): DiffState | undefined {
    if (!this.maps.known) return undefined
    return object < this.maps.states.length ? (this.maps.states.get(object) as DiffState) : DiffState.hole
  }

  private async listSnaps(object: number): Promise<SnapSet | undefined> {
    try {
      return await this.image.dataAt(NO_SNAP).listSnaps(dataObjectName(this.header.objectPrefix, object))
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return undefined
      throw error
    }
  }
}

/**
 * Zeros where the object has become shorter than it was at the beginning; data in all else that was written since, also behind its end, if it
 * was longer in between (librbd/io/ObjectRequest.cc, ObjectListSnapsRequest).
 */
function changeOfObject(set: SnapSet, from: SnapId, to: SnapId): Change {
  const [before, after] = [cloneAt(set, from), cloneAt(set, to)]
  const change = changeBetween(set, before, after)
  if (change.type === 'none') return nothing()
  const sizeBefore = before === undefined ? 0 : set.clones[before]!.size
  if (change.type === 'removed') return { data: new Extents(), zeros: Extents.of([0, sizeBefore]) }
  const { size } = change
  const data = change.type === 'created' ? Extents.of([0, size]) : change.extents
  const first = set.clones.findIndex(({ id, snaps }) => id === NO_SNAP || snaps.some((snap) => snap >= from))
  const largest = set.clones.slice(first, after! + 1).reduce((most, clone) => Math.max(most, clone.size), 0)
  return { data: data.add(Math.max(size, sizeBefore), largest), zeros: Extents.of([size, sizeBefore]) }
}

function nothing(): Change {
  return { data: new Extents(), zeros: new Extents() }
}

/** Adds what of an object's bytes lies in a part of it, in bytes of the image. */
function toImage(part: ObjectExtent, start: number, object: Extents, image: Extents): void {
  let from = part.offset
  for (const [at, length] of part.pieces) {
    for (const [a, b] of object.intersection(Extents.of([from, from + length]))) image.add(start + at + a - from, start + at + b - from)
    from += length
  }
}

/** The head in the place of a newest snapshot. */
function withHead(header: ImageHeader): ImageHeader {
  const { name, size, flags, createTimestamp: timestamp } = header
  const head = {
    id: NO_SNAP,
    namespace: { type: 'user' },
    name,
    size,
    flags,
    protection: 'unprotected',
    timestamp,
    childCount: 0,
    parentOverlap: header.parent?.overlap,
  } as const
  return { ...header, snapshots: [head, ...header.snapshots] }
}
