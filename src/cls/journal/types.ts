import { bytes, enumeration, list, size, string, u64, u8, type Infer } from '../../encoding/codec.ts'
import { struct } from '../../encoding/struct.ts'

/* The values of object class `journal` (cls/journal/cls_journal_types.h). */

const header = { version: 1, compat: 1 }

/** Where a client has come to in one data object: the last entry it has committed there. */
export const ObjectPosition = struct(header, { objectNumber: size, tagTid: u64, entryTid: u64 })
export type ObjectPosition = Infer<typeof ObjectPosition>

/** At most one position per splay object, the most recently committed first. */
export const ObjectSetPosition = struct(header, { objectPositions: list(ObjectPosition) })
export type ObjectSetPosition = Infer<typeof ObjectSetPosition>

/** A disconnected client no longer keeps the journal from being trimmed. */
export const ClientState = enumeration(u8, { connected: 0, disconnected: 1 })
export type ClientState = Infer<typeof ClientState>

export const Client = struct(header, { id: string, data: bytes, commitPosition: ObjectSetPosition, state: ClientState })
export type Client = Infer<typeof Client>

/** In place of a class when a tag is created: the first of a new class. */
export const TAG_CLASS_NEW = 0xffffffffffffffffn

/** An epoch of the journal. */
export const Tag = struct(header, { tid: u64, tagClass: u64, data: bytes })
export type Tag = Infer<typeof Tag>

/** The most that client_list and tag_list give at once. */
export const JOURNAL_MAX_RETURN = 256
