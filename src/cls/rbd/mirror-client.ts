import { bool, enumeration, list, map, nothing, s32, size, string, u32, u64, type Codec } from '../../encoding/codec.ts'
import { fields, reserved } from '../../encoding/struct.ts'
import { readMethod, writeMethod } from '../method.ts'
import { EntityInst } from '../../encoding/entity.ts'
import {
  MIRROR_MODES,
  MirrorImage,
  MirrorImageMap,
  MirrorImageSiteStatus,
  MirrorImageStatus,
  MirrorImageStatusState,
  MirrorPeer,
  MirrorPeerDirection,
} from './mirror-types.ts'

/*
 * Mirroring's methods of object class `rbd` (cls/rbd/cls_rbd_client.cc). Lists come in pages: ask again with `startAfter` the
 * last key, until fewer than `max` come.
 */

const cls = 'rbd'
const page = fields({ startAfter: string, max: size })
const globalImageId = fields({ globalImageId: string })

function read<I, O>(name: string, input: Codec<I>, output: Codec<O>) {
  return readMethod({ cls, name, input, output })
}
function write<I>(name: string, input: Codec<I>) {
  return writeMethod({ cls, name, input })
}

// --- the pool: rbd_mirroring ---

/** ENOENT until mirroring was enabled once. */
export const mirrorUuidGet = read('mirror_uuid_get', nothing, string)
/** EINVAL while mirroring is enabled. */
export const mirrorUuidSet = write('mirror_uuid_set', fields({ uuid: string }))
const MirrorMode = enumeration(u32, MIRROR_MODES)
/** ENOENT: disabled. */
export const mirrorModeGet = read('mirror_mode_get', nothing, MirrorMode)
/** EBUSY for disabling while images are mirrored or peers registered. */
export const mirrorModeSet = write('mirror_mode_set', fields({ mode: MirrorMode }))

export const mirrorPeerList = read('mirror_peer_list', nothing, list(MirrorPeer))
/** Tells a site that `siteName` with mirror uuid `mirrorUuid` fetches from it. */
export const mirrorPeerPing = write(
  'mirror_peer_ping',
  fields({ siteName: string, mirrorUuid: string, _direction: reserved(MirrorPeerDirection, 'tx') }),
)
/** EEXIST for a site name or uuid that is taken, ENOENT while mirroring is disabled. */
export const mirrorPeerAdd = write('mirror_peer_add', MirrorPeer)
export const mirrorPeerRemove = write('mirror_peer_remove', fields({ uuid: string }))
export const mirrorPeerSetClient = write('mirror_peer_set_client', fields({ uuid: string, clientName: string }))
/** Sets the site name. */
export const mirrorPeerSetCluster = write('mirror_peer_set_cluster', fields({ uuid: string, siteName: string }))
export const mirrorPeerSetDirection = write('mirror_peer_set_direction', fields({ uuid: string, direction: MirrorPeerDirection }))

// --- images: rbd_mirroring ---

/** image id → global image id; pages run over image ids */
export const mirrorImageList = read('mirror_image_list', page, map(string, string))
export const mirrorImageGetImageId = read('mirror_image_get_image_id', globalImageId, string)
export const mirrorImageGet = read('mirror_image_get', fields({ imageId: string }), MirrorImage)
export const mirrorImageSet = write('mirror_image_set', fields({ imageId: string, image: MirrorImage }))
export const mirrorImageRemove = write('mirror_image_remove', fields({ imageId: string }))

// --- status: rbd_mirroring ---

/** The OSD notes who sent it, and when. */
export const mirrorImageStatusSet = write('mirror_image_status_set', fields({ globalImageId: string, status: MirrorImageSiteStatus }))
export const mirrorImageStatusRemove = write('mirror_image_status_remove', globalImageId)
export const mirrorImageStatusGet = read('mirror_image_status_get', globalImageId, MirrorImageStatus)
/** By image id; an image without any status is only in `images`. */
export const mirrorImageStatusList = read(
  'mirror_image_status_list',
  page,
  fields({ images: map(string, MirrorImage), statuses: map(string, MirrorImageStatus) }),
)
export const mirrorImageStatusGetSummary = read(
  'mirror_image_status_get_summary',
  fields({ peers: list(MirrorPeer) }),
  map(MirrorImageStatusState, s32),
)
/** Removes every status whose reporter is down. */
export const mirrorImageStatusRemoveDown = write('mirror_image_status_remove_down', nothing)
/** The client instance that reports the image; ESTALE when it is down. */
export const mirrorImageInstanceGet = read('mirror_image_instance_get', globalImageId, EntityInst)
/** By image id. */
export const mirrorImageInstanceList = read('mirror_image_instance_list', page, map(string, EntityInst))

// --- daemons and their images: rbd_mirror_leader ---

export const mirrorInstancesList = read('mirror_instances_list', nothing, list(string))
export const mirrorInstancesAdd = write('mirror_instances_add', fields({ instanceId: string }))
export const mirrorInstancesRemove = write('mirror_instances_remove', fields({ instanceId: string }))
/** By global image id. */
export const mirrorImageMapList = read('mirror_image_map_list', page, map(string, MirrorImageMap))
export const mirrorImageMapUpdate = write('mirror_image_map_update', fields({ globalImageId: string, map: MirrorImageMap }))
export const mirrorImageMapRemove = write('mirror_image_map_remove', globalImageId)

// --- mirror snapshots: rbd_header.<id> ---

/** ENOENT when the peer is not linked. Some releases refuse to unlink the last peer with ERESTART (85): remove the snapshot instead. */
export const mirrorImageSnapshotUnlinkPeer = write(
  'mirror_image_snapshot_unlink_peer',
  fields({ snapId: u64, mirrorPeerUuid: string }),
)
/** Of an incomplete non-primary snapshot: objects below `lastCopiedObjectNumber` are copied. */
export const mirrorImageSnapshotSetCopyProgress = write(
  'mirror_image_snapshot_set_copy_progress',
  fields({ snapId: u64, complete: bool, lastCopiedObjectNumber: size }),
)
