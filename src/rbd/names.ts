import type { SnapId } from '../rados/io-ctx.ts'
import { NO_SNAP } from '../rados/io-ctx.ts'

/** Names of the objects that make up images and a pool's bookkeeping; defined in Ceph's include/rbd_types.h. */

/** name ↔ id of every image of a pool namespace (omap) */
export const RBD_DIRECTORY = 'rbd_directory'
/** marks a pool that RBD has been used with */
export const RBD_INFO = 'rbd_info'
/** RBD namespaces of a pool */
export const RBD_NAMESPACE = 'rbd_namespace'
/** children of v1 clones: parent → ids of the children in this pool */
export const RBD_CHILDREN = 'rbd_children'
export const RBD_TRASH = 'rbd_trash'
export const RBD_MIRRORING = 'rbd_mirroring'
export const RBD_MIRROR_LEADER = 'rbd_mirror_leader'
export const RBD_MIRROR_INSTANCE_PREFIX = 'rbd_mirror_instance.'
export const RBD_GROUP_DIRECTORY = 'rbd_group_directory'
export const RBD_GROUP_HEADER_PREFIX = 'rbd_group_header.'
/** name of the exclusive lock on headers and of the lock on object maps */
export const RBD_LOCK_NAME = 'rbd_lock'

/** keys of the monitors' config-key store */
export const CONFIG_KEY_SITE_NAME = 'rbd/mirror/site_name'
export const CONFIG_KEY_PEER_CLIENT_ID = 'rbd/mirror/peer_client_id'
export const CONFIG_KEY_PEER_PREFIX = 'rbd/mirror/peer/'

/** longest image id the object-class accepts, in characters */
export const MAX_IMAGE_ID_LENGTH = 14

export function headerName(imageId: string): string {
  return `rbd_header.${imageId}`
}

/** The object that holds an image's id under its name. */
export function idObjectName(imageName: string): string {
  return `rbd_id.${imageName}`
}

/** The header of an image in the old format 1, which can't be mirrored. */
export function format1HeaderName(imageName: string): string {
  return `${imageName}.rbd`
}

/** The object map of the head, or of a snapshot. */
export function objectMapName(imageId: string, snap: SnapId = NO_SNAP): string {
  return snap === NO_SNAP ? `rbd_object_map.${imageId}` : `rbd_object_map.${imageId}.${snap.toString(16).padStart(16, '0')}`
}

/** The prefix of an image's data objects; with a data pool it carries the id of the pool that has the header. */
export function dataObjectPrefix(imageId: string, metadataPoolId: bigint, hasDataPool: boolean): string {
  return hasDataPool ? `rbd_data.${metadataPoolId}.${imageId}` : `rbd_data.${imageId}`
}

/** @param objectNumber an integer below 2^53 */
export function dataObjectName(prefix: string, objectNumber: number): string {
  return `${prefix}.${objectNumber.toString(16).padStart(16, '0')}`
}

/** The object number of a data object's name; undefined for any other name. */
export function parseDataObjectName(prefix: string, name: string): number | undefined {
  if (!name.startsWith(`${prefix}.`)) return undefined
  const digits = name.slice(prefix.length + 1)
  return /^[0-9a-f]{16}$/.test(digits) ? Number.parseInt(digits, 16) : undefined
}

export function mirrorInstanceName(instanceId: string): string {
  return `${RBD_MIRROR_INSTANCE_PREFIX}${instanceId}`
}

export function groupHeaderName(groupId: string): string {
  return `${RBD_GROUP_HEADER_PREFIX}${groupId}`
}

/** Metadata keys with this prefix hold per-image configuration. */
export const CONFIG_METADATA_PREFIX = 'conf_'
