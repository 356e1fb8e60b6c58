import * as cls from '../cls/journal/client.ts'
import type { ObjectPosition } from '../cls/journal/types.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { ENTRY_OVERHEAD, encodeEntry } from './entry.ts'
import type { JournalMetadata } from './metadata.ts'
import { journalDataName } from './names.ts'

/** Entries that go into one append per object; what comes meanwhile waits for the next one. */
const maxEntriesAtOnce = 1024

/** An append may begin just below the object's size: entries of more than this part of it do not go together. */
const maxAppendPart = 1 / 4

interface Waiting {
  entryTid: bigint
  entry: Buffer
  resolve: (position: ObjectPosition) => void
  reject: (error: unknown) => void
}

/**
 * Appends entries under one new tag: what comes while appends are under way goes together into the next ones, one for each object. The writer
 * has to be the only one of its tag. After a failure nothing more is appended: it is unknown what was (JournalRecorder.cc, ObjectRecorder.cc).
 */
export class JournalRecorder {
  private nextEntryTid = 0n
  private waiting: Waiting[] = []
  private running = false
  private failure: { error: unknown } | undefined

  constructor(
    private readonly metadata: JournalMetadata,
    private readonly data: IoCtx,
    private readonly dataPrefix: string,
    readonly tagTid: bigint,
  ) {}

  /** Resolves with where the entry lies once it is safe. Entries are in the order of the calls. */
  append(payload: Buffer): Promise<ObjectPosition> {
    if (ENTRY_OVERHEAD + payload.length > this.metadata.objectSize) {
      return Promise.reject(new RangeError(`a journal entry of ${payload.length} bytes does not fit`))
    }
    return new Promise((resolve, reject) => {
      const entryTid = this.nextEntryTid++
      this.waiting.push({ entryTid, entry: encodeEntry({ tagTid: this.tagTid, entryTid, data: payload }), resolve, reject })
      if (this.running) return
      this.running = true
      queueMicrotask(() => void this.run())
    })
  }

  private async run(): Promise<void> {
    while (this.waiting.length > 0) {
      const batch = this.waiting.splice(0, maxEntriesAtOnce)
      try {
        if (this.failure) throw this.failure.error
        await this.write(batch)
      } catch (error) {
        this.failure = { error }
        for (const { reject } of batch) reject(error) // those that are safe have been told
      }
    }
    this.running = false
  }

  /** One append for each object of the active set; what finds its object full goes into the next set. */
  private async write(entries: readonly Waiting[]): Promise<void> {
    const { splayWidth } = this.metadata
    for (let left = entries; left.length > 0; ) {
      const set = this.metadata.activeSet
      const offsets = Array.from({ length: splayWidth }, (_, offset) => left.filter(({ entryTid }) => Number(entryTid % BigInt(splayWidth)) === offset))
      const refused = await Promise.all(offsets.map((own, offset) => this.writeObject(set * splayWidth + offset, own)))
      left = refused.flat().sort((a, b) => Number(a.entryTid - b.entryTid))
      if (left.length > 0) await this.advance(set + 1)
    }
  }

  /** Resolves with those that are not written because the object is full. */
  private async writeObject(objectNumber: number, entries: readonly Waiting[]): Promise<readonly Waiting[]> {
    const { objectSize } = this.metadata
    const most = objectSize * maxAppendPart
    for (let first = 0; first < entries.length; ) {
      let end = first + 1
      let bytes = entries[first]!.entry.length
      while (end < entries.length && bytes + entries[end]!.entry.length <= most) bytes += entries[end++]!.entry.length
      const some = entries.slice(first, end)
      const data = some.length === 1 ? some[0]!.entry : Buffer.concat(some.map(({ entry }) => entry))
      try {
        await cls.append.call(this.data, journalDataName(this.dataPrefix, objectNumber), { softMaxSize: objectSize, data })
      } catch (error) {
        if (isErrno(error, Errno.EOVERFLOW)) return entries.slice(first)
        throw error
      }
      for (const { entryTid, resolve } of some) resolve({ objectNumber, tagTid: this.tagTid, entryTid })
      first = end
    }
    return []
  }

  /** No append is under way: the set is closed as soon as the next one is active. */
  private async advance(objectSet: number): Promise<void> {
    try {
      await cls.setActiveSet.call(this.metadata.io, this.metadata.oid, { objectSet })
    } catch (error) {
      if (!isErrno(error, Errno.ESTALE)) throw error // another client was faster
    }
    await this.metadata.notify()
    await this.metadata.refresh()
  }
}
