import type { Log } from '../../base/log.ts'
import * as lock from '../../cls/lock/client.ts'
import * as rbd from '../../cls/rbd/client.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import { NO_SNAP, type IoCtx, type SnapId } from '../../rados/io-ctx.ts'
import { WriteOperation } from '../../rados/operation.ts'
import { FEATURE_FAST_DIFF, FLAG_FAST_DIFF_INVALID, FLAG_OBJECT_MAP_INVALID, hasFeature } from '../features.ts'
import type { ImageHeader } from '../header.ts'
import { headerName, objectMapName, RBD_LOCK_NAME } from '../names.ts'
import { ObjectMapUpdater } from './object-map-updater.ts'
import { encodeObjectStates, loadObjectStates, MAX_OBJECTS_PER_UPDATE, ObjectState, type ObjectStates } from './object-states.ts'
import { layoutOf, objectCount } from './striping.ts'
import { TwoBitVector } from './two-bit-vector.ts'

/** Whose object maps these are; an Image is one. */
export interface ObjectMapOwner {
  readonly io: IoCtx
  readonly id: string
  /** as it was read last */
  readonly header: ImageHeader
  readonly options: { readonly log: Log }
}

/**
 * Which objects exist, if the head's map can be relied on; undefined without a map, and where it is marked invalid: objects that it does not have may
 * exist, as in a map that was just made by switching on the feature, and the other way round.
 */
export function reliableStates({ header, objectMap }: { readonly header: ImageHeader; readonly objectMap: ObjectMap | undefined }): ObjectStates | undefined {
  return objectMap?.madeUp || (header.flags & FLAG_OBJECT_MAP_INVALID) !== 0n ? undefined : objectMap?.states
}

/**
 * The object map of an image's head, held by whoever holds the image's exclusive lock, and what operations do to the maps of snapshots
 * (Ceph's librbd/ObjectMap.cc and librbd/object_map/). All methods reject with RadosError.
 */
export class ObjectMap {
  private updater: ObjectMapUpdater
  private readonly oid: string

  private constructor(
    private readonly owner: ObjectMapOwner,
    states: ObjectStates,
    /** It was lost: it says `exists` of everything, and is marked invalid in a header that may not have been read since. */
    readonly madeUp = false,
  ) {
    this.oid = objectMapName(owner.id)
    this.updater = this.newUpdater(states)
  }

  /**
   * Locks the head's map (breaking the lock of a former holder: the exclusive lock on the header is what counts) and reads it. A map
   * that is missing, malformed or too small is marked invalid in the header and made anew as one that says `exists` of everything.
   */
  static async open(owner: ObjectMapOwner): Promise<ObjectMap> {
    const oid = objectMapName(owner.id)
    await lockMap(owner.io, oid)
    const wanted = objectCount(layoutOf(owner.header), owner.header.size)
    let states: ObjectStates | undefined
    let malformed = false
    try {
      states = await loadObjectStates(owner.io, oid)
    } catch (error) {
      if (!(error instanceof MalformedInput) && !isErrno(error, Errno.EINVAL)) throw error
      malformed = true
      owner.options.log.error({ oid, error: String(error) }, 'object map is malformed')
    }
    if (states && states.length >= wanted) return new ObjectMap(owner, states)
    owner.options.log.warn({ oid, objects: states?.length, wanted }, 'object map is missing or too small, marking it invalid')
    await invalidateObjectMap(owner, NO_SNAP)
    const operation = guarded(new WriteOperation())
    if (malformed) operation.truncate(0)
    await owner.io.write(oid, rbd.objectMapResize.step(operation, { objectCount: wanted, defaultState: ObjectState.exists }))
    return new ObjectMap(owner, (await loadObjectStates(owner.io, oid)) ?? new TwoBitVector(wanted), true)
  }

  /** What the map on disk says. Not to be changed. */
  get states(): ObjectStates {
    return this.updater.states
  }

  /** What the map says, or will say once everything asked for is on disk. */
  expected(object: number): ObjectState {
    return this.updater.expected(object)
  }

  /** Sets one object's state; many such calls share an operation. Resolves when it is on disk. */
  mark(object: number, state: ObjectState): Promise<void> {
    return this.updater.mark(object, state)
  }

  /** Sets the state of objects [first, end); with `current` only of those in that state (`exists` counts for `existsClean` too). */
  async update(first: number, end: number, state: ObjectState, current?: ObjectState): Promise<void> {
    await this.updater.flush()
    for (let from = first; from < end; ) {
      const to = Math.min(end, from + MAX_OBJECTS_PER_UPDATE)
      const args = { start: from, end: to, newState: state, currentState: current }
      await this.owner.io.write(this.oid, rbd.objectMapUpdate.step(guarded(new WriteOperation()), args))
      for (let object = from; object < to; object++) {
        const was = this.states.get(object)
        const matches = was === current || (current === ObjectState.exists && was === ObjectState.existsClean)
        if (current === undefined || matches) this.states.set(object, state)
      }
      from = to
    }
  }

  /**
   * Makes the map one of `objects` objects; added ones get `added`. ESTALE when an object that would fall off is not nonexistent.
   */
  async resize(objects: number, added: ObjectState = ObjectState.nonexistent): Promise<void> {
    await this.updater.flush()
    if (objects === this.states.length) return
    // the class compares what falls off with the default state too
    const defaultState = objects > this.states.length ? added : ObjectState.nonexistent
    const operation = rbd.objectMapResize.step(guarded(new WriteOperation()), { objectCount: objects, defaultState })
    await this.owner.io.write(this.oid, operation)
    const states = this.states.resized(objects)
    for (let object = this.states.length; object < objects && defaultState !== 0; object++) states.set(object, defaultState)
    this.updater = this.newUpdater(states)
  }

  /** Keeps the map as that of a new snapshot. The image's data may not be written meanwhile. */
  async createSnapshot(snap: SnapId): Promise<void> {
    await this.updater.flush()
    const { io, id, header } = this.owner
    await io.write(objectMapName(id, snap), new WriteOperation().writeFull(encodeObjectStates(this.states, true)))
    if (!hasFeature(header.features, FEATURE_FAST_DIFF)) return
    await io.write(this.oid, rbd.objectMapSnapAdd.step(guarded(new WriteOperation()), undefined))
    const { states } = this
    for (let object = 0; (object = states.next(object, 1 << ObjectState.exists)) < states.length; object++) {
      states.set(object, ObjectState.existsClean)
    }
  }

  /** Removes the map of a snapshot after its changes were added to those of the next newer snapshot (or the head). Idempotent. */
  async removeSnapshot(snap: SnapId): Promise<void> {
    const { io, id, header } = this.owner
    const oid = objectMapName(id, snap)
    if (hasFeature(header.features, FEATURE_FAST_DIFF)) {
      await this.updater.flush()
      const next = nextSnapshot(header, snap)
      const removed = await this.snapshotStates(snap)
      if (removed === undefined) return
      const merged = removed !== 'invalid' && (await this.mergeInto(next, removed))
      if (!merged) await invalidateObjectMap(this.owner, next)
    }
    await removeIfThere(io, oid)
  }

  /** Makes the map that of a snapshot again, when the head's data is put back to it. */
  async rollback(snap: SnapId): Promise<void> {
    await this.updater.flush()
    const states = await this.snapshotStates(snap)
    if (states === undefined || states === 'invalid') {
      if (states === undefined) await invalidateObjectMap(this.owner, snap)
      await invalidateObjectMap(this.owner, NO_SNAP)
      return
    }
    await this.owner.io.write(this.oid, guarded(new WriteOperation()).writeFull(encodeObjectStates(states, true)))
    this.updater = this.newUpdater(states)
  }

  /** Reads the map from disk again, after somebody else (an object class, a repair) has changed it. */
  async reload(): Promise<void> {
    const states = await loadObjectStates(this.owner.io, this.oid)
    if (states) this.updater = this.newUpdater(states)
  }

  /** Gives the lock on the map back. */
  async close(): Promise<void> {
    await this.updater.flush().catch(() => undefined) // whoever asked for the update has been told
    try {
      await lock.unlock.call(this.owner.io, this.oid, { name: RBD_LOCK_NAME, cookie: '' })
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
  }

  private newUpdater(states: ObjectStates): ObjectMapUpdater {
    return new ObjectMapUpdater(this.owner.io, this.oid, states, guarded)
  }

  private async snapshotStates(snap: SnapId): Promise<ObjectStates | 'invalid' | undefined> {
    const { io, id, header } = this.owner
    const flags = header.snapshots.find((snapshot) => snapshot.id === snap)?.flags ?? 0n
    try {
      const states = await loadObjectStates(io, objectMapName(id, snap))
      return states && (flags & FLAG_OBJECT_MAP_INVALID) !== 0n ? 'invalid' : states
    } catch (error) {
      if (error instanceof MalformedInput || isErrno(error, Errno.EINVAL)) return 'invalid'
      throw error
    }
  }

  private async mergeInto(next: SnapId, removed: ObjectStates): Promise<boolean> {
    const { io, id } = this.owner
    const operation = new WriteOperation()
    if (next === NO_SNAP) guarded(operation)
    rbd.objectMapSnapRemove.step(operation, { bitVector: encodeObjectStates(removed, false) })
    try {
      await io.write(objectMapName(id, next), operation)
    } catch (error) {
      // a snapshot without a map has had its changes merged into the one after it, by a removal that did not come to its end
      if (isErrno(error, Errno.ENOENT)) return next === NO_SNAP || this.mergeInto(nextSnapshot(this.owner.header, next), removed)
      if (isErrno(error, Errno.EINVAL)) return false
      throw error
    }
    if (next === NO_SNAP) await this.reload()
    return true
  }
}

/** Tells everybody that a map can't be relied on: the head's (NO_SNAP) or a snapshot's. It stays so until it is rebuilt. */
export async function invalidateObjectMap(owner: ObjectMapOwner, snap: SnapId): Promise<void> {
  const fastDiff = hasFeature(owner.header.features, FEATURE_FAST_DIFF)
  const flags = FLAG_OBJECT_MAP_INVALID | (fastDiff ? FLAG_FAST_DIFF_INVALID : 0n)
  await rbd.setFlags.call(owner.io, headerName(owner.id), { flags, mask: flags, snapId: snap })
}

/** Makes the map of a snapshot whose states are still to come: all nonexistent. */
export async function createEmptySnapshotMap(owner: Pick<ObjectMapOwner, 'io' | 'id'>, snap: SnapId, objects: number): Promise<void> {
  await rbd.objectMapResize.call(owner.io, objectMapName(owner.id, snap), { objectCount: objects, defaultState: ObjectState.nonexistent })
}

/** The head's map is written only as long as we hold its lock. */
function guarded(operation: WriteOperation): WriteOperation {
  return lock.assertLocked.step(operation, { name: RBD_LOCK_NAME, type: 'exclusive', cookie: '', tag: '' })
}

async function lockMap(io: IoCtx, oid: string): Promise<void> {
  const request = {
    name: RBD_LOCK_NAME,
    type: 'exclusive' as const,
    cookie: '',
    tag: '',
    description: '',
    duration: { sec: 0, nsec: 0 },
    flags: 0,
  }
  for (let broken = false; ; broken = true) {
    try {
      return await lock.lock.call(io, oid, request)
    } catch (error) {
      if (isErrno(error, Errno.EEXIST)) return // ours already
      if (broken || !isErrno(error, Errno.EBUSY)) throw error
    }
    const { lockers } = await lock.getInfo.call(io, oid, { name: RBD_LOCK_NAME })
    const operation = new WriteOperation()
    for (const { locker, cookie } of lockers) lock.breakLock.step(operation, { name: RBD_LOCK_NAME, locker, cookie })
    try {
      if (lockers.length > 0) await io.write(oid, operation)
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    }
  }
}

function nextSnapshot(header: ImageHeader, snap: SnapId): SnapId {
  let next: SnapId = NO_SNAP
  for (const { id } of header.snapshots) if (id > snap && id < next) next = id
  return next
}

async function removeIfThere(io: IoCtx, oid: string): Promise<void> {
  try {
    await io.remove(oid)
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
}
