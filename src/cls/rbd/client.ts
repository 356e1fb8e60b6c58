import { bool, bytes, list, nothing, optional, rest, set, size, string, u64, u8, utime, s64, map, type Codec } from '../../encoding/codec.ts'
import { fields } from '../../encoding/struct.ts'
import { readMethod, writeMethod } from '../method.ts'
import {
  AssertSnapcSeqState,
  ChildImageSpec,
  DirectoryState,
  LegacyParent,
  MetadataMap,
  MigrationSpec,
  MigrationState,
  ParentImageSpec,
  ProtectionStatus,
  SnapContext,
  SnapshotInfo,
  SnapshotNamespace,
} from './types.ts'

/*
 * The methods of object class `rbd` on an image's header, id, object-map and data objects and on the pool's directory; inputs
 * and outputs as cls/rbd/cls_rbd_client.cc encodes them. Mirroring's are in mirror-client.ts, groups', the trash's and the
 * namespaces' in pool-client.ts. Lists come in pages: ask again with `startAfter` the last key, until fewer than `max` come.
 */

const cls = 'rbd'
const none = nothing
const snapId = fields({ snapId: u64 })
const page = fields({ startAfter: string, max: size })

function read<I, O>(name: string, input: Codec<I>, output: Codec<O>) {
  return readMethod({ cls, name, input, output })
}
function write<I>(name: string, input: Codec<I>) {
  return writeMethod({ cls, name, input })
}

// --- header: rbd_header.<id> ---

/** `dataPoolId` -1: the data lies in the header's pool. */
export const create = write('create', fields({ size, order: u8, features: u64, objectPrefix: string, dataPoolId: s64 }))
/** Of a snapshot, or of the head with NO_SNAP; `order` is log2 of the object size. */
export const getSize = read('get_size', snapId, fields({ order: u8, size }))
export const setSize = write('set_size', fields({ size }))
/** `incompatible`: the features that a client has to know for this access. */
export const getFeatures = read('get_features', fields({ snapId: u64, readOnly: bool }), fields({ features: u64, incompatible: u64 }))
export const setFeatures = write('set_features', fields({ features: u64, mask: u64 }))
/** The features that this OSD's class knows. */
export const getAllFeatures = read('get_all_features', none, u64)
export const getObjectPrefix = read('get_object_prefix', none, string)
/** -1 where the data lies in the header's pool. */
export const getDataPool = read('get_data_pool', none, s64)
/** ENOEXEC for an image without the striping feature. */
export const getStripeUnitCount = read('get_stripe_unit_count', none, fields({ stripeUnit: size, stripeCount: size }))
export const setStripeUnitCount = write('set_stripe_unit_count', fields({ stripeUnit: size, stripeCount: size }))
export const getFlags = read('get_flags', snapId, u64)
export const setFlags = write('set_flags', fields({ flags: u64, mask: u64, snapId: u64 }))
export const opFeaturesGet = read('op_features_get', none, u64)
export const opFeaturesSet = write('op_features_set', fields({ opFeatures: u64, mask: u64 }))
export const getCreateTimestamp = read('get_create_timestamp', none, utime)
export const getAccessTimestamp = read('get_access_timestamp', none, utime)
export const getModifyTimestamp = read('get_modify_timestamp', none, utime)
export const setAccessTimestamp = write('set_access_timestamp', none)
export const setModifyTimestamp = write('set_modify_timestamp', none)

// --- snapshots ---

export const getSnapcontext = read('get_snapcontext', none, SnapContext)
export const snapshotGet = read('snapshot_get', snapId, SnapshotInfo)
export const getSnapshotName = read('get_snapshot_name', snapId, string)
export const getSnapshotTimestamp = read('get_snapshot_timestamp', snapId, utime)
/** EEXIST for a name or id that is taken, EDQUOT at the image's snapshot limit, ESTALE for an id below the context's seq. */
export const snapshotAdd = write('snapshot_add', fields({ name: string, snapId: u64, namespace: SnapshotNamespace }))
export const snapshotRemove = write('snapshot_remove', snapId)
export const snapshotRename = write('snapshot_rename', fields({ snapId: u64, name: string }))
/** Moves a user snapshot into the trash namespace, for clone v2 parents. */
export const snapshotTrashAdd = write('snapshot_trash_add', snapId)
export const getProtectionStatus = read('get_protection_status', snapId, ProtectionStatus)
export const setProtectionStatus = write('set_protection_status', fields({ snapId: u64, status: ProtectionStatus }))
/** 0xffffffffffffffff for no limit. */
export const snapshotGetLimit = read('snapshot_get_limit', none, u64)
export const snapshotSetLimit = write('snapshot_set_limit', fields({ limit: u64 }))

// --- metadata ---

export const metadataSet = write('metadata_set', fields({ metadata: MetadataMap }))
export const metadataRemove = write('metadata_remove', fields({ key: string }))
export const metadataList = read('metadata_list', page, MetadataMap)
/** ENOENT for a key that is not set. */
export const metadataGet = read('metadata_get', fields({ key: string }), bytes)

// --- parents and children ---

/** `poolId` -1 for none. EOPNOTSUPP from an OSD older than Nautilus. */
export const parentGet = read('parent_get', none, ParentImageSpec)
export const parentOverlapGet = read('parent_overlap_get', snapId, optional(size))
export const parentAttach = write('parent_attach', fields({ parent: ParentImageSpec, overlap: size, reattach: bool }))
export const parentDetach = write('parent_detach', none)
export const getParent = read('get_parent', snapId, fields({ parent: LegacyParent, overlap: size }))
export const setParent = write('set_parent', fields({ parent: LegacyParent, overlap: size }))
export const removeParent = write('remove_parent', none)
/** Clone v2, on the parent's header. */
export const childAttach = write('child_attach', fields({ snapId: u64, child: ChildImageSpec }))
export const childDetach = write('child_detach', fields({ snapId: u64, child: ChildImageSpec }))
export const childrenList = read('children_list', snapId, list(ChildImageSpec))
/** Clone v1, on `rbd_children` of the child's pool. */
export const addChild = write('add_child', fields({ parent: LegacyParent, childId: string }))
export const removeChild = write('remove_child', fields({ parent: LegacyParent, childId: string }))
/** ENOENT when there are none. */
export const getChildren = read('get_children', LegacyParent, set(string))

// --- live migration ---

export const migrationSet = write('migration_set', MigrationSpec)
export const migrationSetState = write('migration_set_state', fields({ state: MigrationState, description: string }))
export const migrationGet = read('migration_get', none, MigrationSpec)
export const migrationRemove = write('migration_remove', none)

// --- rbd_id.<name> ---

export const getId = read('get_id', none, string)
/** ENOENT without the object: create it in the same operation. EEXIST when another id is set. */
export const setId = write('set_id', fields({ id: string }))

// --- rbd_directory ---

export const dirGetId = read('dir_get_id', fields({ name: string }), string)
export const dirGetName = read('dir_get_name', fields({ id: string }), string)
/** name → id */
export const dirList = read('dir_list', page, map(string, string))
export const dirAddImage = write('dir_add_image', fields({ name: string, id: string }))
export const dirRemoveImage = write('dir_remove_image', fields({ name: string, id: string }))
export const dirRenameImage = write('dir_rename_image', fields({ from: string, to: string, id: string }))
/** A guard for write operations: ENOENT when the directory is in another state, or in none. */
export const dirStateAssert = write('dir_state_assert', fields({ state: DirectoryState }))
export const dirStateSet = write('dir_state_set', fields({ state: DirectoryState }))

// --- object maps: rbd_object_map.<id>[.<snap>]; the bit vector itself is encoded by its owner ---

export const objectMapLoad = read('object_map_load', none, rest)
/** The vector is to be encoded without checksums (as librbd does); the class computes them. */
export const objectMapSave = write('object_map_save', fields({ bitVector: rest }))
export const objectMapResize = write('object_map_resize', fields({ objectCount: size, defaultState: u8 }))
/** Objects [start, end) become `newState`, only those in `currentState` if it is given (`existsClean` counts as `exists` then). */
export const objectMapUpdate = write(
  'object_map_update',
  fields({ start: size, end: size, newState: u8, currentState: optional(u8) }),
)
/** Turns `exists` into `exists clean` everywhere: after the head's map was copied for a new snapshot. */
export const objectMapSnapAdd = write('object_map_snap_add', none)
/** On the next newer map, with the removed snapshot's vector. */
export const objectMapSnapRemove = write('object_map_snap_remove', fields({ bitVector: rest }))

// --- data objects ---

/** Writes the data if the object does not exist, else does nothing. */
export const copyup = write('copyup', fields({ data: rest }))
/** `extents`: offset → length in the object, whose bytes follow one another in `data`. */
export const sparseCopyup = write('sparse_copyup', fields({ extents: map(size, size), data: bytes }))
/** ERANGE when the object's snapshot set is not on that side of `seq`. */
export const assertSnapcSeq = write('assert_snapc_seq', fields({ seq: u64, state: AssertSnapcSeqState }))
export const sparsify = write('sparsify', fields({ sparseSize: size, removeEmpty: bool }))
