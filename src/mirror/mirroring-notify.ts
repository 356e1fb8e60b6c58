import { enumeration, string, u32, type Infer } from '../encoding/codec.ts'
import { variant, versioned } from '../encoding/struct.ts'
import { MIRROR_MODES } from '../cls/rbd/mirror-types.ts'

const ImageState = enumeration(u32, { disabling: 0, enabled: 1, disabled: 2, creating: 3 })

/** What is notified on `rbd_mirroring` (librbd/mirroring_watcher/Types.h, NotifyMessage). */
export const MirroringNotify = versioned(
  { version: 1, compat: 1 },
  variant(u32, {
    modeUpdated: [0, { mode: enumeration(u32, MIRROR_MODES) }],
    imageUpdated: [1, { state: ImageState, imageId: string, globalImageId: string }],
  }),
)
export type MirroringNotify = Infer<typeof MirroringNotify>
