import { list, map, nothing, size, string, type Codec } from '../../encoding/codec.ts'
import { fields } from '../../encoding/struct.ts'
import { readMethod, writeMethod } from '../method.ts'
import { GroupImageSpec, GroupImageStatus, GroupSnapshot, GroupSpec, TrashImageSpec, TrashImageState } from './types.ts'

/* Methods of object class `rbd` on what a pool has beside its images: trash, namespaces, groups (cls/rbd/cls_rbd_client.cc). */

const cls = 'rbd'
const page = fields({ startAfter: string, max: size })

function read<I, O>(name: string, input: Codec<I>, output: Codec<O>) {
  return readMethod({ cls, name, input, output })
}
function write<I>(name: string, input: Codec<I>) {
  return writeMethod({ cls, name, input })
}

// --- rbd_trash ---

export const trashAdd = write('trash_add', fields({ imageId: string, spec: TrashImageSpec }))
export const trashRemove = write('trash_remove', fields({ imageId: string }))
/** image id → entry */
export const trashList = read('trash_list', page, map(string, TrashImageSpec))
export const trashGet = read('trash_get', fields({ imageId: string }), TrashImageSpec)
/** ESTALE when the entry is neither in `expect` nor in `state` already. */
export const trashStateSet = write('trash_state_set', fields({ imageId: string, state: TrashImageState, expect: TrashImageState }))

// --- rbd_namespace ---

export const namespaceAdd = write('namespace_add', fields({ name: string }))
export const namespaceRemove = write('namespace_remove', fields({ name: string }))
export const namespaceList = read('namespace_list', page, list(string))

// --- groups: rbd_group_directory, rbd_group_header.<id>, and image headers ---

/** name → id */
export const groupDirList = read('group_dir_list', page, map(string, string))
export const groupDirAdd = write('group_dir_add', fields({ name: string, id: string }))
export const groupDirRename = write('group_dir_rename', fields({ from: string, to: string, id: string }))
export const groupDirRemove = write('group_dir_remove', fields({ name: string, id: string }))
export const groupImageSet = write('group_image_set', GroupImageStatus)
export const groupImageRemove = write('group_image_remove', GroupImageSpec)
export const groupImageList = read('group_image_list', fields({ startAfter: GroupImageSpec, max: size }), list(GroupImageStatus))
export const groupSnapSet = write('group_snap_set', GroupSnapshot)
export const groupSnapRemove = write('group_snap_remove', fields({ snapId: string }))
export const groupSnapGetById = read('group_snap_get_by_id', fields({ snapId: string }), GroupSnapshot)
export const groupSnapList = read('group_snap_list', fields({ startAfter: GroupSnapshot, max: size }), list(GroupSnapshot))
export const imageGroupAdd = write('image_group_add', GroupSpec)
export const imageGroupRemove = write('image_group_remove', GroupSpec)
/** `poolId` -1 for no group. */
export const imageGroupGet = read('image_group_get', nothing, GroupSpec)
