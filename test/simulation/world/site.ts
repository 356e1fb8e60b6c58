import { silentLog } from '../../../src/base/log.ts'
import type { EmulatedCluster } from '../../../src/drivers/emulator/cluster.ts'
import type { EmulatorDriver } from '../../../src/drivers/emulator/driver.ts'
import type { IoCtx } from '../../../src/rados/io-ctx.ts'
import { Image } from '../../../src/rbd/image.ts'
import type { ObservedEngine } from './observed-engine.ts'
import type { Connection } from './process.ts'
import type { SeededRandom } from '../../support/seeded-random.ts'
import type { VirtualClock } from './virtual-clock.ts'

export const POOL = 'data'

/** One cluster, with a connection of our own that sees all, at once, and changes nothing. */
export class Site {
  observer!: EmulatedCluster
  io!: IoCtx
  /** connections by their addresses, closed ones as well */
  readonly clients = new Map<string, Connection>()

  constructor(
    readonly name: string,
    readonly driver: EmulatorDriver,
    readonly engine: ObservedEngine,
    private readonly clock: VirtualClock,
    private readonly random: SeededRandom,
  ) {}

  async start(): Promise<void> {
    await this.driver.create({ monHost: `memory:${this.name}` })
    this.observer = await this.driver.connect({ name: this.name, entity: 'client.observer', options: {} })
    await this.observer.monCommand({ prefix: 'osd pool create', pool: POOL, pg_num: 1 })
    this.io = await this.observer.openPool(POOL)
  }

  /** Opens an image to look at it: nobody notices. */
  async look<T>(id: string, task: (image: Image) => Promise<T>): Promise<T> {
    const { clock, random, observer: cluster } = this
    const image = await Image.open(this.io, { id }, { cluster, access: 'read-only', clock, random, log: silentLog })
    try {
      return await task(image)
    } finally {
      await image.close()
    }
  }
}
