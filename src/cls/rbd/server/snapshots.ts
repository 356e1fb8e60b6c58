import { encode, list, nothing, string, u64, u8, utime, utimeFromMs } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno } from '../../../rados/errors.ts'
import { NO_SNAP } from '../../../rados/io-ctx.ts'
import { entries, refused, removeKey, requireExists, setValue, trailing } from '../../server-method.ts'
import { FEATURE_LAYERING, OP_FEATURE_CLONE_CHILD, OP_FEATURE_SNAP_TRASH } from '../features.ts'
import { ProtectionStatus, SnapshotInfo, SnapshotNamespace, StoredParent, type StoredSnapshot } from '../types.ts'
import { KEY, parentExists, read, requireFeature, setOpFeatures, snapId, stored, write } from './shared.ts'
import { getSnapshot, hasParent, putSnapshot, SNAPSHOT_PREFIX, snapshotKey, snapshots } from './stored-snapshots.ts'

/* An image's snapshots, as its header lists them. */

/** The largest snapshot id (CEPH_MAXSNAP). */
const MAX_SNAP = 0xfffffffffffffffdn
const NO_LIMIT = 0xffffffffffffffffn
const PROTECTION_STATUSES: readonly ProtectionStatus[] = ['unprotected', 'unprotecting', 'protected']

function requireSnapshotId(id: bigint): void {
  if (id === NO_SNAP) throw refused(Errno.EINVAL, 'the head is no snapshot')
}

// --- reading ---

const getSnapcontext = read('get_snapcontext', nothing, fields({ seq: u64, snaps: list(u64) }), async (object) => {
  const keys = await entries(object, SNAPSHOT_PREFIX, '')
  return { seq: await stored.get(object, KEY.snapSeq, u64), snaps: keys.map(([hex]) => BigInt(`0x${hex}`)).reverse() }
})

/** Reads one snapshot, which may not be the head. */
const ofSnapshot = async (object: Parameters<typeof getSnapshot>[0], id: bigint): Promise<StoredSnapshot> => {
  requireSnapshotId(id)
  return getSnapshot(object, id)
}

const snapshotGet = read('snapshot_get', snapId, SnapshotInfo, (object, { snapId }) => ofSnapshot(object, snapId))
const getSnapshotName = read('get_snapshot_name', snapId, string, async (object, { snapId }) => (await ofSnapshot(object, snapId)).name)
const getSnapshotTimestamp = read(
  'get_snapshot_timestamp',
  snapId,
  utime,
  async (object, { snapId }) => (await ofSnapshot(object, snapId)).timestamp,
)

// --- protection ---

const getProtectionStatus = read('get_protection_status', snapId, ProtectionStatus, async (object, { snapId }) => {
  await requireExists(object)
  return (await ofSnapshot(object, snapId)).protectionStatus
})

const setProtectionStatus = write('set_protection_status', fields({ snapId: u64, status: u8 }), async (object, { snapId, status }) => {
  await requireExists(object)
  await requireFeature(object, FEATURE_LAYERING)
  requireSnapshotId(snapId)
  const protectionStatus = PROTECTION_STATUSES[status]
  if (!protectionStatus) throw refused(Errno.EINVAL, `${status} is no protection status`)
  await putSnapshot(object, { ...(await getSnapshot(object, snapId)), protectionStatus })
})

// --- adding, renaming, removing ---

const snapshotAdd = write(
  'snapshot_add',
  fields({ name: string, snapId: u64, namespace: trailing(SnapshotNamespace, { type: 'user' }) }),
  async (object, { name, snapId, namespace }) => {
    if (namespace.type === 'unknown') throw refused(Errno.EINVAL, 'the namespace of the snapshot is not known')
    if (snapId > MAX_SNAP) throw refused(Errno.EINVAL, `${snapId} is no snapshot id`)
    if (snapId < (await stored.get(object, KEY.snapSeq, u64))) throw refused(Errno.ESTALE, `snapshot ${snapId} comes too late`)
    const imageSize = Number(await stored.get(object, KEY.size, u64))
    const flags = (await stored.find(object, KEY.flags, u64)) ?? 0n
    const limit = (await stored.find(object, KEY.snapLimit, u64)) ?? NO_LIMIT
    const wanted = encode(SnapshotNamespace, namespace)
    for (const [index, other] of (await snapshots(object)).entries()) {
      if (BigInt(index + 1) >= limit) throw refused(Errno.EDQUOT, `the image may have ${limit} snapshots`)
      if (other.id === snapId || (other.name === name && encode(SnapshotNamespace, other.namespace).equals(wanted)))
        throw refused(Errno.EEXIST, `snapshot ${name} or ${snapId} exists`)
    }
    const parent = await stored.find(object, KEY.parent, StoredParent)
    if (namespace.type === 'trash') await setOpFeatures(object, OP_FEATURE_SNAP_TRASH, OP_FEATURE_SNAP_TRASH)
    setValue(object, KEY.snapSeq, u64, snapId)
    await putSnapshot(object, {
      id: snapId,
      name,
      imageSize,
      protectionStatus: 'unprotected',
      flags,
      namespace,
      timestamp: utimeFromMs(object.now),
      childCount: 0,
      parentOverlap: undefined,
      parent,
    })
  },
)

const snapshotRename = write('snapshot_rename', fields({ snapId: u64, name: string }), async (object, { snapId, name }) => {
  if ((await snapshots(object)).some((other) => other.namespace.type === 'user' && other.name === name))
    throw refused(Errno.EEXIST, `snapshot ${name} exists`)
  const snapshot = await getSnapshot(object, snapId)
  if (snapshot.namespace.type !== 'user') throw refused(Errno.EINVAL, 'only snapshots of users can be renamed')
  await putSnapshot(object, { ...snapshot, name })
})

const snapshotRemove = write('snapshot_remove', snapId, async (object, { snapId }) => {
  const snapshot = await getSnapshot(object, snapId)
  if (snapshot.protectionStatus !== 'unprotected') throw refused(Errno.EBUSY, 'the snapshot is protected')
  if (snapshot.childCount > 0) throw refused(Errno.EBUSY, 'the snapshot has clones')
  removeKey(object, snapshotKey(snapId))
  const others = (await snapshots(object)).filter(({ id }) => id !== snapId)
  const parent = await stored.find(object, KEY.parent, StoredParent)
  const headIsChild = parentExists(parent) && parent.headOverlap !== undefined
  const snapshotsAreChildren = others.some(hasParent)
  if (parentExists(parent) && !headIsChild && !snapshotsAreChildren) removeKey(object, KEY.parent)
  let unused = 0n
  if (!snapshotsAreChildren && !headIsChild) unused |= OP_FEATURE_CLONE_CHILD
  if (!others.some(({ namespace }) => namespace.type === 'trash')) unused |= OP_FEATURE_SNAP_TRASH
  if (unused !== 0n) await setOpFeatures(object, 0n, unused)
})

const snapshotTrashAdd = write('snapshot_trash_add', snapId, async (object, { snapId }) => {
  const snapshot = await getSnapshot(object, snapId)
  if (snapshot.protectionStatus !== 'unprotected') throw refused(Errno.EBUSY, 'the snapshot is protected')
  if (snapshot.namespace.type === 'trash') throw refused(Errno.EEXIST, 'the snapshot is in the trash')
  await setOpFeatures(object, OP_FEATURE_SNAP_TRASH, OP_FEATURE_SNAP_TRASH)
  const { type } = snapshot.namespace
  await putSnapshot(object, {
    ...snapshot,
    name: object.random.uuid(),
    namespace: { type: 'trash', originalName: snapshot.name, originalType: type === 'unknown' ? 'user' : type },
  })
})

// --- limit ---

const snapshotGetLimit = read('snapshot_get_limit', nothing, u64, async (object) => (await stored.find(object, KEY.snapLimit, u64)) ?? NO_LIMIT)

const snapshotSetLimit = write('snapshot_set_limit', fields({ limit: u64 }), async (object, { limit }) => {
  if (limit === NO_LIMIT) {
    object.omapRemoveKeys([KEY.snapLimit])
    return
  }
  if (limit < BigInt((await entries(object, SNAPSHOT_PREFIX, '')).length)) throw refused(Errno.ERANGE, `the image has more than ${limit} snapshots`)
  setValue(object, KEY.snapLimit, u64, limit)
})

export const snapshotMethods: readonly ServerMethod[] = [
  getSnapcontext,
  snapshotGet,
  getSnapshotName,
  getSnapshotTimestamp,
  getProtectionStatus,
  setProtectionStatus,
  snapshotAdd,
  snapshotRename,
  snapshotRemove,
  snapshotTrashAdd,
  snapshotGetLimit,
  snapshotSetLimit,
]
