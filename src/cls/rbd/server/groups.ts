import { list, nothing, string } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ObjectContext } from '../../../objclass/object-context.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno } from '../../../rados/errors.ts'
import { atMostSafe, entries, hex16, refused, setValue, storedValues, unlessMissing } from '../../server-method.ts'
import { OP_FEATURE_GROUP } from '../features.ts'
import { GroupImageLinkState, GroupImageSpec, GroupImageStatus, GroupSnapshot, GroupSpec } from '../types.ts'
import { addName, listNames, removeName, rename } from './names.ts'
import { ordered, page, read, setOpFeatures, stored, write } from './shared.ts'

/* Groups: `rbd_group_directory`, `rbd_group_header.ID`, and the group in an image's header. */

// --- rbd_group_directory ---

const group = fields({ name: string, id: string })
const groupDirList = read('group_dir_list', page, ordered(string), (object, { startAfter, max }) => listNames(object, startAfter, max))
const groupDirAdd = write('group_dir_add', group, async (object, { name, id }) => {
  object.create(false)
  await addName(object, name, id, true)
})
const groupDirRename = write('group_dir_rename', fields({ from: string, to: string, id: string }), rename)
const groupDirRemove = write('group_dir_remove', group, (object, { name, id }) => removeName(object, name, id))

// --- images of a group ---

const IMAGE_PREFIX = 'image_'
const NO_POOL = -1n

/** Without the prefix. */
const imageKey = ({ poolId, imageId }: GroupImageSpec) => `${hex16(poolId)}_${imageId}`

function specFromKey(key: string): GroupImageSpec {
  const [, pool, imageId = ''] = /^([^_]*)_\s*(\S*)/.exec(key) ?? []
  if (pool === undefined) throw refused(Errno.EIO, `${key} is no image of a group`)
  return { poolId: BigInt.asIntN(64, BigInt(`0x${pool}`)), imageId }
}

const groupImageSet = write('group_image_set', GroupImageStatus, (object, { spec, state }) => {
  setValue(object, IMAGE_PREFIX + imageKey(spec), GroupImageLinkState, state)
})

const groupImageRemove = write('group_image_remove', GroupImageSpec, (object, spec) => {
  object.omapRemoveKeys([IMAGE_PREFIX + imageKey(spec)])
})

const groupImageList = read(
  'group_image_list',
  fields({ startAfter: GroupImageSpec, max: atMostSafe }),
  list(GroupImageStatus),
  async (object, { startAfter, max }) => {
    const after = startAfter.poolId === NO_POOL ? undefined : imageKey(startAfter)
    // looks before it counts
    const images = await entries(object, IMAGE_PREFIX, after, Math.max(max, 1))
    return images.slice(0, max).map(([key, value]) => ({ state: stored.parse(GroupImageLinkState, value, key), spec: specFromKey(key) }))
  },
)

// --- snapshots of a group ---

const SNAPSHOT_PREFIX = 'snapshot_'

async function groupSnapshots(object: ObjectContext, startAfter: string, max = Infinity): Promise<GroupSnapshot[]> {
  return (await entries(object, SNAPSHOT_PREFIX, startAfter, max)).map(([key, value]) => stored.parse(GroupSnapshot, value, key))
}

const groupSnapSet = write('group_snap_set', GroupSnapshot, async (object, snapshot) => {
  const { id, name, state } = snapshot
  if (name === '' || id === '') throw refused(Errno.EINVAL, 'a snapshot of a group needs a name and an id')
  if ((await groupSnapshots(object, '')).some((other) => other.name === name && other.id !== id)) throw refused(Errno.EEXIST, `snapshot ${name} exists`)
  const key = SNAPSHOT_PREFIX + id
  if (state === 'incomplete' && (await unlessMissing(object.omapGetValue(key)))) throw refused(Errno.EEXIST, `snapshot ${id} exists`)
  setValue(object, key, GroupSnapshot, snapshot)
})

const groupSnapshotId = fields({ snapId: string })

const groupSnapRemove = write('group_snap_remove', groupSnapshotId, (object, { snapId }) => {
  object.omapRemoveKeys([SNAPSHOT_PREFIX + snapId])
})

const groupSnapGetById = read('group_snap_get_by_id', groupSnapshotId, GroupSnapshot, (object, { snapId }) =>
  stored.get(object, SNAPSHOT_PREFIX + snapId, GroupSnapshot),
)

const groupSnapList = read(
  'group_snap_list',
  fields({ startAfter: GroupSnapshot, max: atMostSafe }),
  list(GroupSnapshot),
  async (object, { startAfter, max }) => (await unlessMissing(groupSnapshots(object, startAfter.id, max))) ?? [],
)

// --- the group of an image ---

const GROUP_REFERENCE = 'rbd_group_ref'
const storedReference = storedValues(Errno.EINVAL)
const isGroup = (a: GroupSpec, b: GroupSpec) => a.poolId === b.poolId && a.groupId === b.groupId

const imageGroupAdd = write('image_group_add', GroupSpec, async (object, spec) => {
  const present = await storedReference.find(object, GROUP_REFERENCE, GroupSpec)
  if (present) {
    if (isGroup(present, spec)) return
    throw refused(Errno.EEXIST, 'the image belongs to another group')
  }
  await setOpFeatures(object, OP_FEATURE_GROUP, OP_FEATURE_GROUP)
  setValue(object, GROUP_REFERENCE, GroupSpec, spec)
})

const imageGroupRemove = write('image_group_remove', GroupSpec, async (object, spec) => {
  if (!isGroup(await storedReference.get(object, GROUP_REFERENCE, GroupSpec), spec)) throw refused(Errno.EBADF, 'the image belongs to another group')
  object.omapRemoveKeys([GROUP_REFERENCE])
  await setOpFeatures(object, 0n, OP_FEATURE_GROUP)
})

const imageGroupGet = read(
  'image_group_get',
  nothing,
  GroupSpec,
  async (object) => (await storedReference.find(object, GROUP_REFERENCE, GroupSpec)) ?? { poolId: NO_POOL, groupId: '' },
)

export const groupMethods: readonly ServerMethod[] = [
  groupDirList,
  groupDirAdd,
  groupDirRename,
  groupDirRemove,
  groupImageSet,
  groupImageRemove,
  groupImageList,
  groupSnapSet,
  groupSnapRemove,
  groupSnapGetById,
  groupSnapList,
  imageGroupAdd,
  imageGroupRemove,
  imageGroupGet,
]
