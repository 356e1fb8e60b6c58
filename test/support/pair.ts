import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CephCluster, type CephClusterOptions } from './ceph-cluster.ts'
import { isRunning } from './cluster-process.ts'
import { LibrbdClient } from './librbd.ts'

/** Names that no operator has below /etc/ceph: both configuration files stand in one folder, the daemons' working directory. */
export const PAIR_NAMES = ['rbdtest-a', 'rbdtest-b'] as const
const FOLDER_PREFIX = 'rbd-mirror-test-'
const OWNER_FILE = 'owner.pid'
const CLIENTS_CLOSE_MS = 5_000

/** Two clusters of which `b` mirrors from `a` (or both from each other), and a librbd connection to each. */
export class ClusterPair implements AsyncDisposable {
  private clients: Promise<{ a: LibrbdClient; b: LibrbdClient }> | undefined

  private constructor(
    /** Holds `NAME.conf` of both: a daemon started here finds either by its cluster name. */
    readonly folder: string,
    readonly a: CephCluster,
    readonly b: CephCluster,
    private readonly owned: boolean,
  ) {}

  /** Starts a pair of its own in a new temporary folder; `close` ends and removes it. */
  static async start(options: Omit<CephClusterOptions, 'name' | 'folder'> = {}): Promise<ClusterPair> {
    await removeAbandonedPairs()
    const folder = mkdtempSync(join(tmpdir(), FOLDER_PREFIX))
    writeFileSync(join(folder, OWNER_FILE), String(process.pid))
    const started = await Promise.allSettled(PAIR_NAMES.map((name) => CephCluster.start({ ...options, name, folder })))
    const [a, b] = started.map((result) => (result.status === 'fulfilled' ? result.value : undefined))
    if (a && b) return new ClusterPair(folder, a, b, true)
    await Promise.all([a?.close(), b?.close()])
    throw (started.find((result) => result.status === 'rejected') as PromiseRejectedResult).reason
  }

  /** The pair that the test run's global set-up started. */
  static attach(folder: string): ClusterPair {
    const [a, b] = PAIR_NAMES.map((name) => CephCluster.attach(folder, name))
    return new ClusterPair(folder, a!, b!, false)
  }

  /** Ends what is left of both clusters, and starts new ones in their place. */
  async startAgain(options: Omit<CephClusterOptions, 'name' | 'folder'>): Promise<void> {
    await Promise.all(PAIR_NAMES.map((name) => CephCluster.start({ ...options, name, folder: this.folder })))
  }

  /** librbd connections as client.admin, opened at the first use. */
  connect(): Promise<{ a: LibrbdClient; b: LibrbdClient }> {
    this.clients ??= Promise.all([LibrbdClient.connect(this.a), LibrbdClient.connect(this.b)]).then(([a, b]) => ({ a, b }))
    return this.clients
  }

  async close(): Promise<void> {
    const clients = await this.clients
    // While both clusters answer: a connection to one that is gone would hold up the process's end. Broken ones are not waited for.
    if (clients) await Promise.race([Promise.all([clients.a.close(), clients.b.close()]), sleep(CLIENTS_CLOSE_MS, undefined, { ref: false })])
    if (!this.owned) return
    await Promise.all([this.a.close(), this.b.close()])
    if (!process.env['RBD_MIRROR_KEEP']) rmSync(this.folder, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** Ends and removes pairs whose test process died without doing so. */
async function removeAbandonedPairs(): Promise<void> {
  for (const name of readdirSync(tmpdir()).filter((entry) => entry.startsWith(FOLDER_PREFIX))) {
    const folder = join(tmpdir(), name)
    const ownerFile = join(folder, OWNER_FILE)
    if (!existsSync(ownerFile) || isRunning(Number(readFileSync(ownerFile, 'utf8')))) continue
    if (process.env['RBD_MIRROR_KEEP']) continue
    await Promise.all(PAIR_NAMES.map((cluster) => CephCluster.remove({ folder, name: cluster })))
    rmSync(folder, { recursive: true, force: true })
  }
}
