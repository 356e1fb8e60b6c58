import { expect } from 'vitest'
import type { CephCluster } from './ceph-cluster.ts'
import { comparable, OurRbd, type Comparable, type CommandResult } from './rbd-command.ts'

export interface TwinOptions {
  /** of the same length, or tables would not be of the same width */
  readonly pools: { readonly theirs: string; readonly ours: string }
  /** what differs each time besides the pools' names */
  readonly masks?: readonly (readonly [RegExp, string])[]
  /** whether what librbd logs has to be said as well */
  readonly compareLog: boolean
}

/** Twin pools of one cluster: what the installed `rbd` does in one, ours does in the other, and both have to say and leave the same. */
export class RbdTwin {
  readonly pools: readonly [theirs: string, ours: string]

  private constructor(
    private readonly cluster: CephCluster,
    private readonly ours: OurRbd,
    private readonly options: TwinOptions,
  ) {
    this.pools = [options.pools.theirs, options.pools.ours]
  }

  static async create(cluster: CephCluster, options: TwinOptions): Promise<RbdTwin> {
    const twin = new RbdTwin(cluster, await OurRbd.connect(cluster), options)
    for (const pool of twin.pools) await cluster.createPool(pool)
    return twin
  }

  async remove(): Promise<void> {
    await this.ours.close()
    await Promise.all(this.pools.map((pool) => this.cluster.deletePool(pool)))
  }

  /**
   * Runs each line with both; POOL is the twin's name, and `''` an empty word. Lines that begin with `=` are the installed tool's in both
   * pools: what was left behind.
   *
   * @param own words that stand for something else in each pool, e.g. an image's id
   */
  async same(lines: readonly string[], { input, own = {} }: { input?: string; own?: Readonly<Record<string, readonly [theirs: string, ours: string]>> } = {}): Promise<void> {
    const [theirs, ours] = this.pools
    const options = input === undefined ? {} : { input }
    const words = (line: string, pool: string, side: 0 | 1) =>
      line.split(' ').map((word) => {
        if (word === "''") return ''
        return Object.entries(own).reduce((text, [name, values]) => text.replaceAll(name, values[side]), word.replaceAll('POOL', pool))
      })
    for (const line of lines) {
      const look = line.startsWith('= ')
      const text = look ? line.slice(2) : line
      const args = words(text, ours, 1)
      const expected = this.cluster.tryRbd(words(text, theirs, 0), options)
      const got = look ? this.cluster.tryRbd(args, options) : this.ours.run(args, input)
      expect.soft({ line, ...this.shown(await got) }).toEqual({ line, ...this.shown(await expected) })
    }
  }

  private shown(result: CommandResult): Partial<Comparable> {
    const { masks = [], compareLog } = this.options
    const { logged, ...said } = comparable(result, [[new RegExp(this.pools.join('|'), 'g'), 'POOL'], ...masks])
    return compareLog ? { ...said, logged } : said
  }
}

export const allFormats = (line: string): string[] => [
  line,
  `${line} --format json`,
  `${line} --format json --pretty-format`,
  `${line} --format xml`,
  `${line} --format xml --pretty-format`,
]
