import { bool, encode, list, nothing, optional, set, size, string, u64 } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ObjectContext } from '../../../objclass/object-context.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno } from '../../../rados/errors.ts'
import { NO_SNAP } from '../../../rados/io-ctx.ts'
import { atMostSafe, hex16, refused, removeKey, requireExists, setValue, trailing } from '../../server-method.ts'
import { FEATURE_DEEP_FLATTEN, FEATURE_LAYERING, OP_FEATURE_CLONE_CHILD, OP_FEATURE_CLONE_PARENT } from '../features.ts'
import { ChildImageSpec, LegacyParent, ParentImageSpec, StoredParent, StoredSnapshot } from '../types.ts'
import { hasFeatures, KEY, noParent, parentExists, read, requireFeature, setOpFeatures, snapId, stored, write } from './shared.ts'
import { getSnapshot, hasParent, putSnapshot, snapshotKey, snapshots } from './stored-snapshots.ts'

/* Clones: the parent in a child's header, the children in a parent's header (clone v2) or in `rbd_children` (clone v1). */

// --- the child's header ---

const sameImage = (a: StoredParent, b: StoredParent) =>
  a.poolId === b.poolId && a.poolNamespace === b.poolNamespace && a.imageId === b.imageId && a.snapId === b.snapId

async function attach(object: ObjectContext, parent: Omit<StoredParent, 'headOverlap'>, overlap: number, reattach: boolean): Promise<void> {
  await requireExists(object)
  await requireFeature(object, FEATURE_LAYERING)
  const wanted: StoredParent = { ...parent, headOverlap: overlap }
  if (!parentExists(wanted) || overlap === 0) throw refused(Errno.EINVAL, 'this is no parent')
  const present = await stored.find(object, KEY.parent, StoredParent)
  if (present && !reattach && (present.headOverlap !== undefined || !sameImage(present, wanted))) throw refused(Errno.EEXIST, 'the image has a parent')
  const imageSize = Number(await stored.get(object, KEY.size, u64))
  setValue(object, KEY.parent, StoredParent, { ...wanted, headOverlap: Math.min(overlap, imageSize) })
}

async function detach(object: ObjectContext, legacy: boolean): Promise<void> {
  await requireExists(object)
  await requireFeature(object, FEATURE_LAYERING)
  const deepFlatten = await hasFeatures(object, FEATURE_DEEP_FLATTEN)
  const parent = await stored.get(object, KEY.parent, StoredParent)
  if (legacy && parent.poolNamespace !== '') throw refused(Errno.EXDEV, 'the parent is in another namespace')
  if (parent.headOverlap === undefined) throw refused(Errno.ENOENT, 'the head has no parent')
  let keptBySnapshots = false
  for (const snapshot of await snapshots(object)) {
    if (!hasParent(snapshot)) continue
    if (!deepFlatten) {
      keptBySnapshots = true
      break
    }
    await putSnapshot(object, { ...snapshot, parent: undefined, parentOverlap: undefined })
  }
  if (keptBySnapshots) {
    setValue(object, KEY.parent, StoredParent, { ...parent, headOverlap: undefined })
    return
  }
  removeKey(object, KEY.parent)
  await setOpFeatures(object, 0n, OP_FEATURE_CLONE_CHILD)
}

const parentGet = read('parent_get', nothing, ParentImageSpec, async (object) => {
  await requireExists(object)
  if (!(await hasFeatures(object, FEATURE_LAYERING))) return noParent
  const parent = await stored.find(object, KEY.parent, StoredParent)
  if (parent) return parent
  // releases before Nautilus kept it in the snapshots
  return (await snapshots(object)).findLast((snapshot) => parentExists(snapshot.parent))?.parent ?? noParent
})

const parentOverlapGet = read('parent_overlap_get', snapId, optional(size), async (object, { snapId }) => {
  if (!(await hasFeatures(object, FEATURE_LAYERING))) return undefined
  if (snapId === NO_SNAP) return (await stored.find(object, KEY.parent, StoredParent))?.headOverlap
  const snapshot = await getSnapshot(object, snapId)
  return snapshot.parentOverlap ?? (parentExists(snapshot.parent) ? snapshot.parent.headOverlap : undefined)
})

const parentAttach = write(
  'parent_attach',
  fields({ parent: ParentImageSpec, overlap: atMostSafe, reattach: trailing(bool, false) }),
  (object, { parent, overlap, reattach }) => attach(object, parent, overlap, reattach),
)

const parentDetach = write('parent_detach', nothing, (object) => detach(object, false))

const legacyParent = fields({ parent: LegacyParent, overlap: atMostSafe })

const getParent = read('get_parent', snapId, legacyParent, async (object, { snapId }) => {
  await requireExists(object)
  const answer = (parent: StoredParent, overlap: number | undefined) => ({ parent, overlap: overlap ?? 0 })
  if (!(await hasFeatures(object, FEATURE_LAYERING))) return answer(noParent, 0)
  const parent = (await stored.find(object, KEY.parent, StoredParent)) ?? noParent
  if (parent.poolNamespace !== '') throw refused(Errno.EXDEV, 'the parent is in another namespace')
  if (snapId === NO_SNAP) return answer(parent, parent.headOverlap)
  const snapshot = await stored.find(object, snapshotKey(snapId), StoredSnapshot)
  if (parentExists(snapshot?.parent)) return answer(snapshot.parent, snapshot.parent.headOverlap)
  if (snapshot?.parentOverlap === undefined) return answer(noParent, 0)
  if (!parentExists(parent)) throw refused(Errno.EINVAL, 'the snapshot has a parent that the image does not name')
  return answer(parent, snapshot.parentOverlap)
})

const setParent = write('set_parent', legacyParent, (object, { parent, overlap }) => attach(object, { ...parent, poolNamespace: '' }, overlap, false))

const removeParent = write('remove_parent', nothing, (object) => detach(object, true))

// --- the parent's header: clone v2 ---

const childrenKey = (id: bigint) => `snap_children_${hex16(id)}`
const children = list(ChildImageSpec)
const child = fields({ snapId: u64, child: ChildImageSpec })

const isChild = (a: ChildImageSpec, b: ChildImageSpec) => a.poolId === b.poolId && a.poolNamespace === b.poolNamespace && a.imageId === b.imageId

/** The order of std::set<ChildImageSpec>. */
function compareChildren(a: ChildImageSpec, b: ChildImageSpec): number {
  if (a.poolId !== b.poolId) return a.poolId < b.poolId ? -1 : 1
  return compareBytes(a.poolNamespace, b.poolNamespace) || compareBytes(a.imageId, b.imageId)
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

const childAttach = write('child_attach', child, async (object, { snapId, child }) => {
  const snapshot = await getSnapshot(object, snapId)
  if (snapshot.namespace.type === 'trash') throw refused(Errno.ENOENT, 'the snapshot is in the trash')
  const key = childrenKey(snapId)
  const present = (await stored.find(object, key, children)) ?? []
  if (present.some((other) => isChild(other, child))) throw refused(Errno.EEXIST, 'the child is attached')
  setValue(object, key, children, [...present, child].sort(compareChildren))
  await putSnapshot(object, { ...snapshot, childCount: snapshot.childCount + 1 })
  await setOpFeatures(object, OP_FEATURE_CLONE_PARENT, OP_FEATURE_CLONE_PARENT)
})

const childDetach = write('child_detach', child, async (object, { snapId, child }) => {
  const snapshot = await getSnapshot(object, snapId)
  const key = childrenKey(snapId)
  const present = (await stored.find(object, key, children)) ?? []
  if (present.length !== snapshot.childCount) throw refused(Errno.EINVAL, 'the number of children is wrong')
  const left = present.filter((other) => !isChild(other, child))
  if (left.length === present.length) throw refused(Errno.ENOENT, 'the child is not attached')
  if (left.length === 0) removeKey(object, key)
  else setValue(object, key, children, left)
  await putSnapshot(object, { ...snapshot, childCount: left.length })
  if (left.length === 0 && !(await snapshots(object)).some(({ id, childCount }) => id !== snapId && childCount > 0))
    await setOpFeatures(object, 0n, OP_FEATURE_CLONE_PARENT)
})

const childrenList = read('children_list', snapId, children, async (object, { snapId }) => {
  await getSnapshot(object, snapId)
  return stored.get(object, childrenKey(snapId), children)
})

// --- rbd_children: clone v1 ---

/**
 * The key is the parent's encoding. Omap keys are text in the contract, so a byte stands for the character with its number, which is the
 * same as long as all ids are below 128.
 */
const parentKey = (parent: LegacyParent) => encode(LegacyParent, parent).toString('latin1')
const childIds = set(string)
const legacyChild = fields({ parent: LegacyParent, childId: string })

const addChild = write('add_child', legacyChild, async (object, { parent, childId }) => {
  const key = parentKey(parent)
  const ids = (await stored.find(object, key, childIds)) ?? new Set()
  if (ids.has(childId)) throw refused(Errno.EEXIST, 'the child is listed')
  setValue(object, key, childIds, ids.add(childId))
})

const removeChild = write('remove_child', legacyChild, async (object, { parent, childId }) => {
  const key = parentKey(parent)
  const ids = await stored.get(object, key, childIds)
  if (!ids.delete(childId)) throw refused(Errno.ENOENT, 'the child is not listed')
  if (ids.size === 0) removeKey(object, key)
  else setValue(object, key, childIds, ids)
})

const getChildren = read('get_children', LegacyParent, childIds, (object, parent) => stored.get(object, parentKey(parent), childIds))

export const parentMethods: readonly ServerMethod[] = [
  parentGet,
  parentOverlapGet,
  parentAttach,
  parentDetach,
  getParent,
  setParent,
  removeParent,
  childAttach,
  childDetach,
  childrenList,
  addChild,
  removeChild,
  getChildren,
]
