import { enumeration, list, map, optional, size, string, u32, u64, bool, type Codec, type Infer } from '../../encoding/codec.ts'
import { fields } from '../../encoding/struct.ts'
import { SnapshotNamespace } from '../../cls/rbd/types.ts'

/** A snapshot pair between which a journal-mode image is synced before replay starts. */
export const MirrorPeerSyncPoint = fields({
  snapName: string,
  /** '' for a full sync */
  fromSnapName: string,
  /** objects below this number are copied */
  objectNumber: optional(size),
  snapNamespace: SnapshotNamespace,
})
export type MirrorPeerSyncPoint = Infer<typeof MirrorPeerSyncPoint>

const OldSyncPoint = fields({ snapName: string, fromSnapName: string, objectNumber: optional(size) })

export const MirrorPeerState = enumeration(u32, { syncing: 0, replaying: 1 })
export type MirrorPeerState = Infer<typeof MirrorPeerState>

/** What the image's own (master) client keeps with its registration in the journal. */
export interface ImageClientMeta {
  type: 'image'
  tagClass: bigint
  resyncRequested: boolean
}

/** What a mirror daemon keeps with its registration in the remote image's journal. */
export interface MirrorPeerClientMeta {
  type: 'mirrorPeer'
  /** the local image's id */
  imageId: string
  state: MirrorPeerState
  /** most objects ever synced */
  syncObjectCount: number
  /** two at most */
  syncPoints: MirrorPeerSyncPoint[]
  /** remote snapshot id → local snapshot id */
  snapSeqs: Map<bigint, bigint>
}

export type ClientMeta = ImageClientMeta | MirrorPeerClientMeta | { type: 'cli' } | { type: 'unknown'; tag: number; raw: Buffer }

const IMAGE = 0
const MIRROR_PEER = 1
const CLI = 2
const VERSION = 2

const snapSeqsCodec = map(u64, u64)
const syncPoints = list(MirrorPeerSyncPoint)
const oldSyncPoints = list(OldSyncPoint)

/** librbd::journal::ClientData (librbd/journal/Types.cc): the `data` of a journal client. */
export const ClientData: Codec<ClientMeta> = {
  encode(encoder, meta) {
    encoder.versioned(VERSION, 1, () => {
      switch (meta.type) {
        case 'image':
          encoder.u32(IMAGE).u64(meta.tagClass)
          bool.encode(encoder, meta.resyncRequested)
          return
        case 'mirrorPeer':
          encoder.u32(MIRROR_PEER).string(meta.imageId)
          MirrorPeerState.encode(encoder, meta.state)
          encoder.size(meta.syncObjectCount)
          syncPoints.encode(encoder, meta.syncPoints)
          snapSeqsCodec.encode(encoder, meta.snapSeqs)
          return
        case 'cli':
          encoder.u32(CLI)
          return
        case 'unknown':
          encoder.u32(meta.tag).raw(meta.raw)
      }
    })
  },
  decode: (decoder) =>
    decoder.versioned(VERSION, (version): ClientMeta => {
      const tag = decoder.u32()
      switch (tag) {
        case IMAGE:
          return { type: 'image', tagClass: decoder.u64(), resyncRequested: decoder.bool() }
        case MIRROR_PEER:
          return {
            type: 'mirrorPeer',
            imageId: decoder.string(),
            state: MirrorPeerState.decode(decoder),
            syncObjectCount: decoder.size(),
            syncPoints:
              version >= 2
                ? syncPoints.decode(decoder)
                : oldSyncPoints.decode(decoder).map((point) => ({ ...point, snapNamespace: { type: 'user' as const } })),
            snapSeqs: snapSeqsCodec.decode(decoder),
          }
        case CLI:
          return { type: 'cli' }
        default:
          return { type: 'unknown', tag, raw: decoder.rest() }
      }
    }),
}
