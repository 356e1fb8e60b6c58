import { encode, u32, type Infer } from '../../encoding/codec.ts'
import { variant, versioned } from '../../encoding/struct.ts'

/** What a policy keeps with each image in the map (tools/rbd_mirror/image_map/Types.h, PolicyData); no policy keeps anything yet. */
export const PolicyData = versioned({ version: 1, compat: 1 }, variant(u32, { none: [0, {}] }))
export type PolicyData = Infer<typeof PolicyData>

export const NO_POLICY_DATA = encode(PolicyData, { type: 'none' })
