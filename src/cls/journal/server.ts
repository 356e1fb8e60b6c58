import { bytes, encode, list, nothing, optional, s64, string, u64, u8, type Codec } from '../../encoding/codec.ts'
import { fields } from '../../encoding/struct.ts'
import type { ObjectContext } from '../../objclass/object-context.ts'
import type { ServerMethod } from '../../objclass/registry.ts'
import { Errno } from '../../rados/errors.ts'
import { atMostSafe, entries, hex16, refused, removeKey, serverClass, setValue, storedValues, unlessMissing } from '../server-method.ts'
import { Client, ClientState, JOURNAL_MAX_RETURN, ObjectSetPosition, Tag, TAG_CLASS_NEW } from './types.ts'

/* Object class `journal` on the server side (cls/journal/cls_journal.cc). */

const { read, write } = serverClass('journal')
const stored = storedValues(Errno.EINVAL)
const storedInLists = storedValues(Errno.EIO)

const ORDER = 'order'
const SPLAY_WIDTH = 'splay_width'
const POOL_ID = 'pool_id'
const MINIMUM_SET = 'minimum_set'
const ACTIVE_SET = 'active_set'
const NEXT_TAG_TID = 'next_tag_tid'
const NEXT_TAG_CLASS = 'next_tag_class'
const CLIENT_PREFIX = 'client_'
const TAG_PREFIX = 'tag_'
/** The most that client_list gives: it asks the omap once. */
const MAX_CLIENTS = 1024

const clientKey = (id: string) => CLIENT_PREFIX + id
const tagKey = (tid: bigint) => TAG_PREFIX + hex16(tid)
const getValue = <T>(name: string, key: string, codec: Codec<T>) => read(name, nothing, codec, (object) => stored.get(object, key, codec))

// --- header ---

const create = write('create', fields({ order: u8, splayWidth: u8, poolId: s64 }), async (object, { order, splayWidth, poolId }) => {
  if (await unlessMissing(object.omapGetValue(ORDER))) throw refused(Errno.EEXIST, 'the journal exists')
  const zero = encode(u64, 0n)
  object.omapSet(
    new Map([
      [ORDER, encode(u8, order)],
      [SPLAY_WIDTH, encode(u8, splayWidth)],
      [POOL_ID, encode(s64, poolId)],
      [ACTIVE_SET, zero],
      [MINIMUM_SET, zero],
      [NEXT_TAG_TID, zero],
      [NEXT_TAG_CLASS, zero],
    ]),
  )
})

const setMinimumSet = write('set_minimum_set', fields({ objectSet: u64 }), async (object, { objectSet }) => {
  if ((await stored.get(object, ACTIVE_SET, u64)) < objectSet) throw refused(Errno.EINVAL, 'the minimum set is beyond the active one')
  advance(object, MINIMUM_SET, await stored.get(object, MINIMUM_SET, u64), objectSet)
})

const setActiveSet = write('set_active_set', fields({ objectSet: u64 }), async (object, { objectSet }) => {
  if ((await stored.get(object, MINIMUM_SET, u64)) > objectSet) throw refused(Errno.EINVAL, 'the active set is before the minimum one')
  advance(object, ACTIVE_SET, await stored.get(object, ACTIVE_SET, u64), objectSet)
})

function advance(object: ObjectContext, key: string, current: bigint, wanted: bigint): void {
  if (wanted < current) throw refused(Errno.ESTALE, `${key} is at ${current} already`)
  if (wanted > current) setValue(object, key, u64, wanted)
}

// --- clients ---

const id = fields({ id: string })

const getClient = read('get_client', id, Client, (object, args) => stored.get(object, clientKey(args.id), Client))

/** The clients' records, by id. */
async function clients(object: ObjectContext, startAfter?: string, max = Infinity): Promise<Client[]> {
  const page = await entries(object, CLIENT_PREFIX, startAfter, max)
  return page.map(([key, value]) => storedInLists.parse(Client, value, key))
}

/** Where a new client starts: at the position of the client that is furthest behind. */
async function minimumCommitPosition(object: ObjectContext): Promise<ObjectSetPosition> {
  let minimum: ObjectSetPosition = { objectPositions: [] }
  let least: ObjectSetPosition['objectPositions'][number] | undefined
  const all = await clients(object)
  for (let start = 0; start < all.length; start += JOURNAL_MAX_RETURN) {
    for (const { state, commitPosition } of all.slice(start, start + JOURNAL_MAX_RETURN)) {
      if (state === 'disconnected') continue
      const [first] = commitPosition.objectPositions
      if (!first) {
        minimum = { objectPositions: [] }
        break
      }
      if (!least || first.tagTid < least.tagTid || (first.tagTid === least.tagTid && first.entryTid < least.entryTid)) {
        least = first
        minimum = commitPosition
      }
    }
  }
  return minimum
}

const clientRegister = write('client_register', fields({ id: string, data: bytes }), async (object, args) => {
  await stored.get(object, ORDER, u8)
  const key = clientKey(args.id)
  if (await unlessMissing(object.omapGetValue(key))) throw refused(Errno.EEXIST, `client ${args.id} is registered`)
  setValue(object, key, Client, { ...args, commitPosition: await minimumCommitPosition(object), state: 'connected' })
})

async function changeClient(object: ObjectContext, { id, ...changes }: Partial<Client> & { id: string }): Promise<void> {
  const key = clientKey(id)
  setValue(object, key, Client, { ...(await stored.get(object, key, Client)), ...changes })
}

const clientUpdateData = write('client_update_data', fields({ id: string, data: bytes }), changeClient)
const clientUpdateState = write('client_update_state', fields({ id: string, state: ClientState }), changeClient)

const clientUnregister = write('client_unregister', id, async (object, args) => {
  const key = clientKey(args.id)
  await object.omapGetValue(key)
  object.omapRemoveKeys([key])
  await expireTags(object, args.id)
})

const clientCommit = write('client_commit', fields({ id: string, commitPosition: ObjectSetPosition }), async (object, args) => {
  const splayWidth = await stored.get(object, SPLAY_WIDTH, u8)
  if (args.commitPosition.objectPositions.length > splayWidth) throw refused(Errno.EINVAL, `more positions than ${splayWidth} splay objects`)
  const key = clientKey(args.id)
  const client = await stored.get(object, key, Client)
  if (encode(ObjectSetPosition, client.commitPosition).equals(encode(ObjectSetPosition, args.commitPosition))) return
  setValue(object, key, Client, { ...client, commitPosition: args.commitPosition })
})

const clientList = read('client_list', fields({ startAfter: string, max: atMostSafe }), list(Client), async (object, { startAfter, max }) => {
  // looks before it counts
  const page = await clients(object, startAfter === '' ? undefined : startAfter, Math.min(Math.max(max, 1), MAX_CLIENTS))
  return page.slice(0, max)
})

// --- tags ---

/**
 * Removes the tags that no client needs any more: in each class all but the newest one that is not behind the clients' oldest position.
 * Nothing is removed while a connected client has no position.
 */
async function expireTags(object: ObjectContext, leavingClient?: string): Promise<void> {
  let minimum: bigint | undefined
  for (const { id, state, commitPosition } of await clients(object)) {
    if (id === leavingClient || state === 'disconnected') continue
    if (commitPosition.objectPositions.length === 0) return
    for (const { tagTid } of commitPosition.objectPositions) if (minimum === undefined || tagTid < minimum) minimum = tagTid
  }
  if (minimum === undefined) return
  const tags: Tag[] = []
  for (const [key, value] of await entries(object, TAG_PREFIX, '')) {
    const tag = storedInLists.parse(Tag, value, key)
    if (hex16(tag.tid) !== key) throw refused(Errno.EINVAL, `tag ${key} says that it is ${tag.tid}`)
    tags.push(tag)
    if (tag.tid >= minimum) break
  }
  const newest = new Map(tags.map(({ tagClass, tid }) => [tagClass, tid]))
  for (const { tagClass, tid } of tags) if (tid < newest.get(tagClass)!) removeKey(object, tagKey(tid))
}

const getTag = read('get_tag', fields({ tid: u64 }), Tag, (object, { tid }) => stored.get(object, tagKey(tid), Tag))

const tagCreate = write('tag_create', fields({ tid: u64, tagClass: u64, data: bytes }), async (object, { tid, tagClass, data }) => {
  if (await unlessMissing(object.omapGetValue(tagKey(tid)))) throw refused(Errno.EEXIST, `tag ${tid} exists`)
  if (tid !== (await stored.get(object, NEXT_TAG_TID, u64))) throw refused(Errno.ESTALE, `${tid} is not the next tag`)
  const nextClass = await stored.get(object, NEXT_TAG_CLASS, u64)
  if (tagClass === TAG_CLASS_NEW) setValue(object, NEXT_TAG_CLASS, u64, nextClass + 1n)
  else if (tagClass >= nextClass) throw refused(Errno.EINVAL, `there is no tag class ${tagClass}`)
  await expireTags(object)
  setValue(object, NEXT_TAG_TID, u64, tid + 1n)
  setValue(object, tagKey(tid), Tag, { tid, tagClass: tagClass === TAG_CLASS_NEW ? nextClass : tagClass, data })
})

const tagListInput = fields({ startAfter: u64, max: atMostSafe, clientId: string, tagClass: optional(u64) })

const tagList = read('tag_list', tagListInput, list(Tag), async (object, { startAfter, max, clientId, tagClass }) => {
  const { commitPosition } = await stored.get(object, clientKey(clientId), Client)
  const tags = (await entries(object, TAG_PREFIX, '')).map(([key, value]) => storedInLists.parse(Tag, value, key))
  let minimum: bigint | undefined
  for (const { tagTid } of commitPosition.objectPositions) if (minimum === undefined || tagTid < minimum) minimum = tagTid
  const needed = new Map<bigint, bigint>()
  if (minimum !== undefined) {
    for (const tag of tags) {
      needed.set(tag.tagClass, tag.tid)
      if (tag.tid >= minimum) break
    }
  }
  const found: Tag[] = []
  for (const tag of tags) {
    if (startAfter !== 0n && tag.tid <= startAfter) continue
    if (tag.tid >= (needed.get(tag.tagClass) ?? 0n) && (tagClass === undefined || tag.tagClass === tagClass)) found.push(tag)
    // after the tag: also of a limit of 0 comes one, if it is the first
    if (found.length >= max) break
  }
  return found
})

// --- data objects ---

function requireSpace(softMaxSize: number, size: number): void {
  if (size >= softMaxSize) throw refused(Errno.EOVERFLOW, `the journal object has ${size} bytes already`)
}

const guardAppend = write('guard_append', fields({ softMaxSize: atMostSafe }), async (object, { softMaxSize }) => {
  const stat = await unlessMissing(object.stat())
  if (stat) requireSpace(softMaxSize, stat.size)
})

const append = write('append', fields({ softMaxSize: atMostSafe, data: bytes }), async (object, { softMaxSize, data }) => {
  const size = (await unlessMissing(object.stat()))?.size ?? 0
  requireSpace(softMaxSize, size)
  object.write(size, data)
})

export const journalMethods: readonly ServerMethod[] = [
  create,
  getValue('get_order', ORDER, u8),
  getValue('get_splay_width', SPLAY_WIDTH, u8),
  getValue('get_pool_id', POOL_ID, s64),
  getValue('get_minimum_set', MINIMUM_SET, u64),
  setMinimumSet,
  getValue('get_active_set', ACTIVE_SET, u64),
  setActiveSet,
  getClient,
  clientRegister,
  clientUpdateData,
  clientUpdateState,
  clientUnregister,
  clientCommit,
  clientList,
  getValue('get_next_tag_tid', NEXT_TAG_TID, u64),
  getTag,
  tagCreate,
  tagList,
  guardAppend,
  append,
]
