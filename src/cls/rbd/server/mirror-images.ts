import { bool, encode, list, nothing, string, u64 } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ObjectContext } from '../../../objclass/object-context.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno } from '../../../rados/errors.ts'
import { atMostSafe, entries, refused, removeKey, setValue, storedValues } from '../../server-method.ts'
import { MirrorImage, MirrorImageMap } from '../mirror-types.ts'
import type { MirrorSnapshotNamespace } from '../types.ts'
import { globalKey, IMAGE_PREFIX, imageKey, removeStatuses } from './mirror-status.ts'
import { ordered, page, read, stored, write } from './shared.ts'
import { getSnapshot, putSnapshot } from './stored-snapshots.ts'

/* Mirrored images in `rbd_mirroring`, daemons and their images in `rbd_mirror_leader`, mirror-snapshots in an image's header. */

const imageId = fields({ imageId: string })
const globalImageId = fields({ globalImageId: string })

// --- images: rbd_mirroring ---

const mirrorImageList = read('mirror_image_list', page, ordered(string), async (object, { startAfter, max }) =>
  (await entries(object, IMAGE_PREFIX, startAfter, max)).map(([id, value]) => [id, stored.parse(MirrorImage, value, id).globalImageId]),
)

const mirrorImageGetImageId = read('mirror_image_get_image_id', globalImageId, string, (object, { globalImageId }) =>
  stored.get(object, globalKey(globalImageId), string),
)

const mirrorImageGet = read('mirror_image_get', imageId, MirrorImage, (object, { imageId }) => stored.get(object, imageKey(imageId), MirrorImage))

const mirrorImageSet = write('mirror_image_set', fields({ imageId: string, image: MirrorImage }), async (object, { imageId, image }) => {
  const present = await stored.find(object, imageKey(imageId), MirrorImage)
  if (!present) {
    if ((await stored.find(object, globalKey(image.globalImageId), string)) !== undefined)
      throw refused(Errno.EEXIST, `global image id ${image.globalImageId} is taken`)
    if (image.state === 'disabling') throw refused(Errno.ENOENT, `image ${imageId} is not mirrored any more`)
  } else if (present.globalImageId !== image.globalImageId) throw refused(Errno.EINVAL, 'the global image id can not change')
  object.omapSet(
    new Map([
      [imageKey(imageId), encode(MirrorImage, image)],
      [globalKey(image.globalImageId), encode(string, imageId)],
    ]),
  )
})

const mirrorImageRemove = write('mirror_image_remove', imageId, async (object, { imageId }) => {
  const image = await stored.get(object, imageKey(imageId), MirrorImage)
  if (image.state !== 'disabling') throw refused(Errno.EBUSY, `image ${imageId} is ${image.state}`)
  object.omapRemoveKeys([imageKey(imageId), globalKey(image.globalImageId)])
  await removeStatuses(object, image.globalImageId)
})

// --- daemons and their images: rbd_mirror_leader ---

const INSTANCE_PREFIX = 'instance_'
const instanceKey = (id: string) => INSTANCE_PREFIX + id
const instanceId = fields({ instanceId: string })

const mirrorInstancesList = read('mirror_instances_list', nothing, list(string), async (object) =>
  (await entries(object, INSTANCE_PREFIX, '')).map(([id]) => id),
)

const mirrorInstancesAdd = write('mirror_instances_add', instanceId, (object, { instanceId }) => {
  object.omapSet(new Map([[instanceKey(instanceId), Buffer.alloc(0)]]))
})

const mirrorInstancesRemove = write('mirror_instances_remove', instanceId, (object, { instanceId }) => {
  object.omapRemoveKeys([instanceKey(instanceId)])
})

const MAP_PREFIX = 'image_map_'
const mapKey = (globalImageId: string) => MAP_PREFIX + globalImageId
const storedMaps = storedValues(Errno.EINVAL)

const mirrorImageMapList = read('mirror_image_map_list', page, ordered(MirrorImageMap), async (object, { startAfter, max }) =>
  (await entries(object, MAP_PREFIX, startAfter, max)).map(([id, value]) => [id, storedMaps.parse(MirrorImageMap, value, id)]),
)

const mirrorImageMapUpdate = write(
  'mirror_image_map_update',
  fields({ globalImageId: string, map: MirrorImageMap }),
  (object, { globalImageId, map }) => setValue(object, mapKey(globalImageId), MirrorImageMap, map),
)

const mirrorImageMapRemove = write('mirror_image_map_remove', globalImageId, (object, { globalImageId }) => removeKey(object, mapKey(globalImageId)))

// --- mirror-snapshots: rbd_header.ID ---

async function changeMirrorSnapshot(
  object: ObjectContext,
  id: bigint,
  change: (namespace: MirrorSnapshotNamespace) => MirrorSnapshotNamespace,
): Promise<void> {
  const snapshot = await getSnapshot(object, id)
  if (snapshot.namespace.type !== 'mirror') throw refused(Errno.EINVAL, `${id} is no mirror-snapshot`)
  await putSnapshot(object, { ...snapshot, namespace: change(snapshot.namespace) })
}

const mirrorImageSnapshotUnlinkPeer = write(
  'mirror_image_snapshot_unlink_peer',
  fields({ snapId: u64, mirrorPeerUuid: string }),
  (object, { snapId, mirrorPeerUuid }) =>
    changeMirrorSnapshot(object, snapId, (namespace) => {
      const mirrorPeerUuids = new Set(namespace.mirrorPeerUuids)
      if (!mirrorPeerUuids.delete(mirrorPeerUuid)) throw refused(Errno.ENOENT, `peer ${mirrorPeerUuid} is not linked`)
      return { ...namespace, mirrorPeerUuids }
    }),
)

const mirrorImageSnapshotSetCopyProgress = write(
  'mirror_image_snapshot_set_copy_progress',
  fields({ snapId: u64, complete: bool, lastCopiedObjectNumber: atMostSafe }),
  (object, { snapId, complete, lastCopiedObjectNumber }) =>
    changeMirrorSnapshot(object, snapId, (namespace) => {
      const copied = namespace.state === 'non-primary' || namespace.state === 'non-primary-demoted'
      return { ...namespace, complete, ...(copied && { lastCopiedObjectNumber }) }
    }),
)

export const mirrorImageMethods: readonly ServerMethod[] = [
  mirrorImageList,
  mirrorImageGetImageId,
  mirrorImageGet,
  mirrorImageSet,
  mirrorImageRemove,
  mirrorInstancesList,
  mirrorInstancesAdd,
  mirrorInstancesRemove,
  mirrorImageMapList,
  mirrorImageMapUpdate,
  mirrorImageMapRemove,
  mirrorImageSnapshotUnlinkPeer,
  mirrorImageSnapshotSetCopyProgress,
]
