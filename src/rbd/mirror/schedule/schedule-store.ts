import type { Cluster } from '../../../rados/cluster.ts'
import { Errno, isErrno } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { WriteOperation } from '../../../rados/operation.ts'
import { findImageId, findImageName } from '../../directory.ts'
import { listNamespaces } from '../../namespaces.ts'
import { getMirrorMode } from '../get-mirror-mode.ts'
import { findMirrorImage } from '../image-entry.ts'
import { formatLevelName, globalLevel, levelId, parseLevelId, parseLevelName, type Level, type LevelName } from './level.ts'
import { formatSchedule, parseSchedule, type ScheduleItem } from './schedule.ts'
import { Schedules, type LevelSchedule } from './schedules.ts'

/*
 * Where schedules are kept, as by Ceph's manager module: those of a pool and below in an object's omap, by level id, the global one among the options
 * of the manager.
 */

const scheduleObject = 'rbd_mirror_snapshot_schedule'
const globalKey = 'config/mgr/mgr/rbd_support/mirror_snapshot_schedule'
const pageSize = 128

/** What a level can't be, in the manager's words. */
export class InvalidLevel extends Error {}

/** A level and what it is called. */
export interface NamedLevel {
  level: Level
  name: string
}

/** Finds what a name such as `pool/ns/image` means. Rejects with InvalidLevel for what there is not, or can't have a schedule. */
export async function resolveLevel(cluster: Cluster, text: string): Promise<NamedLevel> {
  const name = parseLevelName(text)
  if (!name) throw new InvalidLevel(`failed to parse ${text}`)
  if (name.pool === undefined) return { level: globalLevel, name: '' }
  let pool: IoCtx
  try {
    pool = await cluster.openPool(name.pool)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) throw new InvalidLevel(`pool ${name.pool} does not exist`)
    throw error
  }
  try {
    return { level: await resolveInPool(pool, name), name: formatLevelName(name) }
  } finally {
    pool.close()
  }
}

async function resolveInPool(pool: IoCtx, { namespace, image }: LevelName): Promise<Level> {
  const { poolId } = pool
  if (namespace === undefined) return { poolId, namespace, imageId: undefined }
  await checkNamespace(pool, namespace)
  if (image === undefined) return { poolId, namespace, imageId: undefined }
  const io = pool.duplicate({ namespace })
  try {
    const imageId = await findImageId(io, image)
    if (imageId === undefined) throw new InvalidLevel(`image ${image} does not exist`)
    if ((await findMirrorImage(io, imageId))?.mode !== 'snapshot') throw new InvalidLevel(`image ${image} is not in snapshot mirror mode`)
    return { poolId, namespace, imageId }
  } finally {
    io.close()
  }
}

async function checkNamespace(pool: IoCtx, namespace: string): Promise<void> {
  if (namespace === '') return
  if (!(await listNamespaces(pool)).includes(namespace)) throw new InvalidLevel(`namespace ${namespace} does not exist`)
  const io = pool.duplicate({ namespace })
  try {
    if ((await getMirrorMode(io)) !== 'image') throw new InvalidLevel(`namespace ${namespace} is not in mirror image mode`)
  } finally {
    io.close()
  }
}

/** All schedules; what can't be read, or is for something that is gone, is left out. */
export async function loadSchedules(cluster: Cluster): Promise<Schedules> {
  const found: LevelSchedule[] = []
  const global = await cluster.configKeyGet(globalKey)
  if (global) {
    const items = parseSchedule(global)
    if (items.ok) found.push({ level: globalLevel, name: '', items: items.value })
  }
  for (const { id } of await cluster.listPools()) {
    const pool = await openPool(cluster, id)
    if (!pool) continue
    try {
      for (const [key, value] of await readOmap(pool)) {
        const items = parseSchedule(value.toString())
        const named = items.ok ? await nameLevel(pool, key) : undefined
        if (items.ok && named) found.push({ ...named, items: items.value })
      }
    } finally {
      pool.close()
    }
  }
  return new Schedules(found)
}

/** @param items undefined removes the schedule */
export async function saveSchedule(cluster: Cluster, level: Level, items: readonly ScheduleItem[] | undefined): Promise<void> {
  if (level.poolId === undefined) {
    if (items) await cluster.configKeySet(globalKey, formatSchedule(items))
    else await cluster.configKeyRemove(globalKey)
    return
  }
  const pool = await cluster.openPoolById(level.poolId)
  try {
    const operation = new WriteOperation()
    if (items) operation.omapSet(new Map([[levelId(level), Buffer.from(formatSchedule(items))]]))
    else operation.omapRemoveKeys([levelId(level)])
    await pool.write(scheduleObject, operation)
  } finally {
    pool.close()
  }
}

async function openPool(cluster: Cluster, id: bigint): Promise<IoCtx | undefined> {
  try {
    return await cluster.openPoolById(id)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

async function readOmap(pool: IoCtx): Promise<Map<string, Buffer>> {
  const all = new Map<string, Buffer>()
  try {
    for (let after = ''; ; ) {
      const { entries, more } = await pool.omapGet(scheduleObject, after, '', pageSize)
      for (const [key, value] of entries) all.set((after = key), value)
      if (!more || entries.size === 0) return all
    }
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return all
    throw error
  }
}

/** undefined for a key that means nothing in this pool any more. */
async function nameLevel(pool: IoCtx, key: string): Promise<NamedLevel | undefined> {
  const level = parseLevelId(key)
  if (!level || level.poolId !== pool.poolId) return undefined
  const { namespace, imageId } = level
  const name: LevelName = { pool: pool.poolName, namespace, image: undefined }
  if (namespace && !(await listNamespaces(pool)).includes(namespace)) return undefined
  if (imageId !== undefined) {
    const io = pool.duplicate({ namespace: namespace ?? '' })
    try {
      name.image = await findImageName(io, imageId)
    } finally {
      io.close()
    }
    if (name.image === undefined) return undefined
  }
  return { level, name: formatLevelName(name) }
}
