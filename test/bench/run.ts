import { askAdminSocket } from '../../src/daemon/ask-admin-socket.ts'
import type { CephCluster } from '../support/ceph-cluster.ts'
import { compareImages, expectSameContent } from '../support/compare.ts'
import { MirrorDaemon, type DaemonKind } from '../support/daemon.ts'
import type { LibrbdClient } from '../support/librbd.ts'
import { createMirroredPool, replicaSnapshot } from '../support/mirroring.ts'
import type { ClusterPair } from '../support/pair.ts'
import { waitFor } from '../support/wait.ts'

export const MIB = 2 ** 20

export interface BenchParameters {
  /** Bytes of the image of the initial sync and the deltas. */
  readonly size: number
  /** Images of the scenario of many. */
  readonly images: number
  /** Writes of the journal's catch-up. */
  readonly writes: number
  /** Seconds of live load, and of watching an idle daemon. */
  readonly seconds: number
  /** More arguments for the daemons. */
  readonly args: readonly string[]
}

/** Bytes that the OSDs' clients moved: read from the source, written to the destination. */
export interface Traffic {
  readonly readFromSource: number
  readonly writtenToDestination: number
  readonly operationsOnDestination: number
}

/** What a scenario works with: a fresh mirrored pool, the primary's and the secondary's side, and the daemon under test. */
export class BenchRun {
  private daemon: MirrorDaemon | undefined
  private peak = 0

  constructor(
    readonly pair: ClusterPair,
    readonly primary: LibrbdClient,
    readonly secondary: LibrbdClient,
    readonly kind: DaemonKind,
    readonly pool: string,
    readonly parameters: BenchParameters,
  ) {}

  async prepare(): Promise<void> {
    await createMirroredPool(this.pair.a, this.pair.b, this.pool, { direction: 'rx-tx' })
  }

  spec(name: string): string {
    return `${this.pool}/${name}`
  }

  /** Creates an image on the primary cluster, with default features or with journaling as well. */
  async createImage(name: string, size: number, mode: 'snapshot' | 'journal'): Promise<string> {
    const features = mode === 'journal' ? ['--image-feature', 'layering,exclusive-lock,object-map,fast-diff,deep-flatten,journaling'] : []
    await this.pair.a.rbd('create', this.spec(name), '--size', `${Math.round(size / MIB)}M`, ...features)
    return this.spec(name)
  }

  startDaemon(args: readonly string[] = []): MirrorDaemon {
    if (this.daemon?.running) throw new Error('a daemon runs already')
    this.daemon = MirrorDaemon.start({ kind: this.kind, folder: this.pair.folder, cluster: this.pair.b.name, args: [...this.parameters.args, ...args] })
    return this.daemon
  }

  async stopDaemon(): Promise<void> {
    if (!this.daemon) return
    const daemon = this.daemon
    this.daemon = undefined
    if (!daemon.running) throw new Error(`the daemon ended by itself:\n${(daemon.log() + daemon.output()).slice(-3000)}`)
    this.peak = Math.max(this.peak, daemon.peakMemory())
    await daemon.stop()
  }

  /** Peak resident memory over all daemon processes of this run so far, bytes. */
  peakMemory(): number {
    return Math.max(this.peak, this.daemon?.running ? this.daemon.peakMemory() : 0)
  }

  /** Waits, looking every few milliseconds, until the replica holds the primary's snapshot `id`; performance.now() then. */
  async untilSynced(image: string, id: bigint, timeout = 300_000): Promise<number> {
    await waitFor(`${image} to hold snapshot ${id}`, async () => (await replicaSnapshot(this.secondary, image, id))?.mirror?.complete, {
      timeout,
      interval: 5,
      detail: () => this.daemonState(),
    })
    return performance.now()
  }

  daemonState(): string {
    if (!this.daemon) return 'no daemon'
    return `${this.daemon.running ? 'the daemon runs' : 'the daemon has ended'}; its log ends:\n${(this.daemon.log() + this.daemon.output()).slice(-2000)}`
  }

  verify(image: string, snapshot?: bigint): Promise<void> {
    return expectSameContent(this.primary, this.secondary, image, snapshot === undefined ? {} : { snapshot })
  }

  /** Compares the heads of both images: for journal mode, where the primary is at rest and everything has been replayed. */
  async verifyHeads(image: string): Promise<void> {
    const differences = await this.primary.with(image, 'read-only', (primary) =>
      this.secondary.with(image, 'read-only', (replica) => compareImages(primary, replica)),
    )
    if (differences.length > 0) throw new Error(`the replica of ${image} differs in ${differences.length} places, first at ${differences[0]!.offset}`)
  }

  /** Waits until the replica's block at `offset` holds `expected`; performance.now() then. */
  async untilReplicaHolds(image: string, offset: number, expected: Buffer, timeout = 600_000): Promise<number> {
    const found = Buffer.alloc(expected.length)
    await waitFor(
      `the replica of ${image} to hold the mark at ${offset}`,
      () =>
        this.secondary.with(image, 'read-only', async (replica) => {
          await replica.read(offset, found)
          return found.equals(expected)
        }),
      { timeout, interval: 10, detail: () => this.daemonState() },
    )
    return performance.now()
  }

  async traffic(): Promise<Traffic> {
    const [source, destination] = await Promise.all([osdCounters(this.pair.a), osdCounters(this.pair.b)])
    return {
      readFromSource: source['op_out_bytes'] ?? 0,
      writtenToDestination: destination['op_in_bytes'] ?? 0,
      operationsOnDestination: destination['op'] ?? 0,
    }
  }

  async finish(): Promise<void> {
    if (this.daemon?.running) await this.daemon.stop()
    await Promise.all([this.pair.a.deletePool(this.pool), this.pair.b.deletePool(this.pool)])
  }

  /** For a run that failed: nothing may be left running. */
  async abandon(): Promise<void> {
    await this.daemon?.kill()
    await Promise.allSettled([this.pair.a.deletePool(this.pool), this.pair.b.deletePool(this.pool)])
  }
}

async function osdCounters(cluster: CephCluster): Promise<Record<string, number>> {
  const dump = JSON.parse(await askAdminSocket(cluster.adminSocket('osd.0'), 'perf dump')) as { osd: Record<string, number> }
  return dump.osd
}

/** How soon the cluster's monitor proposes: changed while it runs, so that all scenarios use one pair of clusters. */
export async function setMonitors(pair: ClusterPair, speed: 'quick' | 'stock'): Promise<void> {
  const [interval, wait] = speed === 'quick' ? ['0.05', '0.01'] : ['1.0', '0.05']
  for (const cluster of [pair.a, pair.b]) {
    await cluster.ceph('tell', 'mon.x', 'config', 'set', 'paxos_propose_interval', interval)
    await cluster.ceph('tell', 'mon.x', 'config', 'set', 'paxos_min_wait', wait)
  }
}
