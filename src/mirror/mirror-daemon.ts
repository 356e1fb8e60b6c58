import { Backoff } from '../base/backoff.ts'
import { isCancelled } from '../base/cancelled.ts'
import { delay } from '../base/clock.ts'
import { MemoryShare } from '../base/memory-share.ts'
import { Scope } from '../base/scope.ts'
import { Semaphore } from '../base/semaphore.ts'
import { untilAborted } from '../base/until-aborted.ts'
import type { Cluster } from '../rados/cluster.ts'
import { EBLOCKLISTED, isErrno } from '../rados/errors.ts'
import { BufferPool } from '../rbd/data/buffer-pool.ts'
import { offerCommands, type Commanded } from './admin-commands.ts'
import { Bandwidth } from './bandwidth.ts'
import { ClusterWatcher, type ClusterState } from './cluster-watcher.ts'
import type { MirrorDaemonOptions } from './daemon-options.ts'
import { BYTE_BUDGET, JOURNAL_MEMORY, JOURNAL_MEMORY_EACH } from './options.ts'
import { describePeer, diffPoolPeers, type MirroredPool, type PoolPeer } from './peers.ts'
import { PoolMetaCache } from './pool-meta-cache.ts'
import { PoolReplayer } from './pool-replayer.ts'
import type { Bootstrap } from './replayer.ts'
import { SnapshotScheduler } from './schedule/snapshot-scheduler.ts'
import { ServiceStatus } from './service-status.ts'

const RECONNECT_FIRST_MS = 500
const RECONNECT_MAX_MS = 15_000

interface RunningPool {
  pool: MirroredPool
  replayer: PoolReplayer
  scope: Scope
  withdrawCommands: () => void
}

/** Mirrors all pools of the local cluster from their peers. */
export class MirrorDaemon implements Commanded {
  private readonly pools = new Map<string, RunningPool>()
  private readonly callouts = new Map<bigint, ReturnType<ServiceStatus['callout']>>()
  private readonly serviceStatus = new ServiceStatus()
  private readonly poolMeta = new PoolMetaCache()
  private readonly byteBudget = new Semaphore(BYTE_BUDGET)
  private readonly buffers = new BufferPool(BYTE_BUDGET)
  private readonly journalMemory = new MemoryShare(JOURNAL_MEMORY, JOURNAL_MEMORY_EACH)
  private readonly bandwidth: Bandwidth
  private siteName = ''
  private manualStop = false
  private changes: Promise<void> = Promise.resolve()

  constructor(
    private readonly options: MirrorDaemonOptions,
    private readonly bootstrap: Bootstrap,
  ) {
    this.bandwidth = new Bandwidth(options.clock)
  }

  /**
   * Runs until the signal is aborted; everything is stopped and given back when it resolves.
   * Rejects only when the first connection to the local cluster fails.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, log, adminCommands } = this.options
    let cluster: Cluster | undefined = await this.options.connectLocal(signal)
    const withdraw = offerCommands(adminCommands, [], 'rbd mirror', this)
    const unfollow = this.options.followBandwidthRules?.((rules) => this.bandwidth.setRules(rules))
    this.options.metrics.bandwidth = () => this.bandwidth.figures()
    const backoff = new Backoff(random, RECONNECT_FIRST_MS, RECONNECT_MAX_MS)
    try {
      for (;;) {
        try {
          cluster ??= await this.options.connectLocal(signal)
          backoff.reset()
          await this.follow(cluster, signal)
        } catch (error) {
          if (signal.aborted) return
          log.error({ err: error }, 'connection to the local cluster lost')
        } finally {
          await cluster?.close()
          cluster = undefined
        }
        await delay(clock, backoff.step(), signal)
      }
    } catch (error) {
      if (!isCancelled(error)) throw error
    } finally {
      withdraw()
      await this.stopPools([...this.pools.keys()])
      unfollow?.()
    }
  }

  /** With one connection; ends with it. The pools have their own and go on. */
  private async follow(cluster: Cluster, signal: AbortSignal): Promise<void> {
    const { clock, log, options, daemonId, hostname, serviceMetadata } = this.options
    const scope = new Scope(signal)
    const watcher = new ClusterWatcher({ cluster, options, clock, log, onState: (state) => this.apply(state, signal) })
    const metadata = { ...serviceMetadata, id: daemonId, hostname }
    scope.spawn('service', async (stop) => {
      try {
        await this.serviceStatus.run(cluster, metadata, { clock, log }, stop)
      } catch (error) {
        if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
        log.error({ err: error }, 'cannot register as a service: the daemon is not shown by the cluster')
      }
    })
    scope.spawn('cluster', (stop) => watcher.run(stop))
    const stopSchedules = this.runSchedules(cluster, scope)
    await untilAborted(scope.signal)
    stopSchedules?.()
    await this.stopPoolsWhen(signal)
    await scope.close()
  }

  private runSchedules(cluster: Cluster, scope: Scope): (() => void) | undefined {
    const { clock, random, log } = this.options
    const scheduler = new SnapshotScheduler({ cluster, clock, random, log })
    return this.options.everyMinute?.(() => {
      if (!scope.signal.aborted) scope.spawn('snapshot schedules', (stop) => scheduler.tick(stop))
    })
  }

  /** The pools stop before the connection goes that tells the cluster of them. */
  private async stopPoolsWhen(signal: AbortSignal): Promise<void> {
    if (signal.aborted) await this.stopPools([...this.pools.keys()])
  }

  private apply(state: ClusterState, signal: AbortSignal): void {
    this.siteName = state.siteName
    const seen = new Set<bigint>()
    for (const pool of state.pools) {
      seen.add(pool.poolId)
      this.serviceStatus.addPool(pool.poolId, pool.poolName)
      let callout = this.callouts.get(pool.poolId)
      if (!callout) this.callouts.set(pool.poolId, (callout = this.serviceStatus.callout(pool.poolId)))
      callout.set(pool.callout)
    }
    // one change at a time, so that a peer that comes back finds its predecessor stopped
    this.changes = this.changes
      .then(() => this.change(state.pools, signal))
      .catch((error: unknown) => this.options.log.error({ err: error }, 'cannot follow a change of the mirrored pools'))
    for (const poolId of this.serviceStatus.poolIds()) {
      if (seen.has(poolId)) continue
      this.callouts.delete(poolId)
      this.serviceStatus.removePool(poolId)
    }
  }

  private async change(pools: readonly MirroredPool[], signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    // a pool whose settings could not be read keeps what it has
    const unreadable = new Set(pools.filter((pool) => pool.unreadable).map(({ poolId }) => poolId))
    const { stop, start } = diffPoolPeers(this.pools.keys(), pools)
    await this.stopPools(stop.filter((key) => !unreadable.has(this.pools.get(key)!.pool.poolId)))
    for (const [key, poolPeer] of start) this.startPool(key, poolPeer, signal)
  }

  private startPool(key: string, { pool, peer }: PoolPeer, signal: AbortSignal): void {
    const { log } = this.options
    log.info({ pool: pool.poolName, peer: describePeer(peer) }, 'replaying a pool')
    const replayer = new PoolReplayer({
      daemon: this.options,
      poolId: pool.poolId,
      poolName: pool.poolName,
      peer,
      byteBudget: this.byteBudget,
      buffers: this.buffers,
      journalMemory: this.journalMemory,
      bandwidth: this.bandwidth,
      pools: this.poolMeta,
      serviceStatus: this.serviceStatus,
      bootstrap: this.bootstrap,
      log,
      siteName: () => this.siteName,
    })
    if (this.manualStop) void replayer.stop()
    const scope = new Scope(signal, (error) => log.error({ err: error, pool: pool.poolName }, 'pool replayer ended'))
    scope.spawn(`pool ${pool.poolName}`, (stop) => replayer.run(stop))
    this.pools.set(key, { pool, replayer, scope, withdrawCommands: this.offerPoolCommands(pool.poolName, peer.siteName, replayer) })
  }

  private offerPoolCommands(pool: string, site: string, replayer: PoolReplayer): () => void {
    const { adminCommands, log } = this.options
    const offered: (() => void)[] = []
    try {
      offered.push(offerCommands(adminCommands, [pool, site], `${pool} ${site}`, replayer))
      const words = ['rbd', 'mirror', 'deletion', 'status', pool]
      offered.push(adminCommands.register({ words, help: `get status for image deleter ${pool}`, run: () => replayer.deletionStatus() }))
    } catch (error) {
      log.warn({ err: error, pool, site }, 'another peer of the pool has the same admin commands')
    }
    return () => {
      for (const withdraw of offered) withdraw()
    }
  }

  private async stopPools(keys: readonly string[]): Promise<void> {
    await Promise.all(
      keys.map(async (key) => {
        const running = this.pools.get(key)
        if (!running) return
        this.pools.delete(key)
        running.withdrawCommands()
        await running.scope.close()
        this.options.log.info({ pool: running.pool.poolName }, 'pool no longer replayed')
      }),
    )
  }

  // --- what an operator commands ---

  status(): unknown {
    return { pool_replayers: [...this.pools.values()].map(({ replayer }) => replayer.status()) }
  }

  async start(): Promise<void> {
    this.manualStop = false
    await this.each((replayer) => Promise.resolve(replayer.start()))
  }

  /** Sticks until `start` or `restart`. */
  async stop(): Promise<void> {
    this.manualStop = true
    await this.each((replayer) => replayer.stop())
  }

  async restart(): Promise<void> {
    this.manualStop = false
    await this.each((replayer) => replayer.restart())
  }

  async flush(): Promise<void> {
    await this.each((replayer) => replayer.flush())
  }

  async releaseLeader(): Promise<void> {
    await this.each((replayer) => {
      replayer.releaseLeader()
      return Promise.resolve()
    })
  }

  private async each(command: (replayer: PoolReplayer) => Promise<void>): Promise<void> {
    await Promise.all([...this.pools.values()].map(({ replayer }) => command(replayer)))
  }
}
