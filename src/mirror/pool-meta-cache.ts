import type { PoolMetaLookup } from './image-context.ts'
import type { RemotePoolMeta } from './remote-pool.ts'

/** What is known of the mirroring of all pools that are replayed; a clone's parent may live in another pool than the clone. */
export class PoolMetaCache implements PoolMetaLookup {
  private readonly locals = new Map<bigint, { mirrorUuid: string }>()
  private readonly remotes = new Map<bigint, RemotePoolMeta>()

  local(poolId: bigint): { mirrorUuid: string } | undefined {
    return this.locals.get(poolId)
  }

  remote(poolId: bigint): RemotePoolMeta | undefined {
    return this.remotes.get(poolId)
  }

  setLocal(poolId: bigint, meta: { mirrorUuid: string } | undefined): void {
    if (meta) this.locals.set(poolId, meta)
    else this.locals.delete(poolId)
  }

  setRemote(poolId: bigint, meta: RemotePoolMeta | undefined): void {
    if (meta) this.remotes.set(poolId, meta)
    else this.remotes.delete(poolId)
  }
}
