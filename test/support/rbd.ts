import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { libradosDriver } from '../../src/drivers/librados/driver.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { Image, type ImageOptions } from '../../src/rbd/image.ts'
import type { CephCluster } from './ceph-cluster.ts'

/** Our own connection to a real cluster, and images of it; closing it closes all that was opened from it. */
export class RbdClient implements AsyncDisposable {
  private constructor(
    readonly cluster: Cluster,
    private readonly opened: Image[] = [],
    private readonly contexts: IoCtx[] = [],
  ) {}

  static async connect(cluster: Pick<CephCluster, 'name' | 'conf'>, entity = 'client.admin'): Promise<RbdClient> {
    return new RbdClient(await libradosDriver.connect({ name: cluster.name, entity, confFile: cluster.conf, options: {} }))
  }

  async pool(name: string, namespace = ''): Promise<IoCtx> {
    const pool = await this.cluster.openPool(name)
    this.contexts.push(pool)
    if (namespace === '') return pool
    const context = pool.duplicate({ namespace })
    this.contexts.push(context)
    return context
  }

  get options(): Omit<ImageOptions, 'access'> {
    return { cluster: this.cluster, clock: systemClock, random: systemRandom, log: silentLog }
  }

  async open(pool: string | IoCtx, name: string, options: Partial<ImageOptions> = {}): Promise<Image> {
    const io = typeof pool === 'string' ? await this.pool(pool) : pool
    const image = await Image.open(io, { name }, { ...this.options, access: 'write', ...options })
    this.opened.push(image)
    return image
  }

  async close(): Promise<void> {
    for (const image of this.opened) await image.close()
    for (const context of this.contexts) context.close()
    await this.cluster.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** `rbd info --format json`, as far as tests look at it. */
export interface RbdInfo {
  name: string
  id: string
  size: number
  objects: number
  order: number
  object_size: number
  data_pool?: string
  snapshot_count: number
  block_name_prefix: string
  features: string[]
  op_features: string[]
  flags: string[]
  stripe_unit?: number
  stripe_count?: number
  parent?: { pool: string; pool_namespace: string; image: string; id: string; snapshot: string; overlap: number }
}

/** `rbd snap ls --all --format json`, as far as tests look at it. */
export interface RbdSnapshot {
  id: number
  name: string
  size: number
  protected: string
  namespace: { type: string; state?: string; complete?: boolean; mirror_peer_uuids?: string[] }
}
