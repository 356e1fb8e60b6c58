import PQueue from 'p-queue'
import { Backoff } from '../base/backoff.ts'
import { isCancelled } from '../base/cancelled.ts'
import { delay } from '../base/clock.ts'
import type { MemoryShare } from '../base/memory-share.ts'
import type { Log } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import { Semaphore } from '../base/semaphore.ts'
import { untilAborted } from '../base/until-aborted.ts'
import { mirrorUuidGet } from '../cls/rbd/mirror-client.ts'
import type { PeerMetrics } from '../observability/metrics.ts'
import type { Cluster } from '../rados/cluster.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import type { BufferPool } from '../rbd/data/buffer-pool.ts'
import { RBD_MIRRORING } from '../rbd/names.ts'
import type { Commanded } from './admin-commands.ts'
import type { Bandwidth } from './bandwidth.ts'
import type { MirrorDaemonOptions } from './daemon-options.ts'
import { closeAfterAbort } from './late-close.ts'
import { Leader, type LeaderState } from './leader.ts'
import type { NamespaceReplayer } from './namespace-replayer.ts'
import { NamespaceSet } from './namespace-set.ts'
import { MAX_IMAGE_STARTS } from './options.ts'
import { describePeer, type PeerSpec } from './peers.ts'
import type { PoolContext } from './pool-context.ts'
import type { PoolMetaCache } from './pool-meta-cache.ts'
import { RemoteReplayer } from './remote-replayer.ts'
import type { Bootstrap } from './replayer.ts'
import type { ServiceStatus } from './service-status.ts'
import { SnapIdAllocator } from './snap-id-allocator.ts'

const RECONNECT_FIRST_MS = 500
const RECONNECT_MAX_MS = 15_000
/** After this long a stopping pool closes its local connection under whatever still waits for it; the remote one goes before. */
const STOP_LIMIT_MS = 3_500

type PoolReplayerState =
  /** without a local connection */
  | { type: 'disconnected' }
  | { type: 'connected'; cluster: Cluster; leader: Leader }
  | { type: 'stopped' }

/** What exists only while we lead. */
interface Leading {
  namespaces: NamespaceSet
  remote: RemoteReplayer
}

export interface PoolReplayerOptions {
  readonly daemon: MirrorDaemonOptions
  readonly poolId: bigint
  readonly poolName: string
  readonly peer: PeerSpec
  readonly byteBudget: Semaphore
  readonly buffers: BufferPool
  readonly journalMemory: MemoryShare
  readonly bandwidth: Bandwidth
  readonly pools: PoolMetaCache
  readonly serviceStatus: ServiceStatus
  readonly bootstrap: Bootstrap
  readonly log: Log
  /** our own site's name, as it is now */
  siteName(): string
}

/**
 * One local pool and one peer of it.
 *
 *     connect local ──▶ stand by ──leader──▶ namespaces, trash, snapshot ids
 *                                       └──▶ the remote: see RemoteReplayer
 *
 * A lost local connection begins anew from the left, with a new client instance.
 */
export class PoolReplayer implements Commanded {
  private state: PoolReplayerState = { type: 'disconnected' }
  private leading: Leading | undefined
  private manualStop = false
  private readonly syncs: PQueue
  private readonly deletions: PQueue
  private readonly log: Log
  private readonly callout: ReturnType<ServiceStatus['callout']>
  private readonly metrics: PeerMetrics

  constructor(private readonly options: PoolReplayerOptions) {
    const { daemon, poolId, poolName, peer } = options
    this.log = options.log.child({ pool: poolName, peer: peer.siteName })
    this.syncs = new PQueue({ concurrency: daemon.options.concurrentImageSyncs })
    this.deletions = new PQueue({ concurrency: daemon.options.concurrentImageDeletions })
    this.callout = options.serviceStatus.callout(poolId)
    this.metrics = daemon.metrics.peer({ pool: poolName, peer: peer.siteName })
    this.metrics.queues = () => ({ sync: queueStatus(this.syncs), deletion: queueStatus(this.deletions) })
  }

  /** Runs until the signal is aborted, whatever happens to the clusters; returns within seconds then. */
  async run(signal: AbortSignal): Promise<void> {
    const { daemon, serviceStatus, poolId } = this.options
    const backoff = new Backoff(daemon.random, RECONNECT_FIRST_MS, RECONNECT_MAX_MS)
    try {
      while (!signal.aborted) {
        const startedAt = daemon.clock.monotonic()
        try {
          await this.connected(signal)
        } catch (error) {
          if (signal.aborted) break
          this.log.error({ err: error }, 'pool replayer failed')
        }
        if (daemon.clock.monotonic() - startedAt > RECONNECT_MAX_MS) backoff.reset()
        await delay(daemon.clock, backoff.step(), signal)
      }
    } catch (error) {
      if (!isCancelled(error)) throw error
    } finally {
      this.state = { type: 'stopped' }
      this.callout.set(undefined)
      serviceStatus.setLeader(poolId, false)
      this.metrics.remove()
    }
  }

  private async connected(signal: AbortSignal): Promise<void> {
    const { daemon, poolId, pools, serviceStatus } = this.options
    const cluster = await this.orCallout('unable to connect to local cluster', signal, daemon.connectLocal(signal))
    const callOff = closeAfterAbort({ cluster, limitMs: STOP_LIMIT_MS, clock: daemon.clock, log: this.log }, signal)
    try {
      const io = await cluster.openPoolById(poolId)
      const { options, clock, random } = daemon
      const leader = new Leader({ cluster, io, options, clock, random, log: this.log, onState: (state) => this.onLeaderState(state) })
      this.state = { type: 'connected', cluster, leader }
      serviceStatus.setInstanceId(poolId, cluster.instanceId)
      const uuid = mirrorUuidGet.call(io, RBD_MIRRORING, undefined)
      const localMirrorUuid = await this.orCallout('unable to query local mirror uuid', signal, uuid)
      pools.setLocal(poolId, { mirrorUuid: localMirrorUuid })
      await leader.run((stop) => this.lead(cluster, io, localMirrorUuid, stop), signal)
    } finally {
      this.state = { type: 'disconnected' }
      pools.setLocal(poolId, undefined)
      callOff()
      await cluster.close()
    }
  }

  private async orCallout<T>(text: string, signal: AbortSignal, step: Promise<T>): Promise<T> {
    try {
      return await step
    } catch (error) {
      if (!signal.aborted) this.callout.set({ level: 'error', text })
      throw error
    }
  }

  private onLeaderState(state: LeaderState): void {
    const leading = state.type === 'leading'
    this.options.serviceStatus.setLeader(this.options.poolId, leading)
    this.metrics.setLeader(leading)
  }

  private async lead(cluster: Cluster, io: IoCtx, localMirrorUuid: string, signal: AbortSignal): Promise<void> {
    const snapIds = new SnapIdAllocator({ io, clock: this.options.daemon.clock, log: this.log })
    const context = this.context(cluster, localMirrorUuid, snapIds)
    const namespaces = new NamespaceSet(context, io, {
      stopped: () => this.manualStop,
      onAdded: (namespace) => remote.add(namespace),
      onLook: () => this.followOptions(),
    })
    const remote = new RemoteReplayer({
      context,
      poolName: io.poolName,
      namespaces,
      pools: this.options.pools,
      metrics: this.metrics,
      connect: (spec, stop) => this.options.daemon.connectRemote(spec, stop),
      setCallout: (callout) => this.callout.set(callout),
      siteName: () => this.options.siteName(),
    })
    const scope = new Scope(signal)
    const afterwards = new Scope()
    try {
      this.leading = { namespaces, remote }
      afterwards.spawn('snapshot ids', (stop) => snapIds.run(stop))
      scope.spawn('namespaces', (stop) => namespaces.follow(stop))
      scope.spawn('remote', (stop) => remote.run(stop))
      // what replays stops first; what writes its last statuses and gives its unused ids back stops after it
      await untilAborted(scope.signal)
      await scope.close()
      signal.throwIfAborted()
    } finally {
      await namespaces.close()
      await afterwards.close()
      this.leading = undefined
      this.syncs.clear()
    }
  }

  private context(cluster: Cluster, localMirrorUuid: string, snapIds: SnapIdAllocator): PoolContext {
    const { daemon, poolId, peer, pools, byteBudget, buffers, journalMemory, bandwidth, bootstrap, serviceStatus } = this.options
    const { metrics, adminCommands, options, clock, random } = daemon
    return {
      cluster,
      poolId,
      peer,
      localMirrorUuid,
      pools,
      limits: { imageSyncs: this.syncs, byteBudget, buffers, journalMemory, bandwidth },
      deletions: this.deletions,
      starts: new Semaphore(MAX_IMAGE_STARTS),
      snapIds,
      bootstrap,
      serviceStatus,
      metrics,
      adminCommands,
      options,
      clock,
      random,
      log: this.log,
    }
  }

  private followOptions(): void {
    const { options } = this.options.daemon
    this.syncs.concurrency = options.concurrentImageSyncs
    this.deletions.concurrency = options.concurrentImageDeletions
  }

  // --- what an operator commands ---

  status(): unknown {
    const { daemon, peer, poolName } = this.options
    const { state } = this
    const cluster = state.type === 'connected' ? state.cluster : undefined
    const leader = state.type === 'connected' ? state.leader.state : undefined
    const leading = leader?.type === 'leading'
    const leaderId = leading ? cluster?.instanceId : leader?.type === 'standby' ? leader.leader?.clientId : undefined
    const namespaces = this.leading?.namespaces.all() ?? []
    const remoteName = this.leading?.remote.clusterName
    return {
      peer: describePeer(peer),
      pool: poolName,
      ...(cluster ? { instance_id: String(cluster.instanceId) } : {}),
      state: this.manualStop ? 'stopped (manual)' : state.type === 'stopped' ? 'stopped' : cluster ? 'running' : 'error',
      leader_instance_id: leaderId === undefined ? '' : String(leaderId),
      leader: leading,
      ...(leading && state.type === 'connected' ? { instances: state.leader.instances.map(String) } : {}),
      local_cluster_admin_socket: cluster ? daemon.adminSocketPath('local', cluster.name) : '',
      remote_cluster_admin_socket: remoteName === undefined ? '' : daemon.adminSocketPath('remote', remoteName),
      sync_throttler: throttlerStatus(this.syncs),
      deletion_throttler: throttlerStatus(this.deletions),
      ...(namespaces.find(({ name }) => name === '')?.status() ?? { image_replayers: [] }),
      namespaces: namespaces.filter(({ name }) => name !== '').map((namespace) => ({ name: namespace.name, ...namespace.status() })),
    }
  }

  async start(): Promise<void> {
    this.manualStop = false
    await this.each((namespace) => namespace.start())
  }

  /** Sticks until `start` or `restart`. */
  async stop(): Promise<void> {
    this.manualStop = true
    await this.each((namespace) => namespace.stop())
  }

  async restart(): Promise<void> {
    this.manualStop = false
    await this.each((namespace) => namespace.restart())
  }

  async flush(): Promise<void> {
    if (!this.manualStop) await this.each((namespace) => namespace.flush())
  }

  releaseLeader(): void {
    if (this.state.type === 'connected') this.state.leader.release()
  }

  deletionStatus(): unknown {
    return this.leading?.namespaces.get('')?.deletionStatus()
  }

  private async each(command: (namespace: NamespaceReplayer) => Promise<void>): Promise<void> {
    await Promise.all((this.leading?.namespaces.all() ?? []).map(command))
  }
}

function throttlerStatus(queue: PQueue): unknown {
  return { max_parallel_requests: queue.concurrency, running_requests: queue.pending, waiting_requests: queue.size }
}

function queueStatus(queue: PQueue): { waiting: number; running: number } {
  return { waiting: queue.size, running: queue.pending }
}
