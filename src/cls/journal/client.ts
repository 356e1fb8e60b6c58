import { bytes, list, nothing, optional, s64, size, string, u64, u8, type Codec } from '../../encoding/codec.ts'
import { fields } from '../../encoding/struct.ts'
import { readMethod, writeMethod } from '../method.ts'
import { Client, ClientState, ObjectSetPosition, Tag } from './types.ts'

/* The methods of object class `journal` (cls/journal/cls_journal_client.cc). */

const cls = 'journal'

function read<I, O>(name: string, input: Codec<I>, output: Codec<O>) {
  return readMethod({ cls, name, input, output })
}
function write<I>(name: string, input: Codec<I>) {
  return writeMethod({ cls, name, input })
}

// --- header: journal.<id> ---

/** `order`: log2 of the data objects' size; `poolId` -1: they lie in the header's pool. EEXIST when there is one. */
export const create = write('create', fields({ order: u8, splayWidth: u8, poolId: s64 }))
export const getOrder = read('get_order', nothing, u8)
export const getSplayWidth = read('get_splay_width', nothing, u8)
export const getPoolId = read('get_pool_id', nothing, s64)
/** The oldest object set that exists. */
export const getMinimumSet = read('get_minimum_set', nothing, size)
/** ESTALE when it is lower than what is set, EINVAL when higher than the active set. */
export const setMinimumSet = write('set_minimum_set', fields({ objectSet: size }))
/** The object set that is being appended to. */
export const getActiveSet = read('get_active_set', nothing, size)
/** ESTALE when it is lower than what is set. */
export const setActiveSet = write('set_active_set', fields({ objectSet: size }))

/** ENOENT when it is not registered. */
export const getClient = read('get_client', fields({ id: string }), Client)
/** EEXIST when it is registered. */
export const clientRegister = write('client_register', fields({ id: string, data: bytes }))
export const clientUpdateData = write('client_update_data', fields({ id: string, data: bytes }))
export const clientUpdateState = write('client_update_state', fields({ id: string, state: ClientState }))
export const clientUnregister = write('client_unregister', fields({ id: string }))
export const clientCommit = write('client_commit', fields({ id: string, commitPosition: ObjectSetPosition }))
/** In pages of at most JOURNAL_MAX_RETURN, by client id. */
export const clientList = read('client_list', fields({ startAfter: string, max: size }), list(Client))

export const getNextTagTid = read('get_next_tag_tid', nothing, u64)
export const getTag = read('get_tag', fields({ tid: u64 }), Tag)
/** ESTALE unless `tid` is the next one, EEXIST when it is the last one. `tagClass`: an existing class, or TAG_CLASS_NEW. */
export const tagCreate = write('tag_create', fields({ tid: u64, tagClass: u64, data: bytes }))
/** The tags that a client still needs, by tid, in pages of at most JOURNAL_MAX_RETURN; `startAfter` 0 for all. */
export const tagList = read(
  'tag_list',
  fields({ startAfter: u64, max: size, clientId: string, tagClass: optional(u64) }),
  list(Tag),
)

// --- data: journal_data.<pool>.<id>.<n> ---

/** A guard: EOVERFLOW (75) when the object has `softMaxSize` bytes or more. */
export const guardAppend = write('guard_append', fields({ softMaxSize: size }))
/** Appends, and may pad the object with zeros up to the OSD's allocation unit; EOVERFLOW (75) as above. */
export const append = write('append', fields({ softMaxSize: size, data: bytes }))
