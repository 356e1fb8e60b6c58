import { Errno, errnoName, isErrno } from '../../rados/errors.ts'
import { NO_SNAP, type SnapId } from '../../rados/io-ctx.ts'
import { imageToObjects, layoutOf } from '../../rbd/data/striping.ts'
import { findSnapshot, findSnapshotByName, findSnapshotToRemove, type ImageSnapshot } from '../../rbd/header.ts'
import type { Image } from '../../rbd/image.ts'
import type { JournalEvent, JournalEventType } from '../../rbd/journal/events.ts'
import { saysDoneBefore } from '../../rbd/journal/operation-events.ts'
import { dataObjectName } from '../../rbd/names.ts'
import { removeMetadataHere, setMetadataHere } from '../../rbd/operations/metadata.ts'
import { renameImageHere } from '../../rbd/operations/rename-image.ts'
import { resizeImageHere } from '../../rbd/operations/resize.ts'
import { createSnapshotHere } from '../../rbd/operations/snapshot-create.ts'
import { protectSnapshotHere, renameSnapshotHere, setSnapshotLimit, unprotectSnapshotHere } from '../../rbd/operations/snapshot-edit.ts'
import { removeSnapshotHere } from '../../rbd/operations/snapshot-remove.ts'
import { rollBackSnapshotHere } from '../../rbd/operations/snapshot-rollback.ts'
import { updateFeaturesHere, type JournalSwitch } from '../../rbd/operations/features.ts'
import { flattenImageHere } from '../../rbd/operations/flatten.ts'
import { WriteWindow } from './write-window.ts'
import type { WindowWriter } from './window-writer.ts'

/** Of all sync points, whichever site's (image_sync/Utils.cc). Snapshots for other uses have a word between the two uuids, and are replayed. */
const SYNC_POINT_NAME = /^\.rbd-mirror\.[^.]+\.[^.]+$/
/** Bytes and entries after which a window is written though no barrier asks for it. */
const MAX_WINDOW_BYTES = 16 * 1024 * 1024
const MAX_WINDOW_ENTRIES = 8192

type OperationEvent = Extract<JournalEvent, { opTid: bigint }>
type Modification = Extract<JournalEvent, { type: 'aioWrite' | 'aioWriteSame' | 'aioDiscard' | 'aioCompareAndWrite' }>
type StartEvent = Exclude<OperationEvent, { type: 'opFinish' }>

/** An event that can't be replayed: the image stops, and the text tells the operator why. */
export class UnreplayableEvent extends Error {
  override name = 'UnreplayableEvent'
  constructor(
    readonly event: JournalEvent,
    readonly reason: string,
  ) {
    super(`journal event ${event.type} can't be replayed: ${reason}`)
  }
}

/** One whose outcome only the primary has. */
export class UnknownOutcome extends UnreplayableEvent {
  override name = 'UnknownOutcome'
}

/** Local snapshots under the ids that the remote knows them by. */
export interface SnapshotIds {
  localId(remoteId: SnapId): SnapId | undefined
}

/**
 * Replays the events of a remote journal, in their order, on a local image whose exclusive lock is ours.
 *
 * Modifications gather in a window, which is written at barriers: a flush, an operation, the end of a tag, or when it is full. An
 * operation (snapshot, resize …) is done when its `opFinish` says that it was done there; only growing is done at once, since
 * the primary writes to the new part before the finish is recorded. What is written between a snapshot's start and its finish came
 * after the snapshot, and is held back until that is made. What a tag leaves unfinished is done at its end: the primary
 * does so when it opens the image again (librbd/journal/Replay.cc).
 *
 * Everything may be replayed twice: an operation that has been done already does nothing.
 */
export class EventApplier {
  private window: WriteWindow
  private readonly pending = new Map<bigint, StartEvent>()
  /** the snapshot that is about to be made, and what was written since */
  private snapshotting: bigint | undefined
  private held: Modification[] = []
  private heldBytes = 0
  /** sizes before the growths that are not confirmed yet */
  private readonly sizeBefore = new Map<bigint, number>()

  constructor(
    private readonly image: Image,
    private readonly writer: WindowWriter,
    private readonly snapshotIds: SnapshotIds,
    private readonly journalSwitch: JournalSwitch,
  ) {
    this.window = new WriteWindow(layoutOf(image.header))
  }

  /** Nothing is left to be written by {@link flush}. */
  get clean(): boolean {
    return this.window.entries === 0
  }

  /** Operations that have started and not ended: entries from the first of them on are not to be committed. */
  get unfinished(): number {
    return this.pending.size
  }

  /**
   * Takes one event in. Resolves with `buffered` while it waits in the window for {@link flush}, or with `safe` when it and all before it
   * are on stable storage. Rejects with RadosError, or {@link UnreplayableEvent}.
   */
  async apply(event: JournalEvent): Promise<'buffered' | 'safe'> {
    switch (event.type) {
      case 'aioWrite':
      case 'aioWriteSame':
      case 'aioDiscard':
      case 'aioCompareAndWrite':
        if (this.snapshotting !== undefined) return this.hold(event)
        return this.change(event)
      case 'aioFlush':
      case 'demotePromote':
        return this.flushed()
      case 'opFinish':
        await this.flush()
        await this.finish(event.opTid, event.result)
        return this.clean ? 'safe' : 'buffered'
      case 'unknown':
        throw new UnreplayableEvent(event, `type ${event.tag} is of a later release`)
      default:
        await this.flush()
        await this.start(event)
        return 'safe'
    }
  }

  /** Writes the window. After a failure it is still there, to be written again. */
  async flush(): Promise<void> {
    if (this.clean) return
    await this.writer.apply(this.window.objects)
    this.newWindow()
  }

  /** The end of a tag: what was begun is done. */
  async finishTag(): Promise<void> {
    await this.flush()
    for (const opTid of [...this.pending.keys()]) await this.finish(opTid, 0)
    await this.flush()
  }

  private async change(event: Modification): Promise<'buffered' | 'safe'> {
    if (event.type === 'aioCompareAndWrite') {
      await this.compareAndWrite(event)
      return 'buffered'
    }
    this.modify(event)
    return this.windowFull ? this.flushed() : 'buffered'
  }

  /** A finish that stays away, because the primary has died, is not waited for for ever. */
  private async hold(event: Modification): Promise<'buffered' | 'safe'> {
    this.held.push(event)
    this.heldBytes += event.length
    if (this.held.length < MAX_WINDOW_ENTRIES && this.heldBytes < MAX_WINDOW_BYTES) return 'buffered'
    await this.execute(this.pending.get(this.snapshotting!)!)
    return this.releaseHeld()
  }

  private async releaseHeld(): Promise<'buffered' | 'safe'> {
    const { held } = this
    this.snapshotting = undefined
    this.held = []
    this.heldBytes = 0
    let outcome: 'buffered' | 'safe' = 'buffered'
    for (const event of held) outcome = await this.change(event)
    return outcome
  }

  private get windowFull(): boolean {
    return this.window.entries >= MAX_WINDOW_ENTRIES || this.window.bytes >= MAX_WINDOW_BYTES
  }

  private async flushed(): Promise<'safe'> {
    await this.flush()
    return 'safe'
  }

  private newWindow(): void {
    this.window = new WriteWindow(layoutOf(this.image.header))
  }

  private modify(event: Extract<JournalEvent, { type: 'aioWrite' | 'aioWriteSame' | 'aioDiscard' }>): void {
    // an event from before the sync point may lie beyond what the image was shrunk to since
    const room = this.image.header.size - event.offset
    if (room <= 0) return
    const length = Math.min(event.length, room)
    if (event.type === 'aioDiscard') this.window.discard(event.offset, length, event.discardGranularityBytes)
    else if (event.type === 'aioWrite') this.window.write(event.offset, event.data.subarray(0, length))
    else if (event.length % event.data.length === 0) this.window.writeSame(event.offset, event.length, event.data)
    else throw new UnreplayableEvent(event, `${event.length} bytes are no multiple of the pattern's ${event.data.length}`)
  }

  /** The comparison is between the image's bytes here and now: all that came before has to be there. */
  private async compareAndWrite(event: Extract<JournalEvent, { type: 'aioCompareAndWrite' }>): Promise<void> {
    await this.flush()
    if (event.offset + event.length > this.image.header.size) return
    const current = Buffer.alloc(event.length)
    for (const extent of imageToObjects(layoutOf(this.image.header), event.offset, event.length)) {
      const data = await this.readObject(extent.objectNumber, extent.offset, extent.length)
      let at = 0
      for (const [start, length] of extent.pieces) {
        data.copy(current, start, at, at + length)
        at += length
      }
    }
    // written already, by the primary or by an earlier replay, or it did not match there either
    if (current.equals(event.compare)) this.window.write(event.offset, event.data)
  }

  private async readObject(objectNumber: number, offset: number, length: number): Promise<Buffer> {
    try {
      return await this.image.dataAt(NO_SNAP).readData(dataObjectName(this.image.header.objectPrefix, objectNumber), offset, length)
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return Buffer.alloc(0)
      throw error
    }
  }

  private async start(event: StartEvent): Promise<void> {
    if (this.pending.has(event.opTid)) throw new UnreplayableEvent(event, `operation ${event.opTid} was begun before`)
    this.pending.set(event.opTid, event)
    if (event.type === 'snapCreate' && !isAboutSyncPoint(event)) this.snapshotting ??= event.opTid
    if (event.type !== 'resize' || event.size <= this.image.header.size) return
    this.sizeBefore.set(event.opTid, this.image.header.size)
    await this.resize(event.size)
  }

  /** @param result 0, or the negative errno with which it failed on the primary */
  private async finish(opTid: bigint, result: number): Promise<void> {
    const event = this.pending.get(opTid)
    // its start was committed in an earlier run, which did it
    if (!event) return
    const sizeBefore = this.sizeBefore.get(opTid)
    if (result === 0) await this.execute(event)
    else if (sizeBefore !== undefined) await this.resize(sizeBefore)
    else if (partial.has(event.type)) {
      throw new UnknownOutcome(event, `it failed half done on the primary (${errnoName(-result)})`)
    }
    this.pending.delete(opTid)
    this.sizeBefore.delete(opTid)
    if (this.snapshotting === opTid) await this.releaseHeld()
  }

  private async resize(size: number): Promise<void> {
    await resizeImageHere(this.image, { size, allowShrink: true })
    this.newWindow()
  }

  private async execute(event: StartEvent): Promise<void> {
    const { image } = this
    if (isAboutSyncPoint(event)) return
    try {
      switch (event.type) {
        case 'snapCreate':
          await createSnapshotHere(image, { name: event.snapName, namespace: event.snapNamespace })
          break
        case 'snapRemove':
          await this.withSnapshot(event, (snapshot) => removeSnapshotHere(image, snapshot.id))
          break
        case 'snapProtect':
          await this.withSnapshot(event, (snapshot) => protectSnapshotHere(image, snapshot.id))
          break
        case 'snapUnprotect':
          await this.withSnapshot(event, (snapshot) => unprotectSnapshotHere(image, snapshot.id))
          break
        case 'snapRollback':
          await this.withSnapshot(event, (snapshot) => rollBackSnapshotHere(image, snapshot.id))
          break
        case 'snapRename':
          await this.renameSnapshot(event)
          break
        case 'rename':
          await renameImageHere(image, event.imageName, { repeated: true })
          break
        case 'resize':
          await resizeImageHere(image, { size: event.size, allowShrink: true })
          break
        case 'flatten':
          await flattenImageHere(image)
          break
        case 'snapLimit':
          await setSnapshotLimit(image, event.limit)
          break
        case 'updateFeatures':
          await updateFeaturesHere(image, { features: event.features, enabled: event.enabled, journal: this.journalSwitch })
          break
        case 'metadataSet':
          await setMetadataHere(image, new Map([[event.key, Buffer.from(event.value)]]))
          break
        case 'metadataRemove':
          await removeMetadataHere(image, event.key)
      }
    } catch (error) {
      if (!saysDoneBefore(error, event)) throw error
    }
    this.newWindow()
  }

  /** A snapshot that is gone was dealt with in an earlier run, and removed later: its removal is an event further on. */
  private async withSnapshot(
    event: Extract<StartEvent, { snapName: string }>,
    act: (snapshot: ImageSnapshot) => Promise<void>,
  ): Promise<void> {
    const find = event.type === 'snapRemove' ? findSnapshotToRemove : findSnapshotByName
    const snapshot = find(await this.image.refreshIfNeeded(), event.snapNamespace.type, event.snapName)
    if (snapshot) await act(snapshot)
    else if (event.type === 'snapRollback') {
      throw new UnknownOutcome(event, `the local image has no snapshot ${event.snapName}`)
    }
  }

  /** The same for one that was renamed. */
  private async renameSnapshot(event: Extract<StartEvent, { type: 'snapRename' }>): Promise<void> {
    const header = await this.image.refreshIfNeeded()
    const mapped = this.snapshotIds.localId(event.snapId)
    const snapshot =
      (mapped === undefined ? undefined : findSnapshot(header, mapped)) ?? findSnapshotByName(header, 'user', event.fromName)
    if (snapshot) await renameSnapshotHere(this.image, snapshot.id, event.toName)
  }
}

/**
 * Snapshots that mirroring has made for its own first copies concern no replica. A daemon that finds nobody with the image's lock makes or removes them
 * without a word in the journal.
 */
function isAboutSyncPoint(event: StartEvent): boolean {
  return 'snapName' in event && event.snapNamespace.type === 'user' && SYNC_POINT_NAME.test(event.snapName)
}

/** Operations whose failure leaves the primary's bytes somewhere between before and after. */
const partial: ReadonlySet<JournalEventType> = new Set(['snapRollback', 'resize'])
