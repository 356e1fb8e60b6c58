import * as cls from '../cls/journal/client.ts'
import type { Client } from '../cls/journal/types.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import type { JournalMetadata } from './metadata.ts'
import { journalDataName } from './names.ts'

/** The oldest object set that a client still needs; disconnected clients need none (JournalTrimmer::handle_metadata_updated). */
export function minimumCommittedSet(
  journal: { splayWidth: number; minimumSet: number; activeSet: number },
  clients: Iterable<Client>,
): number {
  let minimum = journal.activeSet
  for (const { state, commitPosition } of clients) {
    if (state === 'disconnected') continue
    if (commitPosition.objectPositions.length === 0) return journal.minimumSet
    for (const { objectNumber } of commitPosition.objectPositions) minimum = Math.min(minimum, Math.floor(objectNumber / journal.splayWidth))
  }
  return Math.max(minimum, journal.minimumSet)
}

/**
 * Removes the object sets that every client has committed, each before the header says so, so that nothing is forgotten by a crash.
 *
 * @param data where the data objects lie
 * @returns the number of sets removed
 */
export async function trimJournal(metadata: JournalMetadata, data: IoCtx, dataPrefix: string, signal?: AbortSignal): Promise<number> {
  const { splayWidth, minimumSet } = metadata
  const target = minimumCommittedSet(metadata, metadata.clients.values())
  for (let set = minimumSet; set < target; set++) {
    signal?.throwIfAborted()
    await removeSet(data, dataPrefix, set, splayWidth)
    await setMinimumSet(metadata, set + 1)
  }
  if (target > minimumSet) {
    await metadata.notify()
    await metadata.refresh()
  }
  return target - minimumSet
}

/** Removes the data objects of one set, as far as they exist. */
export async function removeSet(data: IoCtx, dataPrefix: string, set: number, splayWidth: number): Promise<void> {
  const numbers = Array.from({ length: splayWidth }, (_, offset) => set * splayWidth + offset)
  await Promise.all(
    numbers.map(async (number) => {
      try {
        await data.remove(journalDataName(dataPrefix, number))
      } catch (error) {
        if (!isErrno(error, Errno.ENOENT)) throw error
      }
    }),
  )
}

async function setMinimumSet(metadata: JournalMetadata, objectSet: number): Promise<void> {
  try {
    await cls.setMinimumSet.call(metadata.io, metadata.oid, { objectSet })
  } catch (error) {
    if (!isErrno(error, Errno.ESTALE)) throw error // another client has trimmed farther
  }
}
