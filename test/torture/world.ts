import type { MirrorDaemon, DaemonKind } from '../support/daemon.ts'
import { compareImages, contentDigest } from '../support/compare.ts'
import { startDaemon } from '../support/e2e.ts'
import { expectReplayed } from '../support/journal.ts'
import type { LibrbdClient, LibrbdImage } from '../support/librbd.ts'
import { createMirroredPool, imageStatus, latestPrimarySnapshot, waitForState, waitForSync } from '../support/mirroring.ts'
import type { ClusterPair } from '../support/pair.ts'
import { waitFor } from '../support/wait.ts'
import type { SeededRandom } from '../support/seeded-random.ts'

export const POOL = 'torture'
export const MODES = ['snapshot', 'journal'] as const
/** Whatever is broken is whole again after so long. */
export const PATIENCE_MS = 120_000
const IMAGE_MIB = 16
const IMAGES_PER_MODE = 2

export type Site = 'a' | 'b'
export const other = (site: Site): Site => (site === 'a' ? 'b' : 'a')

export interface Victim {
  spec: string
  mode: (typeof MODES)[number]
  primary: Site
  /** of every mirror-snapshot that it has had, and of its beginning: what a forced promotion may go back to */
  states: Set<string>
  userSnapshots: string[]
}

/** Two clusters, a daemon on each, and images whose primary is now here, now there. */
export class World {
  readonly daemons: Partial<Record<Site, MirrorDaemon>> = {}
  readonly victims: Victim[] = []
  private clients!: { a: LibrbdClient; b: LibrbdClient }

  constructor(
    readonly pair: ClusterPair,
    readonly dice: SeededRandom,
    /** whether the stock daemon takes its turns */
    private readonly mixed: boolean,
    readonly tell: (text: string) => void,
  ) {}

  async begin(): Promise<void> {
    this.clients = await this.pair.connect()
    await createMirroredPool(this.pair.a, this.pair.b, POOL)
    await Promise.all([this.startDaemon('a'), this.startDaemon('b')])
    for (const mode of MODES) {
      for (let number = 0; number < IMAGES_PER_MODE; number++) {
        const victim: Victim = { spec: `${POOL}/${mode}-${number}`, mode, primary: number % 2 === 0 ? 'a' : 'b', states: new Set(), userSnapshots: [] }
        await this.pair[victim.primary].rbd('create', victim.spec, '--size', `${IMAGE_MIB}M`, ...(mode === 'journal' ? ['--image-feature', 'exclusive-lock,journaling', '--journal-object-size', '1M'] : []))
        await this.pair[victim.primary].rbd('mirror', 'image', 'enable', victim.spec, mode)
        this.victims.push(victim)
        if (mode === 'snapshot') await this.noteState(victim)
        await waitForState(this.pair[other(victim.primary)], victim.spec, 'up+replaying', /^/, PATIENCE_MS)
      }
    }
  }

  async startDaemon(site: Site, kind: DaemonKind = this.mixed && this.dice.chance(0.5) ? 'stock' : 'source'): Promise<void> {
    this.tell(`daemon of ${site}: ${kind}`)
    const daemon = startDaemon(this.pair, { site, kind })
    this.daemons[site] = daemon
    await daemon.waitUntilUp(PATIENCE_MS)
  }

  client(site: Site): LibrbdClient {
    return this.clients[site]
  }

  onPrimary<T>({ primary, spec }: Victim, task: (image: LibrbdImage) => Promise<T>): Promise<T> {
    return this.clients[primary].with(spec, 'write', task)
  }

  digestOf(site: Site, spec: string): Promise<string> {
    return this.clients[site].with(spec, 'read-only', contentDigest)
  }

  /** Notes what the newest mirror-snapshot of the primary holds. */
  async noteState(victim: Victim): Promise<bigint> {
    const { primary, spec, states } = victim
    const { id } = await latestPrimarySnapshot(this.clients[primary], spec)
    states.add(
      await this.clients[primary].with(spec, 'read-only', async (image) => {
        await image.setSnapshot(id)
        return contentDigest(image)
      }),
    )
    return id
  }

  async mirrorSnapshot(victim: Victim): Promise<bigint> {
    await this.pair[victim.primary].rbd('mirror', 'image', 'snapshot', victim.spec)
    return this.noteState(victim)
  }

  /** Waits until the replica has all that the primary has, and compares them byte for byte. */
  async check(victim: Victim): Promise<void> {
    const { primary, spec, mode } = victim
    if (mode === 'journal') {
      // something to wait for: what was written last may have gone with the client that wrote it
      await this.onPrimary(victim, (image) => image.write(0, this.dice.bytes(512)).then(() => image.flush()))
      return expectReplayed(this.pair, spec, { from: primary, timeout: PATIENCE_MS })
    }
    const id = await this.mirrorSnapshot(victim)
    const [source, replica] = [this.clients[primary], this.clients[other(primary)]]
    await waitForSync(source, replica, spec, { primarySnapId: id, timeout: PATIENCE_MS })
    await source.with(spec, 'read-only', (left) =>
      replica.with(spec, 'read-only', async (right) => {
        await left.setSnapshot(id)
        const differences = await compareImages(left, right)
        if (differences.length > 0) throw new Error(`${spec} differs in ${differences.length} places, first at ${differences[0]!.offset}`)
      }),
    )
  }

  async promote(site: Site, { spec }: Victim): Promise<void> {
    let refusal = ''
    await waitFor(
      `${spec} to be promoted on ${site}`,
      async () => {
        const { code, stderr } = await this.pair[site].tryRbd(['mirror', 'image', 'promote', spec])
        refusal = stderr
        return code === 0
      },
      { timeout: PATIENCE_MS, interval: 200, detail: () => refusal },
    )
  }

  /** Until the old primary follows the new one. The stock daemon sees split-brains where there are none; ours takes its place then. */
  async waitUntilFollowed({ spec, primary }: Victim): Promise<void> {
    const site = other(primary)
    let seen: unknown
    await waitFor(
      `${spec} to be replayed on ${site}`,
      async () => {
        const status = await imageStatus(this.pair[site], spec)
        seen = status
        if (status && /split-brain/.test(status.description)) {
          const daemon = this.daemons[site]!
          if (daemon.kind === 'source') throw new Error(`untrue split-brain of ${spec}: ${status.description}`)
          this.tell(`the stock daemon of ${site} says: ${spec} ${status.description}`)
          await daemon.stop()
          await this.startDaemon(site, 'source')
          return false
        }
        return status?.state === 'up+replaying'
      },
      { timeout: PATIENCE_MS, interval: 200, detail: () => seen },
    )
  }
}
