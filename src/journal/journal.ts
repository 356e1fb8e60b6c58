import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import * as cls from '../cls/journal/client.ts'
import type { Client, ObjectPosition } from '../cls/journal/types.ts'
import { MalformedInput } from '../encoding/malformed-input.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { ReadOperation } from '../rados/operation.ts'
import type { JournalEntry } from './entry.ts'
import { JournalMetadata } from './metadata.ts'
import { journalDataName, journalDataPrefix, journalHeaderName } from './names.ts'
import { ObjectReader } from './object-reader.ts'
import { defaultPlayerLimits, JournalPlayer, type PlayerLimits } from './player.ts'
import { JournalRecorder } from './recorder.ts'
import { removeSet, trimJournal } from './trimmer.ts'

export interface JournalOptions {
  /** of the header: the image's own pool and namespace; stays the caller's */
  io: IoCtx
  /** an image's journal has the image's id */
  journalId: string
  /** opens the pool of the data objects where it is another one; closed with the journal */
  openPool: (id: bigint) => Promise<IoCtx>
  clock: Clock
  log: Log
}

/** An open journal: its header, and where its data lies. */
export class Journal {
  private constructor(
    private readonly options: JournalOptions,
    readonly metadata: JournalMetadata,
    private readonly data: IoCtx,
    private readonly dataPrefix: string,
  ) {}

  /** ENOENT without a journal. */
  static async open(options: JournalOptions): Promise<Journal> {
    const { io, journalId, log } = options
    const metadata = await JournalMetadata.open({ io, journalId, log })
    try {
      const data = await openData(options, metadata.poolId)
      return new Journal(options, metadata, data, journalDataPrefix(io.poolId, journalId))
    } catch (error) {
      await metadata.close()
      throw error
    }
  }

  client(id: string): Client | undefined {
    return this.metadata.clients.get(id)
  }

  /**
   * Plays what comes after `committed`.
   *
   * @param changed wakes the waiting player; changes of the header do so too
   * @returns the player, and what ends its being woken by the header
   */
  play(
    committed: readonly ObjectPosition[],
    limits: PlayerLimits = defaultPlayerLimits,
    changed = new Notifier(),
  ): { player: JournalPlayer; detach: () => void } {
    const player = new JournalPlayer({
      metadata: this.metadata,
      readObject: (objectNumber, offset, into) => this.readObject(objectNumber, offset, into),
      committed,
      clock: this.options.clock,
      changed,
      limits,
    })
    return { player, detach: this.metadata.subscribe(() => changed.wake()) }
  }

  /** The entries of an object set, in no particular order: without a client's position, and whatever was trimmed before. */
  async *entriesOfSet(set: number): AsyncGenerator<JournalEntry, undefined, undefined> {
    const { splayWidth, activeSet } = this.metadata
    for (let offset = 0; offset < splayWidth; offset++) {
      const reader = new ObjectReader(set * splayWidth + offset, this.readObject.bind(this), defaultPlayerLimits)
      while (reader.endSeenAtSet < activeSet && !reader.fault) {
        await reader.fetch(activeSet)
        for (let entry; (entry = reader.front); reader.shift()) yield entry
      }
      reader.checkTorn()
      if (reader.fault) throw new MalformedInput(this.metadata.oid, `object ${reader.objectNumber} at byte ${reader.fault.offset}: ${reader.fault.detail}`)
    }
  }

  /** For appending under a tag that was created for it. */
  record(tagTid: bigint): JournalRecorder {
    return new JournalRecorder(this.metadata, this.data, this.dataPrefix, tagTid)
  }

  /** Removes what every client has committed; resolves with the number of object sets. */
  trim(signal?: AbortSignal): Promise<number> {
    return trimJournal(this.metadata, this.data, this.dataPrefix, signal)
  }

  async close(): Promise<void> {
    await this.metadata.close()
    this.data.close()
  }

  private async readObject(objectNumber: number, offset: number, into: Buffer): Promise<number> {
    const operation = new ReadOperation()
    const handle = operation.read(offset, into.length, into)
    try {
      const results = await this.data.read(journalDataName(this.dataPrefix, objectNumber), operation)
      return results.get(handle).length
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return 0
      throw error
    }
  }
}

async function openData({ io, openPool }: JournalOptions, poolId: bigint): Promise<IoCtx> {
  if (poolId < 0n || poolId === io.poolId) return io.duplicate({})
  const pool = await openPool(poolId)
  try {
    return pool.duplicate({ namespace: io.namespace })
  } finally {
    pool.close()
  }
}

/** Bounds of a journal's order that Ceph accepts: objects of 4 KiB to 64 MiB (Journaler::create). */
export const JOURNAL_ORDER = { min: 12, max: 26, default: 24 } as const
export const DEFAULT_SPLAY_WIDTH = 4

/** EEXIST when there is one. `poolId` -1: the data lies in the header's pool. */
export async function createJournal(
  io: IoCtx,
  journalId: string,
  layout: { order?: number; splayWidth?: number; poolId?: bigint } = {},
): Promise<void> {
  const { order = JOURNAL_ORDER.default, splayWidth = DEFAULT_SPLAY_WIDTH, poolId = -1n } = layout
  await cls.create.call(io, journalHeaderName(journalId), { order, splayWidth, poolId })
}

/** Removes a journal whoever its clients are; done again after a failure it goes on. */
export async function removeJournal(options: JournalOptions): Promise<void> {
  const { io, journalId } = options
  const oid = journalHeaderName(journalId)
  try {
    const [poolId, splayWidth] = [await cls.getPoolId.call(io, oid, undefined), await cls.getSplayWidth.call(io, oid, undefined)]
    const [minimum, active] = [await cls.getMinimumSet.call(io, oid, undefined), await cls.getActiveSet.call(io, oid, undefined)]
    const data = await openData(options, poolId)
    try {
      for (let set = minimum; set <= active; set++) await removeSet(data, journalDataPrefix(io.poolId, journalId), set, splayWidth)
    } finally {
      data.close()
    }
    await io.remove(oid)
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
}
