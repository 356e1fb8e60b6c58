import { KeyedMutex } from '../base/keyed-mutex.ts'
import * as cls from '../cls/journal/client.ts'
import type { ObjectPosition } from '../cls/journal/types.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { ENTRY_OVERHEAD, encodeEntry } from './entry.ts'
import type { JournalMetadata } from './metadata.ts'
import { journalDataName } from './names.ts'

/**
 * Appends entries under one new tag, each after the one before it is safe: for events of ownership, not for I/O. The writer has
 * to be the only one of its tag (JournalRecorder.cc, ObjectRecorder.cc).
 */
export class JournalRecorder {
  private readonly order = new KeyedMutex()
  private nextEntryTid = 0n

  constructor(
    private readonly metadata: JournalMetadata,
    private readonly data: IoCtx,
    private readonly dataPrefix: string,
    readonly tagTid: bigint,
  ) {}

  /** Resolves with where the entry lies once it is safe. */
  append(payload: Buffer): Promise<ObjectPosition> {
    return this.order.run('append', () => this.appendNext(payload))
  }

  private async appendNext(payload: Buffer): Promise<ObjectPosition> {
    const { splayWidth, objectSize } = this.metadata
    if (ENTRY_OVERHEAD + payload.length > objectSize) throw new RangeError(`a journal entry of ${payload.length} bytes does not fit`)
    const entryTid = this.nextEntryTid
    const entry = encodeEntry({ tagTid: this.tagTid, entryTid, data: payload })
    for (;;) {
      const set = this.metadata.activeSet
      const objectNumber = set * splayWidth + Number(entryTid % BigInt(splayWidth))
      try {
        await cls.append.call(this.data, journalDataName(this.dataPrefix, objectNumber), { softMaxSize: objectSize, data: entry })
      } catch (error) {
        if (!isErrno(error, Errno.EOVERFLOW)) throw error
        await this.advance(set + 1)
        continue
      }
      this.nextEntryTid++
      return { objectNumber, tagTid: this.tagTid, entryTid }
    }
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
