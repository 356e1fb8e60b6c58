import { list, map, nothing, s32, string, u8, utimeFromMs } from '../../../encoding/codec.ts'
import { ENTITY_TYPE_CLIENT, EntityInst, parseEntityAddr } from '../../../encoding/entity.ts'
import { fields, versioned } from '../../../encoding/struct.ts'
import type { ObjectContext } from '../../../objclass/object-context.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno, isErrno } from '../../../rados/errors.ts'
import { entries, refused, removeKey, setValue, trailing, unlessMissing } from '../../server-method.ts'
import {
  LOCAL_MIRROR_UUID,
  MIRROR_IMAGE_STATUS_STATES,
  MirrorImage,
  MirrorImageSiteStatus,
  MirrorImageSiteStatusOnDisk,
  MirrorImageStatus,
  MirrorPeer,
  type MirrorImageStatusState,
  type MirrorPeerDirection,
} from '../mirror-types.ts'
import { ordered, page, read, stored, write } from './shared.ts'

/* The images' status in `rbd_mirroring`: what each site's daemon says of an image, and whether that daemon is still there. */

export const IMAGE_PREFIX = 'image_'
const GLOBAL_PREFIX = 'global_'
const STATUS_PREFIX = 'status_global_'
const REMOTE_STATUS_PREFIX = 'remote_status_global_'
export const imageKey = (imageId: string) => IMAGE_PREFIX + imageId
export const globalKey = (globalImageId: string) => GLOBAL_PREFIX + globalImageId
const localKey = (globalImageId: string) => STATUS_PREFIX + globalImageId
/** The mirror uuids of the sites follow. */
const remotePrefix = (globalImageId: string) => `${REMOTE_STATUS_PREFIX + globalImageId}_`
const statusKey = (globalImageId: string, mirrorUuid: string) =>
  mirrorUuid === LOCAL_MIRROR_UUID ? localKey(globalImageId) : remotePrefix(globalImageId) + mirrorUuid

const ADDRESS_TYPE_ANY = 3
const globalImageId = fields({ globalImageId: string })
const originOnDisk = versioned({ version: 1, compat: 1 }, EntityInst)

/** The clients that watch `rbd_mirroring`, as a test of who wrote a status: a daemon that no longer watches is down. */
async function livingOrigins(object: ObjectContext): Promise<(origin: EntityInst) => boolean> {
  const watchers = new Set(((await unlessMissing(object.watchers())) ?? []).map(({ clientId }) => clientId))
  return ({ name }) => name.type === ENTITY_TYPE_CLIENT && watchers.has(name.num)
}

// --- writing ---

const mirrorImageStatusSet = write(
  'mirror_image_status_set',
  fields({ globalImageId: string, status: MirrorImageSiteStatus }),
  async (object, { globalImageId, status }) => {
    // of an image that is not mirrored (any more), a status is forgotten without a word
    const image = await mirroredImage(object, globalImageId)
    if (image?.state !== 'enabled') return
    const { instanceId, address } = object.caller
    setValue(object, statusKey(globalImageId, status.mirrorUuid), MirrorImageSiteStatusOnDisk, {
      origin: { name: { type: ENTITY_TYPE_CLIENT, num: instanceId }, addr: { ...parseEntityAddr(address), type: ADDRESS_TYPE_ANY } },
      status: { ...status, mirrorUuid: LOCAL_MIRROR_UUID, up: false, lastUpdate: utimeFromMs(object.now) },
    })
  },
)

async function mirroredImage(object: ObjectContext, globalImageId: string): Promise<MirrorImage | undefined> {
  try {
    return await stored.get(object, imageKey(await stored.get(object, globalKey(globalImageId), string)), MirrorImage)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT, Errno.EIO)) return undefined
    throw error
  }
}

/** By mirror uuid; none of an object that does not exist yet. */
async function remoteStatuses(object: ObjectContext, globalImageId: string): Promise<[mirrorUuid: string, value: Buffer][]> {
  return (await unlessMissing(entries(object, remotePrefix(globalImageId), ''))) ?? []
}

export async function removeStatuses(object: ObjectContext, globalImageId: string): Promise<void> {
  const prefix = remotePrefix(globalImageId)
  const remotes = await remoteStatuses(object, globalImageId)
  for (const key of [localKey(globalImageId), ...remotes.map(([uuid]) => prefix + uuid)]) removeKey(object, key)
}

const mirrorImageStatusRemove = write('mirror_image_status_remove', globalImageId, (object, { globalImageId }) =>
  removeStatuses(object, globalImageId),
)

const mirrorImageStatusRemoveDown = write('mirror_image_status_remove_down', nothing, async (object) => {
  const isUp = await livingOrigins(object)
  for (const prefix of [STATUS_PREFIX, REMOTE_STATUS_PREFIX]) {
    for (const [key, value] of await entries(object, prefix, ''))
      if (!isUp(stored.parse(originOnDisk, value, prefix + key))) object.omapRemoveKeys([prefix + key])
  }
})

// --- reading ---

/** What all sites say of an image. */
async function statusOf(object: ObjectContext, globalImageId: string, isUp: (origin: EntityInst) => boolean): Promise<MirrorImageStatus> {
  const parse = (value: Buffer, mirrorUuid: string): MirrorImageSiteStatus => {
    const { origin, status } = stored.parse(MirrorImageSiteStatusOnDisk, value, statusKey(globalImageId, mirrorUuid))
    return { ...status, mirrorUuid, up: isUp(origin) }
  }
  const local = await unlessMissing(object.omapGetValue(localKey(globalImageId)))
  const remotes = await remoteStatuses(object, globalImageId)
  return { local: local && parse(local, LOCAL_MIRROR_UUID), remotes: remotes.map(([uuid, value]) => parse(value, uuid)) }
}

const hasStatus = ({ local, remotes }: MirrorImageStatus) => local !== undefined || remotes.length > 0

const mirrorImageStatusGet = read('mirror_image_status_get', globalImageId, MirrorImageStatus, async (object, { globalImageId }) => {
  const status = await statusOf(object, globalImageId, await livingOrigins(object))
  if (!hasStatus(status)) throw refused(Errno.ENOENT, `nobody has said anything of image ${globalImageId}`)
  return status
})

async function images(object: ObjectContext, startAfter: string, max = Infinity): Promise<[imageId: string, image: MirrorImage][]> {
  return (await entries(object, IMAGE_PREFIX, startAfter, max)).map(([id, value]) => [id, stored.parse(MirrorImage, value, id)])
}

const mirrorImageStatusList = read(
  'mirror_image_status_list',
  page,
  fields({ images: ordered(MirrorImage), statuses: ordered(MirrorImageStatus) }),
  async (object, { startAfter, max }) => {
    const isUp = await livingOrigins(object)
    const listed = await images(object, startAfter, max)
    const statuses: [string, MirrorImageStatus][] = []
    for (const [id, { globalImageId }] of listed) {
      const status = await readableStatus(object, globalImageId, isUp)
      if (status && hasStatus(status)) statuses.push([id, status])
    }
    return { images: listed, statuses }
  },
)

/** undefined for a malformed one: it does not spoil the list. */
async function readableStatus(object: ObjectContext, globalImageId: string, isUp: (origin: EntityInst) => boolean): Promise<MirrorImageStatus | undefined> {
  try {
    return await statusOf(object, globalImageId, isUp)
  } catch (error) {
    if (isErrno(error, Errno.EIO)) return undefined
    throw error
  }
}

// --- summary ---

const mirrorImageStatusGetSummary = read(
  'mirror_image_status_get_summary',
  fields({ peers: trailing(list(MirrorPeer), []) }),
  map(u8, s32),
  async (object, { peers }) => {
    const isUp = await livingOrigins(object)
    const direction = combinedDirection(peers)
    const fetching = new Set(peers.filter((peer) => peer.direction !== 'rx').map((peer) => peer.mirrorUuid))
    const counts = new Map<number, number>()
    for (const [, { globalImageId }] of await images(object, '')) {
      const state = summaryState(direction, fetching, await statusOf(object, globalImageId, isUp))
      counts.set(MIRROR_IMAGE_STATUS_STATES[state], (counts.get(MIRROR_IMAGE_STATUS_STATES[state]) ?? 0) + 1)
    }
    return counts
  },
)

function combinedDirection(peers: readonly MirrorPeer[]): MirrorPeerDirection {
  let direction = peers[0]?.direction ?? 'rx'
  for (const peer of peers) if (peer.direction !== 'rx' && peer.direction !== direction) direction = 'rx-tx'
  return direction
}

/** The worst of what the sites say that matter in this direction: error, else the lowest state. */
function summaryState(direction: MirrorPeerDirection, fetching: ReadonlySet<string>, { local, remotes }: MirrorImageStatus): MirrorImageStatusState {
  let state: MirrorImageStatusState | undefined
  if (direction !== 'tx' && local?.up) state = local.state
  let unheard = 0
  if (direction !== 'rx') {
    unheard = fetching.size
    for (const remote of remotes) {
      if (unheard > 0 && fetching.has(remote.mirrorUuid)) unheard--
      const remoteState = remote.up ? remote.state : 'unknown'
      if (remote.state === 'error') state = 'error'
      else if (state === undefined) state = remoteState
      else if (state !== 'error' && MIRROR_IMAGE_STATUS_STATES[remoteState] < MIRROR_IMAGE_STATUS_STATES[state]) state = remoteState
    }
  }
  return state === undefined || unheard > 0 ? 'unknown' : state
}

// --- who reports ---

async function instanceOf(object: ObjectContext, globalImageId: string, isUp: (origin: EntityInst) => boolean): Promise<EntityInst> {
  const { origin } = await stored.get(object, localKey(globalImageId), MirrorImageSiteStatusOnDisk)
  if (!isUp(origin)) throw refused(Errno.ESTALE, `the daemon of image ${globalImageId} is down`)
  return origin
}

const mirrorImageInstanceGet = read('mirror_image_instance_get', globalImageId, EntityInst, async (object, { globalImageId }) =>
  instanceOf(object, globalImageId, await livingOrigins(object)),
)

const mirrorImageInstanceList = read('mirror_image_instance_list', page, ordered(EntityInst), async (object, { startAfter, max }) => {
  const isUp = await livingOrigins(object)
  const instances: [string, EntityInst][] = []
  for (const [id, { globalImageId }] of max > 0 ? await images(object, startAfter) : []) {
    if (instances.length >= max) break
    try {
      instances.push([id, await instanceOf(object, globalImageId, isUp)])
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT, Errno.ESTALE, Errno.EIO)) throw error
    }
  }
  return instances
})

export const mirrorStatusMethods: readonly ServerMethod[] = [
  mirrorImageStatusSet,
  mirrorImageStatusRemove,
  mirrorImageStatusRemoveDown,
  mirrorImageStatusGet,
  mirrorImageStatusList,
  mirrorImageStatusGetSummary,
  mirrorImageInstanceGet,
  mirrorImageInstanceList,
]
