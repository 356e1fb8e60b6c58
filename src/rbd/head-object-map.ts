import * as rbd from '../cls/rbd/client.ts'
import * as lock from '../cls/lock/client.ts'
import { MalformedInput } from '../encoding/malformed-input.ts'
import { zeroTime } from '../encoding/codec.ts'
import { Errno, isErrno, RadosError } from '../rados/errors.ts'
import { NO_SNAP, type IoCtx, type SnapId } from '../rados/io-ctx.ts'
import { ReadOperation, WriteOperation } from '../rados/operation.ts'
import { encodeObjectMap, loadObjectMap, MAX_OBJECT_MAP_OBJECTS, ObjectState } from './data/object-map.ts'
import type { ObjectMap } from './data/object-map.ts'
import { layoutOf, objectCount } from './data/striping.ts'
import { FEATURE_FAST_DIFF, FLAG_FAST_DIFF_INVALID, FLAG_OBJECT_MAP_INVALID, hasFeature } from './features.ts'
import type { ImageHeader } from './header.ts'
import { headerName, objectMapName, RBD_LOCK_NAME } from './names.ts'

/**
 * The object maps of an image whose exclusive lock is ours. The head's map has a lock of its own, which is asserted with every change,
 * so that a client that lost the image can't spoil it (librbd/object_map). Changes go straight to the OSD: nothing is kept here.
 */
export class HeadObjectMap {
  private constructor(
    private readonly io: IoCtx,
    private readonly imageId: string,
  ) {}

  /**
   * Locks the head's map and sees that it can hold the image's objects; a map that is missing, damaged or too small is made anew and
   * flagged invalid. Undefined for an image with more objects than maps can hold.
   */
  static async open(io: IoCtx, header: ImageHeader): Promise<HeadObjectMap | undefined> {
    const map = new HeadObjectMap(io, header.id)
    const objects = objectCount(layoutOf(header), header.size)
    if (objects > MAX_OBJECT_MAP_OBJECTS) {
      await map.invalidate(header, NO_SNAP)
      return undefined
    }
    await map.lock()
    const length = await map.length()
    if (length === undefined || length < objects) {
      await map.invalidate(header, NO_SNAP)
      const op = map.locked()
      if (length === undefined) op.truncate(0)
      await map.write(NO_SNAP, rbd.objectMapResize.step(op, { objectCount: objects, defaultState: ObjectState.nonexistent }))
    }
    return map
  }

  async close(): Promise<void> {
    try {
      await lock.unlock.call(this.io, objectMapName(this.imageId), { name: RBD_LOCK_NAME, cookie: '' })
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
  }

  /** A write operation on the head's map that fails with EBUSY if it is no longer ours. */
  locked(): WriteOperation {
    return lock.assertLocked.step(new WriteOperation(), { name: RBD_LOCK_NAME, type: 'exclusive', cookie: '', tag: '' })
  }

  /** Objects [start, end) of the head get `state`, only those in `current` if it is given. */
  async update(start: number, end: number, state: ObjectState, current?: ObjectState): Promise<void> {
    if (start >= end) return
    await this.write(NO_SNAP, rbd.objectMapUpdate.step(this.locked(), { start, end, newState: state, currentState: current }))
  }

  async resize(objects: number, state: ObjectState): Promise<void> {
    await this.write(NO_SNAP, rbd.objectMapResize.step(this.locked(), { objectCount: objects, defaultState: state }))
  }

  /** The head's map becomes that of the new snapshot, and from then on tells what has changed since. No writes may be under way. */
  async snapshotAdd(header: ImageHeader, snap: SnapId): Promise<void> {
    const bytes = await this.readRaw()
    await this.write(snap, new WriteOperation().writeFull(bytes))
    if (hasFeature(header.features, FEATURE_FAST_DIFF)) await this.write(NO_SNAP, rbd.objectMapSnapAdd.step(this.locked()))
  }

  /** What changed in the snapshot is merged into the next newer map, and its own map goes. Done again, it does nothing. */
  async snapshotRemove(header: ImageHeader, snap: SnapId): Promise<void> {
    if (hasFeature(header.features, FEATURE_FAST_DIFF)) {
      const next = nextNewerSnapshot(header, snap)
      const merged = await this.merge(header, snap, next)
      if (merged === 'gone') return
      if (merged === 'impossible') await this.invalidate(header, next)
    }
    try {
      await this.io.remove(objectMapName(this.imageId, snap))
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
  }

  /** Marks a map as not to be relied on. */
  async invalidate(header: ImageHeader, snap: SnapId): Promise<void> {
    const flags = hasFeature(header.features, FEATURE_FAST_DIFF) ? FLAG_OBJECT_MAP_INVALID | FLAG_FAST_DIFF_INVALID : FLAG_OBJECT_MAP_INVALID
    await rbd.setFlags.call(this.io, headerName(this.imageId), { flags, mask: flags, snapId: snap })
  }

  private async merge(header: ImageHeader, snap: SnapId, next: SnapId): Promise<'merged' | 'gone' | 'impossible'> {
    let map: ObjectMap | undefined
    try {
      map = await loadObjectMap(this.io, objectMapName(this.imageId, snap))
    } catch (error) {
      if (error instanceof MalformedInput || isErrno(error, Errno.EINVAL)) return 'impossible'
      throw error
    }
    if (!map) return 'gone'
    const invalid = header.snapshots.find(({ id }) => id === snap)?.flags ?? 0n
    if ((invalid & FLAG_OBJECT_MAP_INVALID) !== 0n) return 'impossible'
    const op = next === NO_SNAP ? this.locked() : new WriteOperation()
    try {
      await this.write(next, rbd.objectMapSnapRemove.step(op, { bitVector: encodeObjectMap(map, false) }))
      return 'merged'
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return 'merged' // there is no map that could be wrong
      if (isErrno(error, Errno.EINVAL)) return 'impossible'
      throw error
    }
  }

  /** The number of objects that the head's map speaks of; undefined when it is missing or damaged. */
  private async length(): Promise<number | undefined> {
    try {
      return (await loadObjectMap(this.io, objectMapName(this.imageId)))?.length
    } catch (error) {
      if (error instanceof MalformedInput || isErrno(error, Errno.EINVAL)) return undefined
      throw error
    }
  }

  private async readRaw(): Promise<Buffer> {
    const oid = objectMapName(this.imageId)
    const { size } = await this.io.stat(oid)
    const op = new ReadOperation()
    const stat = op.stat()
    const data = op.read(0, size)
    const results = await this.io.read(oid, op)
    const bytes = results.get(data)
    if (results.get(stat).size === bytes.length) return bytes
    throw new RadosError(Errno.EAGAIN, { op: 'read object map (it changed meanwhile)', pool: this.io.poolName, oid })
  }

  private async write(snap: SnapId, operation: WriteOperation): Promise<void> {
    await this.io.write(objectMapName(this.imageId, snap), operation)
  }

  /** Whoever still has the map's lock has lost the image, whose lock is ours. */
  private async lock(): Promise<void> {
    const oid = objectMapName(this.imageId)
    for (let broken = false; ; broken = true) {
      try {
        return await lock.lock.call(this.io, oid, {
          name: RBD_LOCK_NAME,
          type: 'exclusive',
          cookie: '',
          tag: '',
          description: '',
          duration: zeroTime,
          flags: 0,
        })
      } catch (error) {
        if (isErrno(error, Errno.EEXIST)) return
        if (broken || !isErrno(error, Errno.EBUSY)) throw error
      }
      const { lockers } = await lock.getInfo.call(this.io, oid, { name: RBD_LOCK_NAME })
      for (const { locker, cookie } of lockers) {
        try {
          await lock.breakLock.call(this.io, oid, { name: RBD_LOCK_NAME, locker, cookie })
        } catch (error) {
          if (!isErrno(error, Errno.ENOENT)) throw error
        }
      }
    }
  }
}

/** The snapshot made after `snap`, or the head. */
function nextNewerSnapshot({ snapshots }: ImageHeader, snap: SnapId): SnapId {
  let next = NO_SNAP
  for (const { id } of snapshots) if (id > snap && id < next) next = id
  return next
}
