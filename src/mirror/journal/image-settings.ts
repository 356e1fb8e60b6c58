import { metadataList } from '../../cls/rbd/client.ts'
import type { Image } from '../../rbd/image.ts'
import { headerName } from '../../rbd/names.ts'
import type { MirrorOptions } from '../options.ts'

/** What an operator may set for one image (`rbd config image set`, on the primary; replicated like all metadata), else for the daemon. */
export interface ImageSettings {
  /** milliseconds that each entry is held back (`rbd_mirroring_replay_delay`, seconds) */
  replayDelayMs: number
  /** `rbd_mirroring_resync_after_disconnect` */
  resyncAfterDisconnect: boolean
}

/** Configuration among an image's metadata has keys of this prefix (librbd/ImageCtx.cc, METADATA_CONF_PREFIX). */
const PREFIX = 'conf_rbd_mirroring_'
/** Options with that prefix: a handful. */
const MAX_SETTINGS = 64

/** The local image's settings as they are now. Rejects with RadosError. */
export async function loadImageSettings(image: Image, options: MirrorOptions): Promise<ImageSettings> {
  const values = await metadataList.call(image.io, headerName(image.id), { startAfter: PREFIX, max: MAX_SETTINGS })
  const value = (name: string) => values.get(`${PREFIX}${name}`)?.toString().trim()
  const delay = Number(value('replay_delay') || NaN)
  const resync = value('resync_after_disconnect')
  return {
    replayDelayMs: (Number.isFinite(delay) && delay >= 0 ? delay : options.mirroringReplayDelay) * 1000,
    resyncAfterDisconnect: resync === undefined ? options.mirroringResyncAfterDisconnect : /^(true|1|yes|on)$/i.test(resync),
  }
}
