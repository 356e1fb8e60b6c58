import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { Errno, isErrno } from '../../src/rados/errors.ts'
import { RBD_CHILDREN, RBD_DIRECTORY, RBD_TRASH } from '../../src/rbd/names.ts'
import type { CephCluster } from './ceph-cluster.ts'
import { RbdClient } from './rbd.ts'

/** Of the pool as a whole; they come with the first image that needs them, and stay. */
const OF_POOL = [RBD_CHILDREN, RBD_DIRECTORY, RBD_TRASH]

/** Every object of an image in a pool's namespace, each with its omap keys, and those of the pool: what two looks differ in is what was left behind. */
export async function tracesIn(cluster: CephCluster, pool: string, namespace = ''): Promise<string[]> {
  await using client = await RbdClient.connect(cluster)
  const io = await client.pool(pool, namespace)
  const traces: string[] = []
  for await (const oid of io.listObjects()) {
    if (!(await hasHead(io, oid))) continue
    traces.push(...(OF_POOL.includes(oid) ? [] : [oid]), ...(await omapKeys(io, oid)).map((key) => `${oid}: ${key}`))
  }
  return traces.sort()
}

/** Without one only clones are left, which wait for the OSD to trim their removed snapshots. */
async function hasHead(io: IoCtx, oid: string): Promise<boolean> {
  try {
    await io.stat(oid)
    return true
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return false
    throw error
  }
}

async function omapKeys(io: IoCtx, oid: string): Promise<string[]> {
  const keys: string[] = []
  try {
    for (let after = ''; ; after = keys.at(-1)!) {
      const { entries, more } = await io.omapGet(oid, after, '', 1024)
      keys.push(...entries.keys())
      if (!more || entries.size === 0) return keys
    }
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return keys
    throw error
  }
}
