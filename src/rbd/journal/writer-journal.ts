import type { ObjectPosition } from '../../cls/journal/types.ts'
import { encode, type Utime } from '../../encoding/codec.ts'
import { commitPosition } from '../../journal/clients.ts'
import { advancePositions } from '../../journal/commit-position.ts'
import type { JournalRecorder } from '../../journal/recorder.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { Image } from '../image.ts'
import { journalOptionsOf } from '../mirror/journal-switch.ts'
import { EventEntry, type JournalEvent } from './events.ts'
import { IMAGE_CLIENT_ID, ImageJournal } from './image-journal.ts'
import type { OperationStart } from './operation-events.ts'
import { replayOwnJournal } from './own-replay.ts'
import { LOCAL_MIRROR_UUID } from './tag-data.ts'

type DataEvent = Extract<JournalEvent, { type: 'aioWrite' | 'aioDiscard' | 'aioFlush' }>

/** Commit positions are told after so long at the latest (rbd_journal_commit_age). */
const commitAgeMs = 5000
/** librbd's default of rbd_journal_max_payload_bytes: a longer write is several entries. */
const defaultMaxPayload = 16_384

/**
 * The journal of an image that is being written to, by the holder of its exclusive lock: an event is safe in the journal before what it says is
 * done, and committed after (librbd/Journal.cc).
 *
 *     open:  owner? → replay what an earlier owner of the lock has left → a tag of our own
 *     write: event → data → done      operation: event → done → finish event
 *     close: commit position → journal closed
 */
export class WriterJournal {
  /** appended entries in order; `done` once what they say is on stable storage */
  private uncommitted: { position: ObjectPosition; done: boolean }[] = []
  private committed: readonly ObjectPosition[]
  private committing: Promise<void> = Promise.resolve()
  private dirty = false
  private stopTimer: (() => void) | undefined
  private nextOpTid = 1n
  private failure: { error: unknown } | undefined

  private constructor(
    private readonly image: Image,
    private readonly journal: ImageJournal,
    private readonly recorder: JournalRecorder,
  ) {
    this.committed = journal.committed
  }

  /** Rejects with EPERM when the image is not primary. The lock is ours. */
  static async open(image: Image): Promise<WriterJournal> {
    const journal = await ImageJournal.open(journalOptionsOf(image))
    try {
      if (!journal.isOwner) {
        throw new RadosError(Errno.EPERM, { op: 'write to an image that is not primary', pool: image.io.poolName, oid: image.headerOid })
      }
      await replayOwnJournal(image, journal)
      const [newest] = journal.committed
      const { tid } = await journal.allocateTag({
        mirrorUuid: LOCAL_MIRROR_UUID,
        predecessor: {
          mirrorUuid: LOCAL_MIRROR_UUID,
          commitValid: newest !== undefined,
          tagTid: newest?.tagTid ?? 0n,
          entryTid: newest?.entryTid ?? 0n,
        },
      })
      return new WriterJournal(image, journal, journal.journal.record(tid))
    } catch (error) {
      await journal.close()
      throw error
    }
  }

  /** Bytes of data that one event may carry. */
  get maxPayload(): number {
    return Math.max(512, this.image.numericOption('rbd_journal_max_payload_bytes', defaultMaxPayload) - 64)
  }

  /** Records events, then does what they say. After a failure the next owner of the lock replays them. */
  async data(events: readonly DataEvent[], apply: () => Promise<void>): Promise<void> {
    const entries = await Promise.all(events.map((event) => this.append(event)))
    await apply()
    for (const entry of entries) entry.done = true
    this.commitSoon()
  }

  /** Records an operation, does it, and records how it ended. */
  async operation<T>(start: OperationStart, task: () => Promise<T>): Promise<T> {
    const opTid = this.nextOpTid++
    const begun = await this.append({ ...start, opTid })
    let result = 0
    try {
      return await task()
    } catch (error) {
      result = -(error instanceof RadosError ? error.errno : Errno.EIO)
      throw error
    } finally {
      const finished = await this.append({ type: 'opFinish', opTid, result })
      begun.done = finished.done = true
      this.commitSoon()
    }
  }

  /** Tells the journal how far we are. */
  async commit(): Promise<void> {
    this.stopTimer?.()
    this.stopTimer = undefined
    this.committing = this.committing.then(() => this.commitNow())
    await this.committing
    if (this.failure) throw this.failure.error
  }

  /** Nothing may be under way any more. */
  async close(): Promise<void> {
    try {
      await this.commit()
    } finally {
      await this.journal.close()
    }
  }

  /** The lock is lost: its next holder replays what is not committed. */
  async abandon(): Promise<void> {
    this.stopTimer?.()
    this.dirty = false
    await this.journal.close()
  }

  private async append(event: JournalEvent): Promise<{ position: ObjectPosition; done: boolean }> {
    const now = this.image.options.clock.now()
    const timestamp: Utime = { sec: Math.floor(now / 1000), nsec: (now % 1000) * 1_000_000 }
    timestamp.nsec = Math.floor(timestamp.nsec)
    const entry: { position: ObjectPosition; done: boolean } = { position: { objectNumber: 0, tagTid: 0n, entryTid: 0n }, done: false }
    // in the order of the calls, which is that of the entries
    this.uncommitted.push(entry)
    entry.position = await this.recorder.append(encode(EventEntry, { event, timestamp }))
    return entry
  }

  private commitSoon(): void {
    this.dirty = true
    this.stopTimer ??= this.image.options.clock.setTimer(commitAgeMs, () => {
      this.stopTimer = undefined
      this.committing = this.committing.then(() => this.commitNow())
    })
  }

  private async commitNow(): Promise<void> {
    if (!this.dirty) return
    this.dirty = false
    let end = 0
    while (end < this.uncommitted.length && this.uncommitted[end]!.done) end++
    if (end === 0) return
    const { metadata } = this.journal.journal
    const positions = this.uncommitted.splice(0, end).map(({ position }) => position)
    try {
      this.committed = advancePositions(this.committed, positions, metadata.splayWidth)
      await commitPosition(metadata, IMAGE_CLIENT_ID, this.committed)
      await this.journal.journal.trim()
    } catch (error) {
      this.failure = { error }
      this.image.options.log.error({ imageId: this.image.id, error: String(error) }, 'journal position not committed')
    }
  }
}
