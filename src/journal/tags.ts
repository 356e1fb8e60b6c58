import * as cls from '../cls/journal/client.ts'
import { JOURNAL_MAX_RETURN, type Tag } from '../cls/journal/types.ts'
import { Errno, isErrno, RadosError } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { journalHeaderName } from './names.ts'

/* A journal's tags: epochs in which one owner writes it. */

/** Others may create tags at the same time; so often they may win. */
const maxRaces = 16

/**
 * The tags of a class that a client still needs, in ascending order; ENOENT when the client is not registered.
 *
 * @param startAfter only later ones; 0 for all
 */
export async function listTags(io: IoCtx, journalId: string, clientId: string, tagClass?: bigint, startAfter = 0n): Promise<Tag[]> {
  const tags: Tag[] = []
  for (;;) {
    const page = await cls.tagList.call(io, journalHeaderName(journalId), { startAfter, max: JOURNAL_MAX_RETURN, clientId, tagClass })
    tags.push(...page)
    const last = page.at(-1)
    if (page.length < JOURNAL_MAX_RETURN || !last || last.tid <= startAfter) return tags
    startAfter = last.tid
  }
}

/** ENOENT when there is no such tag. */
export function getTag(io: IoCtx, journalId: string, tid: bigint): Promise<Tag> {
  return cls.getTag.call(io, journalHeaderName(journalId), { tid })
}

/**
 * Begins a new epoch.
 *
 * @param tagClass an existing class, or TAG_CLASS_NEW
 */
export async function createTag(io: IoCtx, journalId: string, tagClass: bigint, data: Buffer): Promise<Tag> {
  const oid = journalHeaderName(journalId)
  for (let race = 0; ; race++) {
    const tid = await cls.getNextTagTid.call(io, oid, undefined)
    try {
      await cls.tagCreate.call(io, oid, { tid, tagClass, data })
    } catch (error) {
      if (race >= maxRaces || !isErrno(error, Errno.ESTALE, Errno.EEXIST)) throw error
      continue
    }
    return getTag(io, journalId, tid)
  }
}

/** Begins the epoch `tid`, if none was begun since the one before it: ESTALE otherwise. Done again after a lost reply it finds its own. */
export async function createTagAfter(io: IoCtx, journalId: string, before: Pick<Tag, 'tid' | 'tagClass'>, data: Buffer): Promise<Tag> {
  const oid = journalHeaderName(journalId)
  const tid = before.tid + 1n
  try {
    await cls.tagCreate.call(io, oid, { tid, tagClass: before.tagClass, data })
  } catch (error) {
    if (!isErrno(error, Errno.ESTALE, Errno.EEXIST)) throw error
    const there = await getTag(io, journalId, tid)
    if (there.tagClass !== before.tagClass || !there.data.equals(data)) {
      throw new RadosError(Errno.ESTALE, { op: `begin tag ${tid}`, cluster: io.clusterName, pool: io.poolName, oid, cause: error })
    }
    return there
  }
  return getTag(io, journalId, tid)
}
