// Images on model pools: one that is written as librbd writes, and replicas that the copy engine is to keep equal to it.
import { Semaphore } from '../../src/base/semaphore.ts'
import { silentLog } from '../../src/base/log.ts'
import { zeroTime } from '../../src/encoding/codec.ts'
import { NO_SNAP, type SnapId } from '../../src/rados/io-ctx.ts'
import type { WriteStep } from '../../src/rados/operation.ts'
import { BufferPool } from '../../src/rbd/data/buffer-pool.ts'
import type { CopyRequest } from '../../src/rbd/data/copy-engine.ts'
import { createEmptySnapshotMap, ObjectMap } from '../../src/rbd/data/object-map.ts'
import { decodeObjectStates, encodeObjectStates, ObjectState } from '../../src/rbd/data/object-states.ts'
import { imageToObjects, layoutOf, objectCount, type Layout } from '../../src/rbd/data/striping.ts'
import { TwoBitVector } from '../../src/rbd/data/two-bit-vector.ts'
import { FEATURE_FAST_DIFF, FEATURE_OBJECT_MAP, hasFeature } from '../../src/rbd/features.ts'
import type { ImageHeader, ImageSnapshot } from '../../src/rbd/header.ts'
import { dataObjectName, objectMapName } from '../../src/rbd/names.ts'
import { ModelPool } from './model-pool.ts'

export interface ModelImageOptions {
  order: number
  stripeUnit: number
  stripeCount: number
  features: bigint
  /** bytes from the start that a parent backs */
  parentOverlap: number
}

export class ModelImage {
  readonly pool = new ModelPool()
  readonly header: ImageHeader
  readonly layout: Layout

  constructor(
    readonly options: ModelImageOptions,
    size: number,
    id: string,
  ) {
    const { order, stripeUnit, stripeCount, features, parentOverlap } = options
    this.header = {
      id,
      name: id,
      inTrash: false,
      size,
      order,
      features,
      opFeatures: 0n,
      flags: 0n,
      stripeUnit,
      stripeCount,
      objectPrefix: `rbd_data.${id}`,
      dataPoolId: undefined,
      parent: parentOverlap > 0 ? { poolId: 1n, poolNamespace: '', imageId: 'parent', snapId: 1n, overlap: parentOverlap } : undefined,
      snapshots: [],
      snapContext: { seq: 0n, snaps: [] },
      createTimestamp: zeroTime,
      accessTimestamp: zeroTime,
      modifyTimestamp: zeroTime,
      groupSpec: undefined,
      migrating: false,
    }
    this.layout = layoutOf(this.header)
  }

  get hasMap(): boolean {
    return hasFeature(this.header.features, FEATURE_OBJECT_MAP)
  }

  oid(object: number): string {
    return dataObjectName(this.header.objectPrefix, object)
  }

  /** bytes of the head that the parent backs */
  get overlap(): number {
    return this.header.parent?.overlap ?? 0
  }
  set overlap(bytes: number) {
    if (this.header.parent) this.header.parent = { ...this.header.parent, overlap: bytes }
  }

  addSnapshot(id: SnapId, size: number, parentOverlap = this.overlap): ImageSnapshot {
    const snapshot: ImageSnapshot = {
      id,
      namespace: { type: 'user' },
      name: `snap ${id}`,
      size,
      flags: 0n,
      protection: 'unprotected',
      timestamp: zeroTime,
      childCount: 0,
      parentOverlap,
    }
    this.header.snapshots.unshift(snapshot)
    this.header.snapContext = { seq: id, snaps: this.header.snapshots.map((each) => each.id) }
    return snapshot
  }

  /** What a reader of the image sees of an object. */
  contentAt(object: number, snap: SnapId): Buffer {
    const snapshot = this.header.snapshots.find(({ id }) => id === snap)
    const size = snapshot?.size ?? this.header.size
    const content = Buffer.alloc(this.layout.objectSize)
    if (object >= objectCount(this.layout, size)) return content
    const data = this.pool.contentAt(this.oid(object), snap)
    if (data) data.copy(content)
    else this.parentData(object, snapshot ? snapshot.parentOverlap! : this.overlap).copy(content)
    return content
  }

  parentData(object: number, overlap = this.overlap): Buffer {
    const { objectSize } = this.layout
    const length = Math.max(0, Math.min(objectSize, overlap - object * objectSize))
    return Buffer.alloc(length, 0xa0 + (object % 16))
  }

  mapAt(snap: SnapId): TwoBitVector | undefined {
    const bytes = this.pool.contentAt(objectMapName(this.header.id, snap), NO_SNAP)
    return bytes && decodeObjectStates(bytes)
  }

  saveMap(snap: SnapId, map: TwoBitVector): void {
    this.metadata(objectMapName(this.header.id, snap), { type: 'writeFull', data: encodeObjectStates(map, true) })
  }

  private metadata(oid: string, step: WriteStep): void {
    this.pool.write(oid, [step], { seq: 0n, snaps: [] })
  }
}

/** Written as librbd does, with its object map. */
export class PrimaryImage extends ModelImage {
  private map: TwoBitVector

  constructor(options: ModelImageOptions, size: number) {
    super(options, size, 'primary')
    this.map = new TwoBitVector(objectCount(this.layout, size))
    if (this.hasMap) this.saveMap(NO_SNAP, this.map)
  }

  write(offset: number, data: Buffer): void {
    for (const extent of this.extents(offset, data.length)) {
      const bytes = Buffer.concat(extent.pieces.map(([at, length]) => data.subarray(at, at + length)))
      this.copyUp(extent.objectNumber)
      this.change(extent.objectNumber, [{ type: 'write', offset: extent.offset, data: bytes }], ObjectState.exists)
    }
  }

  /** Object by object as librbd discards: removed, cut or zeroed; an empty object remains where a parent would show through. */
  discard(offset: number, length: number): void {
    const { objectSize } = this.layout
    for (const { objectNumber, offset: at, length: bytes } of this.extents(offset, length)) {
      const there = this.pool.contentAt(this.oid(objectNumber), NO_SNAP) !== undefined
      const overlap = this.parentData(objectNumber).length > 0
      if (overlap && (at > 0 || bytes < objectSize)) this.copyUp(objectNumber)
      if (at === 0 && bytes === objectSize) {
        if (overlap) this.change(objectNumber, [{ type: 'create', exclusive: false }, { type: 'truncate', size: 0 }], ObjectState.exists)
        else if (there) this.change(objectNumber, [{ type: 'remove' }], ObjectState.nonexistent)
      } else if (there || overlap) {
        const step: WriteStep = at + bytes === objectSize ? { type: 'truncate', size: at } : { type: 'zero', offset: at, length: bytes }
        this.change(objectNumber, [step], ObjectState.exists)
      }
    }
  }

  resize(size: number): void {
    const objects = objectCount(this.layout, size)
    if (size < this.header.size) {
      this.discard(size, this.header.size - size)
      for (let object = objects; object < this.map.length; object++) {
        if (this.pool.contentAt(this.oid(object), NO_SNAP)) this.change(object, [{ type: 'remove' }], ObjectState.nonexistent)
      }
    }
    this.map = this.map.resized(objects)
    this.overlap = Math.min(this.overlap, size)
    this.header.size = size
    if (this.hasMap) this.saveMap(NO_SNAP, this.map)
  }

  snapshot(): SnapId {
    const id = this.pool.newSnap()
    this.addSnapshot(id, this.header.size)
    if (this.hasMap) this.saveMap(id, this.map)
    if (hasFeature(this.header.features, FEATURE_FAST_DIFF)) {
      for (let object = 0; object < this.map.length; object++) {
        if (this.map.get(object) === ObjectState.exists) this.map.set(object, ObjectState.existsClean)
      }
    }
    return id
  }

  removeSnapshot(id: SnapId): void {
    const { snapshots } = this.header
    const index = snapshots.findIndex((snapshot) => snapshot.id === id)
    const newer = snapshots[index - 1]
    const removed = this.mapAt(id)
    const target = newer ? this.mapAt(newer.id) : this.map
    if (removed && target) {
      for (let object = 0; object < target.length; object++) {
        const changed = object >= removed.length || removed.get(object) === ObjectState.exists
        if (changed && target.get(object) === ObjectState.existsClean) target.set(object, ObjectState.exists)
      }
      if (newer) this.saveMap(newer.id, target)
    }
    snapshots.splice(index, 1)
    this.header.snapContext = { seq: this.header.snapContext.seq, snaps: snapshots.map((each) => each.id) }
    this.pool.trim(id)
  }

  private extents(offset: number, length: number) {
    const end = Math.min(this.header.size, offset + length)
    return end > offset ? imageToObjects(this.layout, offset, end - offset) : []
  }

  /** The parent's data becomes the object's, also for the snapshots there are (deep copy-up). */
  private copyUp(object: number): void {
    const data = this.parentData(object)
    if (data.length === 0 || this.pool.contentAt(this.oid(object), NO_SNAP)) return
    this.pool.write(this.oid(object), [{ type: 'write', offset: 0, data }], { seq: 0n, snaps: [] })
    this.map.set(object, ObjectState.exists)
    for (const { id } of this.header.snapshots) {
      const map = this.mapAt(id)
      if (!map || object >= map.length || map.get(object) !== ObjectState.nonexistent) continue
      map.set(object, ObjectState.exists)
      this.saveMap(id, map)
    }
  }

  private change(object: number, steps: readonly WriteStep[], state: ObjectState): void {
    this.pool.write(this.oid(object), steps, this.header.snapContext)
    this.map.set(object, state)
  }
}

export class ReplicaImage extends ModelImage {
  objectMap: ObjectMap | undefined

  constructor(options: ModelImageOptions, size: number) {
    super(options, size, 'replica')
    if (this.hasMap) this.saveMap(NO_SNAP, new TwoBitVector(objectCount(this.layout, size)))
  }

  private owner() {
    return { io: this.pool.io(), id: this.header.id, header: this.header, options: { log: silentLog } }
  }

  /** As after a start of the daemon. */
  async lock(): Promise<void> {
    if (this.hasMap) this.objectMap = await ObjectMap.open(this.owner())
  }

  /** A user snapshot whose data is still to come. */
  async snapshotToFill({ size, parentOverlap }: ImageSnapshot): Promise<SnapId> {
    const id = this.pool.newSnap()
    this.addSnapshot(id, size, parentOverlap)
    if (this.hasMap) await createEmptySnapshotMap(this.owner(), id, objectCount(this.layout, size))
    return id
  }

  /** A snapshot of the head as it is. */
  async snapshot(): Promise<SnapId> {
    const id = this.pool.newSnap()
    this.addSnapshot(id, this.header.size)
    await this.objectMap?.createSnapshot(id)
    return id
  }

  request(primary: ModelImage, rest: Pick<CopyRequest, 'fromSnap' | 'steps' | 'resumeFrom' | 'onProgress' | 'concurrency'>): CopyRequest {
    const side = (image: ModelImage) => ({ io: image.pool.io(), data: image.pool.io(), header: image.header })
    return {
      source: side(primary),
      destination: side(this),
      objectMap: this.objectMap,
      byteBudget: new Semaphore(3 * this.layout.objectSize),
      buffers: new BufferPool(1 << 20),
      log: silentLog,
      ...rest,
    }
  }
}
