import { s32, string, u32, u64, type Infer } from '../../encoding/codec.ts'
import { fields, variant, versioned } from '../../encoding/struct.ts'

const image = { requestId: u64, globalImageId: string } as const
const sync = { requestId: u64, syncId: string } as const

/** What daemons tell each other on `rbd_mirror_instance.ID` (tools/rbd_mirror/instance_watcher/Types.h, NotifyMessage). */
export const InstanceMessage = versioned(
  { version: 2, compat: 2 },
  variant(u32, {
    imageAcquire: [0, image],
    imageRelease: [1, image],
    peerImageRemoved: [2, { ...image, peerMirrorUuid: string }],
    /** to the leader: may this image be synced now? Answered when it may */
    syncRequest: [3, sync],
    /** from the leader: the sync counts from now on. Answered when it is over */
    syncStart: [4, sync],
  }),
)
export type InstanceMessage = Infer<typeof InstanceMessage>

/** The answer to a message; `instanceId` is who asked (instance_watcher/Types.h, NotifyAckPayload). */
export const InstanceAck = fields({ instanceId: string, requestId: u64, result: s32 })
export type InstanceAck = Infer<typeof InstanceAck>
