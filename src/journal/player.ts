import type { Clock } from '../base/clock.ts'
import type { Notifier } from '../base/notifier.ts'
import type { ObjectPosition } from '../cls/journal/types.ts'
import type { JournalEntry } from './entry.ts'
import { ObjectReader, type JournalFault, type ReadObject } from './object-reader.ts'

/** What the player has to know of a journal's header; `refresh` reads it anew. */
export interface PlayerMetadata {
  readonly splayWidth: number
  readonly minimumSet: number
  readonly activeSet: number
  /** one more than the newest tag */
  readonly nextTagTid: bigint
  refresh(): Promise<void>
}

export interface PlayedEntry extends JournalEntry {
  objectNumber: number
}

export type Played =
  /** never empty; in the order in which they were written */
  | { type: 'entries'; entries: PlayedEntry[] }
  /** nothing more is there now */
  | { type: 'idle' }
  | JournalFault
  /** an entry that has to exist before one that does; `objectNumber` is where the later one lies */
  | { type: 'missing'; tagTid: bigint; entryTid: bigint; objectNumber: number }

/** Read each time they are needed: they may change. */
export interface PlayerLimits {
  /** most bytes fetched at once from an object, and buffered of it; a larger entry is fetched nevertheless */
  readonly maxFetchBytes: number
  /** bytes of payload after which a batch is given out */
  readonly maxBatchBytes: number
  /** milliseconds between looks at a journal in which nothing happens */
  readonly maxPollMs: number
}

export const defaultPlayerLimits: PlayerLimits = { maxFetchBytes: 4 * 1024 * 1024, maxBatchBytes: 4 * 1024 * 1024, maxPollMs: 5_000 }

const minPollMs = 30
/** Under a steady load: fewer looks, each for more entries, cost less of both clusters and daemon than the lag they add is worth. */
const steadyPollMs = 60
/** so many looks in a row that brought entries are a steady load */
const steadyAfter = 3
const pollGrowth = 1.5
/** While nothing comes the header is read again at most this often. */
const refreshMs = 1_000

export interface PlayerOptions {
  metadata: PlayerMetadata
  readObject: ReadObject
  /** the client's commit position, the newest first; empty: begin with the oldest set */
  committed: readonly ObjectPosition[]
  clock: Clock
  /** woken when something may have happened in the journal */
  changed: Notifier
  limits?: PlayerLimits
}

/** Where playing stands: at the beginning, within a tag, or before the first entry of the tag that follows `after`. */
type Cursor = { type: 'start' } | { type: 'tag'; tagTid: bigint; nextEntryTid: bigint } | { type: 'betweenTags'; after: bigint }

type Step = Exclude<Played, { type: 'idle' }> | { type: 'fetch'; reader: ObjectReader } | { type: 'end'; reader: ObjectReader }

/**
 * Gives a journal's entries in the order in which they were written. Entry n of a tag lies in an object whose number is n modulo the
 * splay width, so that the objects of a set are read side by side; an object is complete when its end was seen while a later set was
 * active; a tag's first entry lies at splay offset 0, and a tag is over when a later one exists and the next entry still does
 * not (JournalPlayer.cc).
 *
 *     read → entries, read → entries, …, read → idle, wait, read → …
 */
export class JournalPlayer {
  private readonly readers: ObjectReader[] = []
  private readonly limits: PlayerLimits
  private cursor: Cursor
  private pollMs = minPollMs
  private pollDue = false
  private broughtEntries = false
  private successes = 0
  private refreshedAt = -Infinity

  constructor(private readonly options: PlayerOptions) {
    this.limits = options.limits ?? defaultPlayerLimits
    const { splayWidth, minimumSet } = options.metadata
    const committed = new Map(options.committed.map((position) => [position.objectNumber % splayWidth, position.objectNumber]))
    for (let offset = 0; offset < splayWidth; offset++) {
      const oldest = minimumSet * splayWidth + offset
      this.readers.push(this.newReader(Math.max(oldest, committed.get(offset) ?? oldest)))
    }
    const newest = options.committed[0]
    this.cursor = newest ? { type: 'tag', tagTid: newest.tagTid, nextEntryTid: newest.entryTid + 1n } : { type: 'start' }
  }

  /** The next entries, or why there are none now. Rejects with RadosError; may be called again then. */
  async read(): Promise<Played> {
    for (;;) {
      const step = this.step()
      const { activeSet } = this.options.metadata
      switch (step.type) {
        case 'entries':
          this.broughtEntries = true
          for (const reader of this.readers) reader.prefetch(activeSet)
          return step
        case 'corrupt':
        case 'missing':
          return step
        case 'fetch':
          for (const reader of this.readers) if (reader !== step.reader) reader.prefetch(activeSet)
          await step.reader.fetch(activeSet)
          break
        case 'end':
          if (!(await this.lookBeyond(step.reader))) return { type: 'idle' }
      }
    }
  }

  /** Resolves when it is time to look again: soon after entries came, ever later while none do, at once when the journal changes. */
  async wait(signal?: AbortSignal): Promise<void> {
    this.successes = this.broughtEntries ? this.successes + 1 : 0
    if (this.broughtEntries) this.pollMs = this.successes > steadyAfter ? steadyPollMs : minPollMs
    this.broughtEntries = false
    const outcome = await this.options.changed.wait(this.options.clock, Math.min(this.pollMs, this.limits.maxPollMs), signal)
    this.pollMs = outcome === 'woken' ? minPollMs : Math.min(this.pollMs * pollGrowth, this.limits.maxPollMs)
    this.pollDue = true
  }

  private newReader(objectNumber: number): ObjectReader {
    return new ObjectReader(objectNumber, this.options.readObject, this.limits)
  }

  /** What can be done with what has been fetched. */
  private step(): Step {
    switch (this.cursor.type) {
      case 'start':
        return this.begin()
      case 'tag':
        return this.continueTag(this.cursor)
      case 'betweenTags':
        return this.nextTag(this.cursor.after)
    }
  }

  /** Without a commit position: begins with the oldest tag, where the entries of all objects follow one another without a gap. */
  private begin(): Step {
    const fronts: JournalEntry[] = []
    for (let offset = 0; offset < this.readers.length; offset++) {
      const { front, stop } = this.look(offset)
      if (front) fronts.push(front)
      else if (stop && stop.type !== 'end') return stop
    }
    if (fronts.length === 0) return { type: 'end', reader: this.readers[0]! }
    const tagTid = fronts.reduce((lowest, { tagTid }) => (tagTid < lowest ? tagTid : lowest), fronts[0]!.tagTid)
    const tids = fronts.filter((front) => front.tagTid === tagTid).map(({ entryTid }) => entryTid)
    const highest = tids.reduce((a, b) => (a > b ? a : b))
    const lowest = tids.reduce((a, b) => (a < b ? a : b))
    // objects of a set do not end with the same round of entries: what is left of a round whose rest was trimmed is left out
    const gapless = highest - BigInt(this.readers.length) + 1n
    this.cursor = { type: 'tag', tagTid, nextEntryTid: gapless > lowest ? gapless : lowest }
    return this.step()
  }

  private continueTag(cursor: Extract<Cursor, { type: 'tag' }>): Step {
    const { tagTid } = cursor
    const entries: PlayedEntry[] = []
    let bytes = 0
    let offset = Number(cursor.nextEntryTid % BigInt(this.readers.length))
    for (;;) {
      const { front, reader, stop } = this.look(offset)
      if (!front) return entries.length > 0 ? { type: 'entries', entries } : stop!
      if (front.tagTid < tagTid || (front.tagTid === tagTid && front.entryTid < cursor.nextEntryTid)) {
        reader.shift()
        continue
      }
      if (front.tagTid > tagTid) {
        this.cursor = { type: 'betweenTags', after: tagTid }
        return entries.length > 0 ? { type: 'entries', entries } : this.step()
      }
      if (front.entryTid > cursor.nextEntryTid) {
        if (entries.length > 0) return { type: 'entries', entries }
        return { type: 'missing', tagTid, entryTid: cursor.nextEntryTid, objectNumber: reader.objectNumber }
      }
      reader.shift()
      entries.push({ ...front, objectNumber: reader.objectNumber })
      cursor.nextEntryTid++
      offset = (offset + 1) % this.readers.length
      bytes += front.data.length
      if (bytes >= this.limits.maxBatchBytes) return { type: 'entries', entries }
    }
  }

  private nextTag(after: bigint): Step {
    for (let offset = this.readers.length - 1; offset > 0; offset--) this.dropTags(offset, after)
    const { front, reader, stop } = this.dropTags(0, after)
    if (!front) return stop!
    if (front.entryTid !== 0n) return { type: 'missing', tagTid: front.tagTid, entryTid: 0n, objectNumber: reader.objectNumber }
    this.cursor = { type: 'tag', tagTid: front.tagTid, nextEntryTid: 0n }
    return this.step()
  }

  /** Drops what is left of tags up to `last` at a splay offset. */
  private dropTags(offset: number, last: bigint): ReturnType<JournalPlayer['look']> {
    for (;;) {
      const found = this.look(offset)
      if (!found.front || found.front.tagTid > last) return found
      found.reader.shift()
    }
  }

  /** The oldest entry at a splay offset, or else what stands in the way: a fetch, a fault, the end. */
  private look(offset: number): { reader: ObjectReader; front: JournalEntry | undefined; stop: Step | undefined } {
    const { splayWidth, activeSet, minimumSet } = this.options.metadata
    for (;;) {
      const reader = this.readers[offset]!
      const { front } = reader
      if (front) return { reader, front, stop: undefined }
      const complete = reader.endSeenAtSet > Math.floor(reader.objectNumber / splayWidth)
      if (complete) reader.checkTorn()
      if (reader.fault) return { reader, front, stop: reader.fault }
      if (!complete) return { reader, front, stop: { type: reader.endSeenAtSet < activeSet ? 'fetch' : 'end', reader } }
      this.readers[offset] = this.newReader(Math.max(reader.objectNumber + splayWidth, minimumSet * splayWidth + offset))
    }
  }

  /** At the end of what is known: looks for more. True when there may be some. */
  private async lookBeyond(reader: ObjectReader): Promise<boolean> {
    const { metadata, clock } = this.options
    if (this.pollDue) {
      this.pollDue = false
      await reader.fetchAnew(metadata.activeSet)
      if (reader.front) {
        // the entries after it lie in the other objects
        const others = this.readers.filter((other) => other !== reader && !other.front)
        await Promise.all(others.map((other) => other.fetchAnew(metadata.activeSet)))
        return true
      }
    }
    if (clock.monotonic() - this.refreshedAt >= refreshMs) {
      this.refreshedAt = clock.monotonic()
      await metadata.refresh()
      if (reader.endSeenAtSet < metadata.activeSet) return true
    }
    if (this.cursor.type !== 'tag' || !this.isSucceeded(this.cursor.tagTid)) return false
    // whoever made the newer tag has seen to it that nobody writes under the old one: look once more, then it is over
    await reader.fetchAnew(metadata.activeSet)
    if (!reader.front && !reader.fault) this.cursor = { type: 'betweenTags', after: this.cursor.tagTid }
    return true
  }

  private isSucceeded(tagTid: bigint): boolean {
    return this.options.metadata.nextTagTid > tagTid + 1n || this.readers.some(({ front }) => front !== undefined && front.tagTid > tagTid)
  }
}
