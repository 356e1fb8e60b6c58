import { u32, type Infer } from '../encoding/codec.ts'
import { variant, versioned } from '../encoding/struct.ts'

/** What daemons notify on `rbd_mirror_leader` (tools/rbd_mirror/leader_watcher/Types.h, NotifyMessage). */
export const LeaderNotify = versioned(
  { version: 1, compat: 1 },
  variant(u32, {
    heartbeat: [0, {}],
    lockAcquired: [1, {}],
    lockReleased: [2, {}],
    /** our own: the sender has let go of its images and is no instance any more; the C++ daemon takes no notice of it */
    instanceLeft: [0x726d, {}],
  }),
)
export type LeaderNotify = Infer<typeof LeaderNotify>
