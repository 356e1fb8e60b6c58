import { assert } from '../../base/assert.ts'
import type { Extents } from '../../base/extents.ts'
import type { Semaphore } from '../../base/semaphore.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx, SnapSet } from '../../rados/io-ctx.ts'
import { ReadOperation, WriteOperation } from '../../rados/operation.ts'
import { dataObjectName } from '../names.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { DestinationMaps, StepOutcome } from './destination-maps.ts'
import { compareObjects } from './compare-objects.ts'
import { compareSnapshots } from './compared-snap-set.ts'
import { changeBetween, cloneAt, type ObjectChange } from './extent-diff.ts'
import { coalesce, readPieces, writeParts, writeWhole, type ObjectWrite, type ReadPart } from './object-writes.ts'
import { writeInTurns } from './write-in-turns.ts'

/** One step of the copy, with its views of both images. */
export interface StepViews {
  sourceSnap: bigint
  /** objects of the source's image at this snapshot: higher ones do not exist, whatever is left of them */
  objects: number
  /**
   * Objects in here that the source does not have read as zeros there, having no parent (any more), while the destination's would show:
   * the destination gets empty ones.
   */
  hidden: { readonly start: number; readonly end: number }
  /** reads the source at the step's snapshot */
  source: IoCtx
  /** writes the destination under the step's snap context */
  destination: IoCtx
}

export interface CopierOptions {
  fromSnap: bigint
  /** reads the source at `fromSnap` */
  from: IoCtx
  /** objects of the source's image at `fromSnap` */
  fromObjects: number
  steps: readonly StepViews[]
  sourcePrefix: string
  destinationPrefix: string
  objectSize: number
  /** Objects of the destination hide data of a parent: an empty one is not the same as none. */
  hidesParent: boolean
  /** What cuts objects off goes before what is written to them, see `writeInTurns`. */
  inTurns: boolean
  /** Objects that are to be copied are known to exist, not only looked for. */
  expectsData: boolean
  /** Whether the object is known not to have existed at `fromSnap`. */
  isNew(object: number): boolean
  /** The destination may have objects that the source never had at any of the snapshots, whatever its object map says. */
  leftovers: boolean
  /** The destination may lack objects that have changed: these are copied whole. */
  changedWhole: boolean
  /** Nothing is known of the destination: what differs by checksums is transferred. */
  compare: { seed: bigint; chunkSize?: number } | undefined
  maps: DestinationMaps
  byteBudget: Semaphore
  buffers: BufferPool
  signal: AbortSignal
}

export interface ObjectCopied {
  bytesRead: number
  bytesWritten: number
}

interface StepPlan {
  views: StepViews
  /** what to read the step's state from: the newest step that has the same clone */
  readFrom: IoCtx
  change: ObjectChange
  /** at the destination afterwards */
  exists: boolean
  /** bytes, if it exists at the source */
  size: number | undefined
  /** where it does not, an empty object hides the destination's parent */
  hides: boolean
}

/** What comes before a step's write. */
interface Before {
  /** the object maps say that the object exists */
  prepared: Promise<void>
  /** an earlier step of this copy wrote it */
  existsBefore: boolean
}

/**
 * Copies one object through all steps, oldest first. Doing it again after a crash gives the same result, from whatever state the crash
 * left: each step writes every byte that it changed since the step before, and what was written under a newer snap context stays in the
 * clones made then, since an OSD never clones for a context older than the object's.
 */
export class ObjectCopier {
  constructor(private readonly options: CopierOptions) {}

  /** Rejects with RadosError, or the signal's reason between two operations. */
  async copy(object: number): Promise<ObjectCopied> {
    const { steps, maps } = this.options
    const result: ObjectCopied = { bytesRead: 0, bytesWritten: 0 }
    const only = steps.length === 1 ? steps[0]! : undefined
    if (only && object < only.objects && this.options.isNew(object)) {
      await this.copyNew(object, only, result)
      return result
    }
    const plans = this.plan(object, await this.listSnaps(object))
    this.planLeftovers(object, plans)
    const outcomes: StepOutcome[] = plans.map(({ change, exists }) => ({ exists, changed: change.type !== 'none' }))
    if (outcomes.every(({ changed, exists }) => !changed && !exists)) {
      // what an abandoned copy of another snapshot may have left
      await this.removeLeftover(object, steps[0]!.destination)
      await maps.settle(object, outcomes)
      return result
    }
    // the source is read meanwhile
    const prepared = maps.prepare(object, outcomes)
    prepared.catch(() => undefined) // awaited before the first write, and below
    try {
      for (const [index, plan] of plans.entries()) {
        if (plan.change.type === 'none') {
          if (index > 0) outcomes[index]!.exists = outcomes[index - 1]!.exists
          continue
        }
        this.options.signal.throwIfAborted()
        const existsBefore = outcomes.slice(0, index).some(({ exists, changed }) => exists && changed)
        outcomes[index]!.exists = await this.apply(object, plan, { prepared, existsBefore }, result)
      }
    } finally {
      // nothing of this copy may reach the image after it has ended
      await prepared
    }
    await maps.settle(object, outcomes)
    return result
  }

  private plan(object: number, set: SnapSet | undefined): StepPlan[] {
    const { fromSnap, fromObjects, leftovers, changedWhole, steps } = this.options
    const clones = steps.map(({ sourceSnap, objects }) => (set && object < objects ? cloneAt(set, sourceSnap) : undefined))
    let before = set && object < fromObjects ? cloneAt(set, fromSnap) : undefined
    let hidden = false
    return steps.map((views, index) => {
      const clone = clones[index]
      const hides = clone === undefined && isHidden(views, object)
      let change: ObjectChange = set ? changeBetween(set, before, clone) : { type: 'none' }
      const size = clone === undefined ? undefined : set!.clones[clone]!.size
      // it may have been longer in between, in a snapshot that is gone
      if (leftovers && change.type === 'none' && size !== undefined && clone !== before) change = { type: 'created', size }
      if (changedWhole && change.type === 'changed') change = { type: 'created', size: change.size }
      if (hides && !hidden) change = { type: 'removed' }
      hidden = hides
      before = clone
      const newest = clone === undefined ? index : clones.lastIndexOf(clone)
      return { views, readFrom: steps[newest]!.source, change, exists: clone !== undefined || hides, size, hides }
    })
  }

  /**
   * What an abandoned copy wrote must not get into the clones made for the steps' snapshots. A single step needs no care: what the source
   * changed between the start and any snapshot that is gone now is part of what it changed since the start.
   */
  private planLeftovers(object: number, plans: StepPlan[]): void {
    const { leftovers, maps, compare } = this.options
    const first = plans[0]!
    if (compare) {
      if (first.size !== undefined) first.change = { type: 'created', size: first.size }
      else if (plans.some(({ change }) => change.type !== 'none')) first.change = { type: 'removed' }
      return
    }
    if (plans.length === 1 || plans.every(({ change }) => change.type === 'none')) return
    if (leftovers && first.size !== undefined) first.change = { type: 'created', size: first.size }
    // absent at the start and after the first step
    else if (!first.exists && first.change.type === 'none' && (maps.existed(object) ?? leftovers)) first.change = { type: 'removed' }
  }

  private async listSnaps(object: number): Promise<SnapSet | undefined> {
    const { steps, sourcePrefix } = this.options
    try {
      return await steps[0]!.source.listSnaps(dataObjectName(sourcePrefix, object))
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return undefined
      if (isErrno(error, Errno.EOPNOTSUPP)) return this.compareSnapshots(object)
      throw error
    }
  }

  private compareSnapshots(object: number): Promise<SnapSet | undefined> {
    const { fromSnap, from, steps, objectSize } = this.options
    return this.withBuffer(2 * objectSize, (buffer) => {
      let half = 0
      return compareSnapshots([fromSnap, ...steps.map(({ sourceSnap }) => sourceSnap)], (snap) => {
        half = 1 - half
        const into = buffer.subarray(half * objectSize, (half + 1) * objectSize)
        return this.readWhole(object, steps.find(({ sourceSnap }) => sourceSnap === snap)?.source ?? from, into)
      })
    })
  }

  /** The object was not there before and one step brings it: no need to ask for its clones. */
  private async copyNew(object: number, step: StepViews, result: ObjectCopied): Promise<void> {
    const { maps, objectSize } = this.options
    const mark = () => maps.prepare(object, [{ exists: true, changed: true }])
    const marked = this.options.expectsData ? mark() : undefined
    marked?.catch(() => undefined) // awaited before the write
    const outcome = await this.withBuffer(objectSize, async (buffer) => {
      const data = await this.readWhole(object, step.source, buffer)
      if (data === undefined) return undefined
      result.bytesRead += data.length
      await (marked ?? mark())
      return this.writeObject(object, step.destination, writeWhole(data, this.options.hidesParent), result)
    })
    let exists = outcome
    if (exists === undefined) {
      const hides = isHidden(step, object)
      await (marked ?? (hides ? mark() : undefined))
      exists = hides
      await (hides ? this.remove(object, step.destination, hides) : this.removeLeftover(object, step.destination))
    }
    await maps.settle(object, [{ exists, changed: true }])
  }

  /** Resolves with whether the object exists now. */
  private async apply(object: number, plan: StepPlan, before: Before, result: ObjectCopied): Promise<boolean> {
    const { change, views } = plan
    switch (change.type) {
      case 'none':
        return plan.exists
      case 'removed':
        await before.prepared
        await this.remove(object, views.destination, plan.hides)
        return plan.hides
      case 'created':
        return this.options.compare
          ? this.applyDiffering(object, plan, change.size, before, result)
          : this.applyWhole(object, plan, change.size, before, result)
      case 'changed': {
        // the end is set even if it seems to be right: an abandoned copy may have gone beyond it
        const end = change.size < this.options.objectSize ? change.size : undefined
        if (change.size === 0) return this.applyWhole(object, plan, 0, before, result)
        const extents = coalesce(change.extents)
        const done = await this.applyParts(object, plan, extents, end, before, result)
        return done ?? this.applyWhole(object, plan, change.size, before, result)
      }
    }
  }

  private async applyWhole(object: number, { readFrom, views }: StepPlan, size: number, before: Before, result: ObjectCopied): Promise<boolean> {
    return this.withBuffer(size, async (buffer) => {
      const data = size === 0 ? buffer.subarray(0, 0) : await this.readExisting(object, readFrom, buffer.subarray(0, size))
      result.bytesRead += data.length
      await before.prepared
      return this.writeObject(object, views.destination, writeWhole(data, this.options.hidesParent), result)
    })
  }

  /** Makes whatever the destination has equal to the source's object, by what differs. */
  private async applyDiffering(object: number, plan: StepPlan, size: number, before: Before, result: ObjectCopied): Promise<boolean> {
    const { compare, sourcePrefix, destinationPrefix, hidesParent, objectSize, signal } = this.options
    const source = { io: plan.readFrom, oid: dataObjectName(sourcePrefix, object) }
    const destination = { io: plan.views.destination, oid: dataObjectName(destinationPrefix, object) }
    const { rightSize, differing } = await compareObjects(source, destination, { ...compare!, signal })
    if (rightSize === undefined) return differing.empty && !hidesParent ? false : this.applyWhole(object, plan, size, before, result)
    // what is longer, but of zeros, reads the same
    if (differing.empty) return true
    const extents = differing.remove(size, Infinity)
    const end = size < objectSize ? size : undefined
    const known = { ...before, existsBefore: true }
    return (await this.applyParts(object, plan, coalesce(extents), end, known, result)) ?? this.applyWhole(object, plan, size, before, result)
  }

  /** Undefined when the destination has no object to change. */
  private async applyParts(
    object: number,
    { readFrom, views }: StepPlan,
    extents: Extents,
    end: number | undefined,
    { prepared, existsBefore }: Before,
    result: ObjectCopied,
  ): Promise<boolean | undefined> {
    const { hidesParent, maps } = this.options
    const pieces = readPieces(extents)
    const total = pieces.reduce((sum, [, length]) => sum + length, 0)
    return this.withBuffer(total, async (buffer) => {
      const parts = await this.readParts(object, readFrom, pieces, buffer)
      for (const { data } of parts) result.bytesRead += data.length
      // without the object at the destination its parent shows through: a part alone would hide the rest
      const write = writeParts(parts, extents, end, hidesParent)
      if (write.onlyZeros && !hidesParent && !existsBefore && maps.existed(object) === false) return false
      await prepared
      try {
        return await this.writeObject(object, views.destination, write, result)
      } catch (error) {
        if (hidesParent && isErrno(error, Errno.ENOENT)) return undefined
        throw error
      }
    })
  }

  private async readParts(object: number, from: IoCtx, pieces: readonly (readonly [number, number])[], buffer: Buffer): Promise<ReadPart[]> {
    if (pieces.length === 0) return []
    const { sourcePrefix, signal } = this.options
    const operation = new ReadOperation()
    let at = 0
    const handles = pieces.map(([offset, length]) => {
      const handle = operation.read(offset, length, buffer.subarray(at, at + length))
      at += length
      return { offset, handle }
    })
    const results = await from.read(dataObjectName(sourcePrefix, object), operation, { signal })
    return handles.map(({ offset, handle }) => ({ offset, data: results.get(handle) }))
  }

  private async readExisting(object: number, from: IoCtx, buffer: Buffer): Promise<Buffer> {
    const [part] = await this.readParts(object, from, [[0, buffer.length]], buffer)
    return part!.data
  }

  private async readWhole(object: number, from: IoCtx, buffer: Buffer): Promise<Buffer | undefined> {
    try {
      return await this.readExisting(object, from, buffer.subarray(0, this.options.objectSize))
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return undefined
      throw error
    }
  }

  private async writeObject(object: number, to: IoCtx, write: ObjectWrite, result: ObjectCopied): Promise<boolean> {
    if (!write.operation) {
      await this.remove(object, to)
      return false
    }
    assert(write.operation.steps.length > 0, 'a write has steps')
    // without the signal: nothing of this copy may reach the image after it has ended
    const oid = dataObjectName(this.options.destinationPrefix, object)
    await (this.options.inTurns ? writeInTurns(to, oid, write.operation) : to.write(oid, write.operation))
    result.bytesWritten += write.bytes
    return true
  }

  /** @param hides an empty object stays in its place, so that no parent shows through */
  private async remove(object: number, to: IoCtx, hides = false): Promise<void> {
    const oid = dataObjectName(this.options.destinationPrefix, object)
    if (hides) return void (await to.write(oid, new WriteOperation().create(false).truncate(0)))
    try {
      await to.write(oid, new WriteOperation().remove())
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
  }

  private async removeLeftover(object: number, to: IoCtx): Promise<void> {
    const { maps, leftovers, fromSnap, fromObjects, compare } = this.options
    if (compare) return (await this.isThere(object, to)) ? this.remove(object, to) : undefined
    // where the image was shorter before there may be what an even earlier copy left
    if (maps.existed(object) ?? (leftovers || (fromSnap !== 0n && object >= fromObjects))) await this.remove(object, to)
  }

  private async isThere(object: number, at: IoCtx): Promise<boolean> {
    try {
      await at.stat(dataObjectName(this.options.destinationPrefix, object))
      return true
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return false
      throw error
    }
  }

  /** A buffer of `length` bytes within the budget. After a failure it is not used again: a native read may still write to it. */
  private async withBuffer<T>(length: number, task: (buffer: Buffer) => Promise<T>): Promise<T> {
    const { byteBudget, buffers, signal } = this.options
    const release = await byteBudget.acquire(length, signal)
    try {
      const buffer = buffers.take(length)
      const value = await task(buffer)
      buffers.give(buffer)
      return value
    } finally {
      release()
    }
  }
}

function isHidden({ hidden }: StepViews, object: number): boolean {
  return object >= hidden.start && object < hidden.end
}
