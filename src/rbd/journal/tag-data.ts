import { bool, string, u64, type Infer } from '../../encoding/codec.ts'
import { fields } from '../../encoding/struct.ts'

/** Owner of a tag that the image's own cluster wrote; in a predecessor too (librbd::Journal::LOCAL_MIRROR_UUID). */
export const LOCAL_MIRROR_UUID = ''
/** Owner of the tag of an image that was demoted: nobody may write (librbd::Journal::ORPHAN_MIRROR_UUID). */
export const ORPHAN_MIRROR_UUID = '<orphan>'

/** Where the previous owner's journal ended when a tag was made. */
export const TagPredecessor = fields({ mirrorUuid: string, commitValid: bool, tagTid: u64, entryTid: u64 })
export type TagPredecessor = Infer<typeof TagPredecessor>

/** librbd::journal::TagData (librbd/journal/Types.cc): an ownership epoch of the image. */
export const TagData = fields({
  /** mirror uuid of who writes in this epoch; '' is this cluster itself */
  mirrorUuid: string,
  predecessor: TagPredecessor,
})
export type TagData = Infer<typeof TagData>
