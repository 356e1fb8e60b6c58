import { Extents } from '../../base/extents.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { SnapContext } from '../../rados/io-ctx.ts'
import { HEAD_OMAP, type ObjectChanges, type ObjectId, type OmapChange } from './engine.ts'
import { applyDataSteps, type DataStep } from './object-data.ts'
import type { Clone, ObjectHead, WatchRecord } from './object-head.ts'
import type { ObjectReader } from './object-reader.ts'
import { cloneOf, modifiedByRollback, needsClone, stateAt, withoutModified } from './snapshots.ts'

/** osd_max_object_size */
const MAX_OBJECT_BYTES = 128 * 1024 * 1024
const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map()

/** Index entries of a shard: objects that exist, and clones by snapshot. */
export const objectEntry = (key: string) => `o${key}`
export const snapEntryPrefix = (snap: bigint) => `s${snap.toString(16).padStart(16, '0')}`
export const snapEntry = (snap: bigint, key: string) => `${snapEntryPrefix(snap)}${key}`

/**
 * What an operation makes of an object's head, step by step, as `do_osd_ops` of PrimaryLogPG.cc does: later steps see whether it exists,
 * and its size, and nothing else of earlier ones.
 */
export class Mutation {
  /** There is an object, or the remains of one that still has clones (`whiteout`). */
  private present: boolean
  private whiteout: boolean
  size: number
  /** it has omap entries, as far as can be told without looking */
  omap: boolean
  /** There is something to commit. */
  private touched = false
  private readonly modified = new Extents()
  private readonly data: DataStep[] = []
  private xattrs: Map<string, Buffer> | undefined
  private omapCleared = false
  private readonly omapRemoved = new Set<string>()
  private readonly omapSet = new Map<string, Buffer>()
  private watchers: readonly WatchRecord[]
  /** what data, xattrs and omap start from: the old head, a clone it was rolled back to, or nothing after a removal */
  private source: 'head' | 'nothing' | Clone

  constructor(
    private readonly base: ObjectHead | undefined,
    readonly baseVersion: number,
    private readonly context: SnapContext | undefined,
  ) {
    this.present = base !== undefined
    this.whiteout = base !== undefined && !base.exists
    this.size = base?.size ?? 0
    this.omap = base?.omap ?? false
    this.watchers = base?.watchers ?? []
    this.source = base ? 'head' : 'nothing'
  }

  get exists(): boolean {
    return this.present && !this.whiteout
  }

  /** Watches that end with this change. */
  get lostWatchers(): readonly WatchRecord[] {
    return (this.base?.watchers ?? []).filter((watcher) => !this.watchers.includes(watcher))
  }

  /** @throws ENOENT */
  assertExists(): void {
    if (!this.exists) throw new RadosError(Errno.ENOENT, { op: 'stat' })
  }

  private createIfAbsent(): void {
    this.present = true
    this.whiteout = false
    this.touched = true
  }

  create(exclusive: boolean): void {
    if (exclusive && this.exists) throw new RadosError(Errno.EEXIST, { op: 'create' })
    this.createIfAbsent()
  }

  write(offset: number, data: Buffer): void {
    checkExtent(offset, data.length)
    this.createIfAbsent()
    if (data.length === 0) {
      this.size = Math.max(this.size, offset)
      return
    }
    this.data.push({ type: 'write', offset, data })
    this.modified.add(offset, offset + data.length)
    this.size = Math.max(this.size, offset + data.length)
  }

  writeFull(data: Buffer): void {
    checkExtent(0, data.length)
    // Nothing in place of nothing is no change, and leaves even a whiteout what it is.
    const touched = this.touched || !this.present || data.length > 0 || this.size > 0
    this.createIfAbsent()
    this.touched = touched
    this.data.push({ type: 'truncate', size: 0 }, { type: 'write', offset: 0, data })
    this.modified.add(0, this.size)
    this.size = data.length
  }

  append(data: Buffer): void {
    this.write(this.size, data)
  }

  writeSame(offset: number, length: number, data: Buffer): void {
    if (length === 0) return
    if (data.length === 0 || length % data.length !== 0) throw new RadosError(Errno.EINVAL, { op: 'write same' })
    checkExtent(offset, length)
    this.write(offset, Buffer.alloc(length, data))
  }

  zero(offset: number, length: number): void {
    if (this.present && length >= 1 && offset + length >= this.size && offset < MAX_OBJECT_BYTES && length <= MAX_OBJECT_BYTES) {
      if (offset < this.size) this.truncate(offset)
      return
    }
    checkExtent(offset, length)
    if (!this.exists || length === 0) return
    this.touched = true
    this.data.push({ type: 'zero', offset, length })
    this.modified.add(offset, offset + length)
  }

  truncate(size: number): void {
    if (!this.exists) return
    checkExtent(size, 0)
    this.touched = true
    if (size < this.size) {
      this.data.push({ type: 'truncate', size })
      this.modified.add(size, this.size)
    }
    this.size = size
  }

  /** @throws ENOENT */
  remove(): void {
    if (!this.removeAnyway()) throw new RadosError(Errno.ENOENT, { op: 'remove' })
  }

  /** False when there is nothing to remove. */
  private removeAnyway(): boolean {
    const { base, context } = this
    const newest = context?.snaps[0] ?? 0n
    const leavesWhiteout = (base !== undefined && base.clones.length > 0) || newest > (base?.snapSeq ?? 0n)
    if (!this.present || (this.whiteout && leavesWhiteout)) return false
    this.touched = true
    this.modified.add(0, this.size)
    this.startFrom('nothing')
    this.size = 0
    this.watchers = []
    this.whiteout = leavesWhiteout
    this.present = leavesWhiteout
    return true
  }

  setXattr(name: string, value: Buffer): void {
    this.createIfAbsent()
    this.changedXattrs().set(name, Buffer.from(value))
  }

  /** @throws ENOENT for the object; an attribute that is not there is no error */
  removeXattr(name: string): void {
    this.assertExists()
    this.touched = true
    this.changedXattrs().delete(name)
  }

  private changedXattrs(): Map<string, Buffer> {
    return (this.xattrs ??= new Map(this.sourceState()?.xattrs))
  }

  setOmap(entries: ReadonlyMap<string, Buffer>): void {
    this.createIfAbsent()
    this.omap = true
    for (const [key, value] of entries) this.omapSet.set(key, Buffer.from(value))
  }

  /** @throws ENOENT for the object */
  removeOmapKeys(keys: Iterable<string>): void {
    this.assertExists()
    this.touched = true
    for (const key of keys) {
      this.omapSet.delete(key)
      this.omapRemoved.add(key)
    }
  }

  /** @throws ENOENT for the object */
  clearOmap(): void {
    this.assertExists()
    if (!this.omap) return
    this.touched = true
    this.dropOmap()
  }

  private dropOmap(): void {
    this.omap = false
    this.omapCleared = true
    this.omapSet.clear()
    this.omapRemoved.clear()
  }

  setAllocHint(): void {
    this.createIfAbsent()
  }

  /** @throws EBUSY when it would remove an object that is watched */
  rollBack(snap: bigint): void {
    const target = stateAt(this.base, snap)
    if (!target) {
      if (this.watchers.length > 0) throw new RadosError(Errno.EBUSY, { op: 'rollback' })
      this.removeAnyway()
      return
    }
    this.touched = true
    if (!target.clone) return // it is the head
    this.modified.union(modifiedByRollback(this.base!, target.clone))
    this.present = true
    this.whiteout = false
    this.startFrom(target.clone)
    this.size = target.clone.size
    this.omap = target.clone.omap
  }

  private startFrom(source: 'nothing' | Clone): void {
    this.source = source
    this.data.length = 0
    this.xattrs = undefined
    this.dropOmap()
  }

  private sourceState() {
    return this.source === 'head' ? this.base : this.source === 'nothing' ? undefined : this.source
  }

  setWatchers(watchers: readonly WatchRecord[]): void {
    this.watchers = watchers
    this.touched = true
  }

  /** What is to be committed; undefined when nothing is. @throws Stale */
  async finish(id: ObjectId, reader: ObjectReader, now: number, options: { bumpVersion: boolean }): Promise<ObjectChanges | undefined> {
    if (!this.touched || (!this.base && !this.present)) return undefined
    const { base } = this
    const cloning = options.bumpVersion && needsClone(base, this.context)
    let clones = base?.clones ?? []
    const added = cloning ? cloneOf(base!, this.baseVersion, this.context) : undefined
    if (added) clones = [...clones, added]
    clones = withoutModified(clones, this.modified)
    if (!this.present) return removal(id, base, options.bumpVersion)

    const data = await this.foldData(reader, clones)
    const omaps: OmapChange[] = []
    if (added?.omap) omaps.push({ omap: added.id, copyOf: HEAD_OMAP })
    const omap = this.omapChange()
    if (omap) omaps.push(omap)
    const seq = options.bumpVersion ? (this.context?.seq ?? 0n) : 0n
    const head: ObjectHead = {
      exists: !this.whiteout,
      size: this.size,
      mtime: options.bumpVersion ? now : (base?.mtime ?? now),
      chunks: data.chunks,
      xattrs: this.xattrs ?? this.sourceState()?.xattrs ?? NO_XATTRS,
      omap: this.omap,
      nextChunk: data.nextChunk,
      snapSeq: base && base.snapSeq > seq ? base.snapSeq : seq,
      clones,
      watchers: this.watchers,
    }
    return {
      head,
      putChunks: data.put,
      deleteChunks: data.remove,
      omaps,
      addIndex: [...(head.exists && !base?.exists ? [objectEntry(id.key)] : []), ...(added?.snaps.map((snap) => snapEntry(snap, id.key)) ?? [])],
      removeIndex: !head.exists && base?.exists ? [objectEntry(id.key)] : [],
      bumpVersion: options.bumpVersion,
    }
  }

  private omapChange(): OmapChange | undefined {
    const { source } = this
    if (typeof source === 'object' && source.omap) return { omap: HEAD_OMAP, copyOf: source.id, remove: this.omapRemoved, set: this.omapSet }
    const clear = this.omapCleared && this.base?.omap === true
    if (!clear && this.omapRemoved.size === 0 && this.omapSet.size === 0) return undefined
    return { omap: HEAD_OMAP, clear, remove: this.omapRemoved, set: this.omapSet }
  }

  private async foldData(reader: ObjectReader, clones: readonly Clone[]) {
    const before = this.sourceState()?.chunks ?? []
    let nextChunk = this.base?.nextChunk ?? 1
    if (this.data.length === 0 && this.source === 'head') return { chunks: before, nextChunk, put: [], remove: [] }
    let applied = applyDataSteps(before, this.data, new Map())
    if (applied.missing.length > 0) applied = applyDataSteps(before, this.data, await reader.chunks(applied.missing))
    const put: [number, Buffer][] = []
    const chunks = applied.slots.map((slot) => {
      if (typeof slot === 'number') return slot
      put.push([nextChunk, slot])
      return nextChunk++
    })
    return { chunks, nextChunk, put, remove: unused(this.base?.chunks ?? [], chunks, clones) }
  }
}

/** Of the ids in `before`, those that neither the head's new table nor a clone names. An id has the same place in every table of its object. */
export function unused(before: readonly number[], chunks: readonly number[], clones: readonly Clone[]): number[] {
  const gone: number[] = []
  for (let at = 0; at < before.length; at++) {
    const id = before[at]!
    if (id !== 0 && id !== chunks[at] && !clones.some((clone) => clone.chunks[at] === id)) gone.push(id)
  }
  return gone
}

/** The end of a record without clones. */
export function removal(id: ObjectId, base: ObjectHead | undefined, bumpVersion: boolean): ObjectChanges {
  return {
    head: undefined,
    putChunks: [],
    deleteChunks: unused(base?.chunks ?? [], [], []),
    omaps: base?.omap ? [{ omap: HEAD_OMAP, clear: true }] : [],
    addIndex: [],
    removeIndex: base?.exists ? [objectEntry(id.key)] : [],
    bumpVersion,
  }
}

function checkExtent(offset: number, length: number): void {
  if (offset >= MAX_OBJECT_BYTES || length > MAX_OBJECT_BYTES || offset + length > MAX_OBJECT_BYTES) {
    throw new RadosError(Errno.EFBIG, { op: 'write' })
  }
}
