import { getChildren } from '../cls/rbd/client.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { SnapId } from '../rados/io-ctx.ts'
import { Image } from './image.ts'
import { RBD_CHILDREN } from './names.ts'
import { childrenOf } from './operations/children.ts'

/** A clone by the names that users know. */
export interface ChildLink {
  poolId: bigint
  /** undefined when the pool is gone */
  pool: string | undefined
  poolNamespace: string
  /** '' when the image is gone */
  image: string
  id: string
  inTrash: boolean
}

/** The clones of some snapshots of an image, sorted by pool, namespace and name (librbd/api/Image.cc, list_children). */
export async function childLinks(image: Image, snapshots: readonly SnapId[], descendants: boolean): Promise<ChildLink[]> {
  const { cluster } = image.options
  const pools = await cluster.listPools()
  const found: ChildLink[] = []
  const add = async (poolId: bigint, poolNamespace: string, id: string) => {
    const pool = pools.find((candidate) => candidate.id === poolId)
    const link: ChildLink = { poolId, pool: pool?.name, poolNamespace, image: '', id, inTrash: false }
    found.push(link)
    if (!pool) return
    const base = await cluster.openPoolById(poolId)
    const io = base.duplicate({ namespace: poolNamespace })
    base.close()
    try {
      const child = await Image.open(io, { id }, { ...image.options, access: 'read-only' })
      try {
        link.image = child.header.name
        link.inTrash = child.header.inTrash
        if (descendants) found.push(...(await childLinks(child, child.header.snapshots.map((snapshot) => snapshot.id), true)))
      } finally {
        await child.close()
      }
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT)) throw error
    } finally {
      io.close()
    }
  }
  for (const snapId of snapshots) {
    for (const { id } of pools) {
      const io = await cluster.openPoolById(id)
      try {
        const parent = { poolId: image.io.poolId, imageId: image.id, snapId }
        for (const child of await getChildren.call(io, RBD_CHILDREN, parent)) await add(id, '', child)
      } catch (error) {
        if (!isErrno(error, Errno.ENOENT)) throw error
      } finally {
        io.close()
      }
    }
    for (const { poolId, poolNamespace, imageId } of await childrenOf(image.io, image.id, snapId)) await add(poolId, poolNamespace, imageId)
  }
  const key = ({ pool, poolNamespace, image: name }: ChildLink) => `${pool ?? ''}\u0000${poolNamespace}\u0000${name}`
  return found.sort((a, b) => (key(a) < key(b) ? -1 : 1))
}
