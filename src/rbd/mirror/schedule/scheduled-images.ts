import type { Cluster } from '../../../rados/cluster.ts'
import { Errno, isErrno } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { findImageName } from '../../directory.ts'
import { listNamespaces } from '../../namespaces.ts'
import { listMirrorImages } from '../image-entry.ts'
import { loadMirrorInfo } from '../mirror-info.ts'
import { formatLevelName } from './level.ts'
import type { ScheduleItem } from './schedule.ts'
import type { Schedules } from './schedules.ts'

/** An image that is due from time to time. */
export interface ScheduledImage {
  poolId: bigint
  namespace: string
  imageId: string
  /** `pool/ns/image` */
  name: string
  items: readonly ScheduleItem[]
}

/** The primary images of snapshot mode for which a schedule holds: no others get snapshots. */
export async function listScheduledImages(cluster: Cluster, schedules: Schedules): Promise<ScheduledImage[]> {
  const found: ScheduledImage[] = []
  for (const { id: poolId } of await cluster.listPools()) {
    if (!schedules.touches({ poolId, namespace: undefined, imageId: undefined })) continue
    let pool: IoCtx
    try {
      pool = await cluster.openPoolById(poolId)
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) continue
      throw error
    }
    try {
      for (const namespace of ['', ...(await listNamespaces(pool))]) {
        if (schedules.touches({ poolId, namespace, imageId: undefined })) found.push(...(await inNamespace(pool, namespace, schedules)))
      }
    } finally {
      pool.close()
    }
  }
  return found
}

async function inNamespace(pool: IoCtx, namespace: string, schedules: Schedules): Promise<ScheduledImage[]> {
  const { poolId, poolName } = pool
  const io = pool.duplicate({ namespace })
  const found: ScheduledImage[] = []
  try {
    for (const imageId of await listMirrorImages(io)) {
      const schedule = schedules.find({ poolId, namespace, imageId })
      if (!schedule || !(await isPrimary(io, imageId))) continue
      const image = await findImageName(io, imageId)
      if (image !== undefined) found.push({ poolId, namespace, imageId, name: formatLevelName({ pool: poolName, namespace, image }), items: schedule.items })
    }
  } finally {
    io.close()
  }
  return found
}

async function isPrimary(io: IoCtx, imageId: string): Promise<boolean> {
  try {
    const { image, promotion } = await loadMirrorInfo(io, imageId)
    return image.mode === 'snapshot' && image.state === 'enabled' && promotion.state === 'primary'
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return false // it has gone meanwhile
    throw error
  }
}
