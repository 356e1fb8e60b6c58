import type { Clock } from '../base/clock.ts'
import { KeyedMutex } from '../base/keyed-mutex.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import { Scope } from '../base/scope.ts'
import { getId } from '../cls/rbd/client.ts'
import type { Cluster } from '../rados/cluster.ts'
import { Errno, RadosError } from '../rados/errors.ts'
import { NO_SNAP, type IoCtx, type SnapId } from '../rados/io-ctx.ts'
import { copyUpObject, isBacked } from './copyup.ts'
import { invalidateObjectMap, ObjectMap } from './data/object-map.ts'
import { MAX_OBJECT_MAP_OBJECTS } from './data/object-states.ts'
import { layoutOf, objectCount } from './data/striping.ts'
import { ExclusiveLock } from './exclusive-lock.ts'
import { FEATURE_EXCLUSIVE_LOCK, FEATURE_JOURNALING, FEATURE_OBJECT_MAP, hasFeature } from './features.ts'
import { HeaderWatcher } from './header-watcher.ts'
import { loadHeader, type ImageHeader, type ImageParent } from './header.ts'
import { standardLockPolicy, type LockPolicy } from './lock-policy.ts'
import { headerName, idObjectName } from './names.ts'
import { openParentPool } from './operations/children.ts'
import { WriterJournal } from './journal/writer-journal.ts'
import { WriteGate } from './write-gate.ts'
import { executePeerRequest } from './operations/peer-requests.ts'

/** Read views that are kept; the one used longest ago goes first. */
const maxReadViews = 16
/** A healthy cluster takes milliseconds to take back lock and watch. */
const closeTimeMs = 3000
/** Superseded write contexts that are kept for writes under way. */
const maxRetiredContexts = 4

export interface ImageOptions {
  cluster: Cluster
  /**
   * `read-only`: no watch, no lock, no changes. `write`: watches the header and may run operations; data is only ever written
   * by the holder of the exclusive lock. A replica opens for writing although `rbd` refuses that for non-primary images.
   */
  access: 'read-only' | 'write'
  clock: Clock
  random: Random
  log: Log
  /** what peers get to hear that want the lock or something done; librbd's standard without it */
  lockPolicy?: LockPolicy
  /**
   * As the image's user: while the lock is ours, what changes the image is recorded in its journal first, if it has one, and what the former
   * owner of the lock has left undone is done. Without it nothing is recorded: for mirroring, which does with journals as it must.
   */
  journaled?: boolean | undefined
  /** ends the opening; an open image has nothing to do with it any more */
  signal?: AbortSignal | undefined
}

/** An open image of one pool namespace. `close` gives back its lock, its watch and its contexts. */
export class Image {
  /** undefined for a read-only image */
  readonly watcher: HeaderWatcher | undefined
  /** undefined for a read-only image; whether the image wants it says `usesLock` */
  readonly lock: ExclusiveLock | undefined
  /** one operation at a time changes the header */
  readonly operations = new KeyedMutex()
  /** the head's, while the lock is ours and the image has one */
  objectMap: ObjectMap | undefined
  /** while the lock is ours, the image has one, and was opened `journaled` */
  journal: WriterJournal | undefined
  /** writes of users, and operations that have to come between them */
  readonly gate = new WriteGate()

  private current!: ImageHeader
  private stale = false
  private running: Promise<ImageHeader> | undefined
  private queued: Promise<ImageHeader> | undefined
  private dataPool: IoCtx | undefined
  private head: IoCtx | undefined
  private retired: IoCtx[] = []
  private readonly views = new Map<SnapId, IoCtx>()
  private parent: { key: string; image: Promise<Image> } | undefined
  private readonly updateListeners = new Set<() => void>()
  private readonly lostListeners = new Set<(error: Error) => void>()
  private readonly scope: Scope

  private constructor(
    readonly id: string,
    /** the header's pool and namespace */
    readonly io: IoCtx,
    readonly options: ImageOptions,
  ) {
    this.scope = new Scope(undefined, (error, task) => options.log.error({ imageId: id, task, error: String(error) }, 'image task failed'))
  }

  /** Rejects with RadosError: ENOENT for no such image, ENOSYS for one with unknown features. */
  static async open(io: IoCtx, which: { id: string } | { name: string }, options: ImageOptions): Promise<Image> {
    const id = 'id' in which ? which.id : await getId.call(io, idObjectName(which.name), undefined, { signal: options.signal })
    const image = new Image(id, io.duplicate({}), options)
    try {
      if (options.access === 'write') await image.watch()
      const header = await image.refresh()
      image.dataPool = await image.openDataPool(header)
      return image
    } catch (error) {
      await image.close()
      throw error
    }
  }

  get access(): 'read-only' | 'write' {
    return this.options.access
  }

  /** What the header said when it was read last. */
  get header(): ImageHeader {
    return this.current
  }

  get headerOid(): string {
    return headerName(this.id)
  }

  /** Whether data and most of the header may be changed only by the holder of the exclusive lock. */
  get usesLock(): boolean {
    return hasFeature(this.current.features, FEATURE_EXCLUSIVE_LOCK)
  }

  /** A peer has said that the header changed, and it has not been read since. */
  get refreshNeeded(): boolean {
    return this.stale
  }

  /** Called at each word of a changed header (before it is read again). Returns the function that ends it. */
  onUpdate(listener: () => void): () => void {
    this.updateListeners.add(listener)
    return () => this.updateListeners.delete(listener)
  }

  /** Called when the watch is lost for good: the image is gone or this connection blocklisted. */
  onLost(listener: (error: Error) => void): () => void {
    this.lostListeners.add(listener)
    return () => this.lostListeners.delete(listener)
  }

  /** Reads the header; what was true when it was called is in the result. Calls that come together share one read. */
  refresh(): Promise<ImageHeader> {
    this.queued ??= (async () => {
      await this.running?.catch(() => undefined) // its failure belongs to its own callers
      this.queued = undefined
      this.running = this.load()
      return this.running
    })()
    return this.queued
  }

  /** Reads the header only if it is known to have changed; a read under way is waited for. */
  async refreshIfNeeded(): Promise<ImageHeader> {
    if (this.queued) return this.queued
    if (this.stale) return this.refresh()
    return this.running ?? this.current
  }

  /** The data objects' head, to be written under the snap context of the header as it was read last. */
  data(): IoCtx {
    if (!this.head) {
      const pool = this.requireDataPool()
      this.head = pool.duplicate({ snapContext: this.current.snapContext })
    }
    return this.head
  }

  /** The data objects as of a snapshot (NO_SNAP for the head), read-only. */
  dataAt(snap: SnapId): IoCtx {
    const view = this.views.get(snap) ?? this.requireDataPool().duplicate({ readSnap: snap })
    this.views.delete(snap)
    this.views.set(snap, view)
    if (this.views.size > maxReadViews) {
      const [oldest, context] = this.views.entries().next().value!
      this.views.delete(oldest)
      this.retire(context)
    }
    return view
  }

  /** The parent of a clone, read-only; it is closed with this image. Rejects with ENOENT when there is none, or no longer. */
  openParent(): Promise<Image> {
    const { parent } = this.current
    const key = parent && `${parent.poolId}/${parent.poolNamespace}/${parent.imageId}`
    if (this.parent?.key !== key) {
      const superseded = this.parent
      if (superseded) this.scope.spawn('close former parent', () => superseded.image.then((image) => image.close(), () => undefined))
      this.parent = key === undefined ? undefined : { key, image: this.openParentImage(parent!) }
    }
    return this.parent?.image ?? Promise.reject(this.missing('open parent'))
  }

  /** Whether a clone's parent stands in for this object where it does not exist. */
  isBacked(object: number): boolean {
    return isBacked(this.current, object)
  }

  /** Makes an object that the parent stands in for, see {@link copyUpObject}. */
  copyUp(object: number): Promise<void> {
    return copyUpObject(this, object)
  }

  /** After a change of ours whose outcome is unknown: the header is read again before it is used. */
  headerDoubtful(): void {
    this.stale = true
  }

  /** For our own changes: tells the peers and reads the header again. */
  async headerChanged(): Promise<ImageHeader> {
    this.stale = true
    const [header] = await Promise.all([this.refresh(), this.watcher?.notifyHeaderUpdate()])
    return header
  }

  /** For our own changes of features, while the lock is ours: takes up, or drops, the object map. */
  async featuresChanged(): Promise<void> {
    const header = await this.headerChanged()
    if (!hasFeature(header.features, FEATURE_OBJECT_MAP)) this.objectMap = undefined
    else if (this.lock?.owned) await this.openObjectMap(header)
    if (this.options.journaled && this.lock?.owned) await this.switchJournal(header)
  }

  /** Before the journal is removed. */
  async closeJournal(): Promise<void> {
    const { journal } = this
    this.journal = undefined
    await journal?.close()
  }

  /** An option of Ceph's that is a number, or what it is by default. */
  numericOption(name: string, fallback: number): number {
    const value = Number(this.options.cluster.option(name) ?? fallback)
    return Number.isFinite(value) ? value : fallback
  }

  /** Another image of the same cluster, opened for writing as this one is. */
  openOther(io: IoCtx, id: string): Promise<Image> {
    return Image.open(io, { id }, { ...this.options, access: 'write', lockPolicy: standardLockPolicy })
  }

  /** Gives everything back. A cluster that no longer answers is not waited for: what it still holds for us it drops by itself. */
  async close(): Promise<void> {
    const goodbye = (async () => {
      try {
        await this.lock?.close()
      } finally {
        await this.watcher?.close()
        await this.scope.close()
        await this.parent?.image.then((image) => image.close(), () => undefined) // who asked for it knows of its failure
      }
    })()
    try {
      await this.withinCloseTime(goodbye)
    } catch (error) {
      // whatever a cluster refuses to take back (blocklisted, image gone) it drops by itself
      if (!(error instanceof RadosError)) throw error
      this.options.log.warn({ imageId: this.id, error: error.message }, 'lock or watch not given back')
    } finally {
      for (const context of [this.head, ...this.views.values(), ...this.retired, this.dataPool, this.io]) context?.close()
      this.head = undefined
      this.views.clear()
      this.retired = []
    }
  }

  private async withinCloseTime(goodbye: Promise<void>): Promise<void> {
    const { clock, log } = this.options
    let stopTimer = () => {}
    const expired = new Promise<'expired'>((resolve) => (stopTimer = clock.setTimer(closeTimeMs, () => resolve('expired'))))
    try {
      if ((await Promise.race([goodbye, expired])) !== 'expired') return
      log.warn({ imageId: this.id }, 'image closed without an answer from its cluster')
      goodbye.catch((error: unknown) => log.debug({ imageId: this.id, error: String(error) }, 'lock or watch not given back'))
    } finally {
      stopTimer()
    }
  }

  private async watch(): Promise<void> {
    const { cluster, clock, random, log, lockPolicy } = this.options
    const watcher = await HeaderWatcher.open(
      this.io,
      this.headerOid,
      { clock, random, log, instanceId: cluster.instanceId },
      {
        headerUpdated: (own) => this.updated(own),
        lockAcquired: () => this.lock?.peerNotified(),
        lockReleased: () => this.lock?.peerNotified(),
        lockRequested: (force) => this.lock?.lockRequested(force),
        acceptsOperation: (type) => this.lock?.acceptsOperation(type),
        execute: async (message, progress) => {
          await executePeerRequest(this, message, progress)
          // whoever listens need not hear our own announcement of it, which may get lost
          this.updated(true)
        },
        rewatched: () => {
          this.updated()
          this.scope.spawn('re-acquire lock', async () => this.lock?.rewatched())
        },
        lost: (error) => {
          this.lock?.lost(error)
          for (const listener of [...this.lostListeners]) listener(error)
        },
      },
    )
    const lock = new ExclusiveLock({
      io: this.io,
      cluster,
      oid: this.headerOid,
      clock,
      log,
      watcher,
      policy: lockPolicy ?? standardLockPolicy,
      acquired: () => this.lockAcquired(),
      releasing: () => this.lockReleasing(),
    })
    lock.onLost(() => {
      this.objectMap = undefined
      const journal = this.journal
      this.journal = undefined
      if (journal) this.scope.spawn('close lost journal', () => journal.abandon())
    })
    Object.assign(this, { watcher, lock } satisfies Partial<Image>)
  }

  /** What we have announced ourselves has been read already, but whoever listens has to hear of it. */
  private updated(own = false): void {
    if (!own) this.stale = true
    for (const listener of [...this.updateListeners]) listener()
  }

  private async lockAcquired(): Promise<void> {
    const header = await this.refreshIfNeeded()
    await this.openObjectMap(header)
    if (!this.options.journaled) return
    try {
      await this.switchJournal(header)
    } catch (error) {
      await this.lockReleasing()
      throw error
    }
  }

  /** As the feature is. One that is switched off had its last words recorded before. */
  private async switchJournal(header: ImageHeader): Promise<void> {
    if (hasFeature(header.features, FEATURE_JOURNALING)) this.journal ??= await WriterJournal.open(this)
  }

  /** The lock is ours. An image with more objects than a map can hold goes without one, and says so. */
  private async openObjectMap(header: ImageHeader): Promise<void> {
    if (this.objectMap || !hasFeature(header.features, FEATURE_OBJECT_MAP)) return
    if (objectCount(layoutOf(header), header.size) > MAX_OBJECT_MAP_OBJECTS) await invalidateObjectMap(this, NO_SNAP)
    else this.objectMap = await ObjectMap.open(this)
  }

  private async lockReleasing(): Promise<void> {
    const { objectMap } = this
    this.objectMap = undefined
    try {
      await this.closeJournal()
    } finally {
      await objectMap?.close()
    }
  }

  private async load(): Promise<ImageHeader> {
    this.stale = false
    let header: ImageHeader
    try {
      const signal = this.current ? undefined : this.options.signal
      header = await loadHeader(this.io, this.id, { access: this.access, previous: this.current, signal })
    } catch (error) {
      this.stale = true
      throw error
    }
    const before = this.current as ImageHeader | undefined
    this.current = header
    if (before && before.snapContext.seq !== header.snapContext.seq) this.retireHead()
    else if (before && before.snapContext.snaps.length !== header.snapContext.snaps.length) this.retireHead()
    return header
  }

  private retireHead(): void {
    if (this.head) this.retire(this.head)
    this.head = undefined
  }

  private retire(context: IoCtx): void {
    this.retired.push(context)
    if (this.retired.length > maxRetiredContexts) this.retired.shift()!.close()
  }

  private async openDataPool(header: ImageHeader): Promise<IoCtx> {
    if (header.dataPoolId === undefined) return this.io.duplicate({})
    const pool = await this.options.cluster.openPoolById(header.dataPoolId)
    if (this.io.namespace === '') return pool
    const context = pool.duplicate({ namespace: this.io.namespace })
    pool.close()
    return context
  }

  private async openParentImage(parent: ImageParent): Promise<Image> {
    const pool = await openParentPool(this, parent)
    if (!pool) throw this.missing('open parent')
    try {
      return await Image.open(pool, { id: parent.imageId }, { ...this.options, access: 'read-only' })
    } finally {
      pool.close()
    }
  }

  private missing(op: string): RadosError {
    return new RadosError(Errno.ENOENT, { op, pool: this.io.poolName, namespace: this.io.namespace, oid: this.headerOid })
  }

  private requireDataPool(): IoCtx {
    if (this.dataPool) return this.dataPool
    throw new RadosError(Errno.ENODEV, { op: 'open data pool', pool: this.io.poolName, oid: this.headerOid })
  }
}
