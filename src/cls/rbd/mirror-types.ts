import { bool, bytes, enumeration, s64, string, u8, utime, zeroTime, type Codec, type Infer } from '../../encoding/codec.ts'
import type { Decoder } from '../../encoding/decoder.ts'
import type { Encoder } from '../../encoding/encoder.ts'
import { fields, reserved, since, struct, versioned } from '../../encoding/struct.ts'
import { EntityInst } from '../../encoding/entity.ts'
import { MirrorImageMode } from './types.ts'

/* What the object class keeps about mirroring, in `rbd_mirroring` and `rbd_mirror_leader` (cls/rbd/cls_rbd_types.{h,cc}). */

export { MirrorImageMode } from './types.ts'

export const MIRROR_MODES = { disabled: 0, image: 1, pool: 2 } as const
export type MirrorMode = keyof typeof MIRROR_MODES

export const MirrorPeerDirection = enumeration(u8, { rx: 0, tx: 1, 'rx-tx': 2 })
export type MirrorPeerDirection = Infer<typeof MirrorPeerDirection>

export const MirrorPeer = struct(
  { version: 2, compat: 1 },
  {
    uuid: string,
    siteName: string,
    /** `client.ID`; '' for a peer that only pings us */
    clientName: string,
    _poolId: reserved(s64, -1n),
    direction: since(2, MirrorPeerDirection, 'rx-tx' as const),
    /** the remote pool's mirror uuid; '' while it is not known */
    mirrorUuid: since(2, string, ''),
    /** when the peer's daemon pinged last */
    lastSeen: since(2, utime, zeroTime),
  },
)
export type MirrorPeer = Infer<typeof MirrorPeer>

export const MirrorImageState = enumeration(u8, { disabling: 0, enabled: 1, disabled: 2, creating: 3 })
export type MirrorImageState = Infer<typeof MirrorImageState>

export const MirrorImage = struct(
  { version: 2, compat: 1 },
  { globalImageId: string, state: MirrorImageState, mode: since(2, MirrorImageMode, 'journal' as const) },
)
export type MirrorImage = Infer<typeof MirrorImage>

/** Spelled as `rbd mirror image status` prints them. */
export const MIRROR_IMAGE_STATUS_STATES = {
  unknown: 0,
  error: 1,
  syncing: 2,
  starting_replay: 3,
  replaying: 4,
  stopping_replay: 5,
  stopped: 6,
} as const
export const MirrorImageStatusState = enumeration(u8, MIRROR_IMAGE_STATUS_STATES, 'unknown')
export type MirrorImageStatusState = Infer<typeof MirrorImageStatusState>

/** The mirror uuid under which a site keeps its own status. */
export const LOCAL_MIRROR_UUID = ''

export interface MirrorImageSiteStatus {
  /** whose status it is: LOCAL_MIRROR_UUID, or the reporting remote site's mirror uuid */
  mirrorUuid: string
  state: MirrorImageStatusState
  description: string
  lastUpdate: Infer<typeof utime>
  /** the daemon that wrote it still watches `rbd_mirroring`; filled in by the OSD */
  up: boolean
}

const siteStatusBody = fields({ state: MirrorImageStatusState, description: string, lastUpdate: utime, up: bool })

function encodeSiteStatusBody(encoder: Encoder, version: number, value: MirrorImageSiteStatus): void {
  if (version >= 2) encoder.string(value.mirrorUuid)
  siteStatusBody.encode(encoder, value)
}

function decodeSiteStatusBody(decoder: Decoder, version: number): MirrorImageSiteStatus {
  return { mirrorUuid: version >= 2 ? decoder.string() : LOCAL_MIRROR_UUID, ...siteStatusBody.decode(decoder) }
}

/** Only a status with a mirror uuid needs version 2. */
export const MirrorImageSiteStatus: Codec<MirrorImageSiteStatus> = {
  encode(encoder, value) {
    const version = value.mirrorUuid === LOCAL_MIRROR_UUID ? 1 : 2
    encoder.versioned(version, version, () => encodeSiteStatusBody(encoder, version, value))
  },
  decode: (decoder) => decoder.versioned(2, (version) => decodeSiteStatusBody(decoder, version)),
}

export interface MirrorImageStatus {
  /** undefined when no daemon of this site has reported */
  local: MirrorImageSiteStatus | undefined
  remotes: MirrorImageSiteStatus[]
}

const noStatus: MirrorImageSiteStatus = { mirrorUuid: LOCAL_MIRROR_UUID, state: 'unknown', description: '', lastUpdate: zeroTime, up: false }

/** A missing local status is written as an empty one with a flag behind it, so that old readers find their fields. */
export const MirrorImageStatus: Codec<MirrorImageStatus> = {
  encode(encoder, value) {
    encoder.versioned(2, 1, () => {
      encodeSiteStatusBody(encoder, 1, value.local ?? noStatus)
      encoder.bool(value.local !== undefined)
      encoder.u32(value.remotes.length)
      for (const remote of value.remotes) encodeSiteStatusBody(encoder, 2, remote)
    })
  },
  decode: (decoder) =>
    decoder.versioned(2, (version) => {
      const local = decodeSiteStatusBody(decoder, 1)
      if (version < 2) return { local, remotes: [] }
      const valid = decoder.bool()
      const remotes: MirrorImageSiteStatus[] = []
      for (let left = decoder.count(); left > 0; left--) remotes.push(decodeSiteStatusBody(decoder, version))
      return { local: valid ? local : undefined, remotes }
    }),
}

/** A status as `rbd_mirroring` keeps it, with the client instance that wrote it. */
export const MirrorImageSiteStatusOnDisk: Codec<{ origin: EntityInst; status: MirrorImageSiteStatus }> = fields({
  origin: versioned({ version: 1, compat: 1 }, EntityInst),
  status: MirrorImageSiteStatus,
})
export type MirrorImageSiteStatusOnDisk = Infer<typeof MirrorImageSiteStatusOnDisk>

/** Which daemon instance has an image (`rbd_mirror_leader`). */
export const MirrorImageMap = struct(
  { version: 1, compat: 1 },
  {
    /** '' when the image is to be unassigned */
    instanceId: string,
    mappedTime: utime,
    /** the image-map policy's own data */
    data: bytes,
  },
)
export type MirrorImageMap = Infer<typeof MirrorImageMap>
