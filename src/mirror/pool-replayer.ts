import PQueue from 'p-queue'
import { Backoff } from '../base/backoff.ts'
import { abortable, isCancelled } from '../base/cancelled.ts'
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
import type { AssignedImages } from './assigned-images.ts'
import type { Bandwidth } from './bandwidth.ts'
import type { MirrorDaemonOptions } from './daemon-options.ts'
import { closeAfterAbort } from './late-close.ts'
import { LeadingPool } from './leading-pool.ts'
import { Leader, type LeaderState, type LeadingEvents } from './leader.ts'
import type { KnownLeader } from './instances/sync-slots.ts'
import { SyncThrottler } from './instances/sync-throttler.ts'
import { NamespaceSet } from './namespace-set.ts'
import { MAX_IMAGE_STARTS } from './options.ts'
import { describePeer, type PeerSpec } from './peers.ts'
import type { PoolContext } from './pool-context.ts'
import type { PoolMetaCache } from './pool-meta-cache.ts'
import { RemoteReplayer } from './remote-replayer.ts'
import type { Bootstrap } from './replayer.ts'
import type { ServiceStatus } from './service-status.ts'
import { SnapIdAllocator } from './snap-id-allocator.ts'
import { failOnStall } from './stall.ts'
import { RemoteReach, untilNeeded, untilUnfit } from './taking-part.ts'

const RECONNECT_FIRST_MS = 500
const RECONNECT_MAX_MS = 15_000
/** After this long a stopping pool closes its local connection under whatever still waits for it; the remote one goes before. */
const STOP_LIMIT_MS = 3_500

type PoolReplayerState =
  /** without a local connection */
  | { type: 'disconnected' }
  | { type: 'connected'; cluster: Cluster; leader: Leader }
  | { type: 'stopped' }

/** What exists while there is a local connection. */
interface Replaying {
  readonly namespaces: NamespaceSet
  readonly remote: RemoteReplayer
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
 *     connect local ──▶ namespaces ──▶ the remote: see RemoteReplayer ──▶ the images that the leader assigns to us
 *                  └──▶ Leader ──if it is us──▶ LeadingPool: the image map, the other daemons, the trash
 *
 * A lost local connection begins anew from the left, with a new client instance. So does a daemon that does not reach the remote cluster while
 * others do; it is no leader and has no images then until it does, or until it is alone.
 */
export class PoolReplayer implements Commanded {
  private state: PoolReplayerState = { type: 'disconnected' }
  private replaying: Replaying | undefined
  private leading: LeadingPool | undefined
  private known: { instanceId: string; change: Scope } = { instanceId: '', change: new Scope() }
  private manualStop = false
  private readonly syncs: SyncThrottler
  private readonly deletions: PQueue
  private readonly log: Log
  private readonly callout: ReturnType<ServiceStatus['callout']>
  private readonly metrics: PeerMetrics

  constructor(private readonly options: PoolReplayerOptions) {
    const { daemon, poolId, poolName, peer } = options
    this.log = options.log.child({ pool: poolName, peer: peer.siteName })
    this.syncs = new SyncThrottler(daemon.options.concurrentImageSyncs)
    this.deletions = new PQueue({ concurrency: daemon.options.concurrentImageDeletions })
    this.callout = options.serviceStatus.callout(poolId)
    this.metrics = daemon.metrics.peer({ pool: poolName, peer: peer.siteName })
    this.metrics.queues = () => ({
      sync: { waiting: this.syncs.waitingCount, running: this.syncs.runningCount },
      deletion: { waiting: this.deletions.size, running: this.deletions.pending },
    })
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
      await this.replay(cluster, io, localMirrorUuid, leader, signal)
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
    const connected = this.state.type === 'connected' ? this.state : undefined
    const id = leading ? connected?.cluster.instanceId : state.type === 'standby' ? state.leader?.clientId : undefined
    this.setKnownLeader(id === undefined ? '' : String(id))
  }

  private setKnownLeader(instanceId: string): void {
    if (instanceId === this.known.instanceId) return
    const { change } = this.known
    this.known = { instanceId, change: new Scope() }
    change.cancel('another daemon leads')
  }

  private knownLeader(): KnownLeader {
    return { instanceId: this.known.instanceId, changed: this.known.change.signal }
  }

  /** Until the signal is aborted. The images stop first, then we are no instance any more, then we no longer lead. */
  private async replay(cluster: Cluster, io: IoCtx, localMirrorUuid: string, leader: Leader, signal: AbortSignal): Promise<void> {
    const { clock, options } = this.options.daemon
    const snapIds = new SnapIdAllocator({ io, clock, log: this.log })
    const scope = new Scope(signal)
    let failure: { error: unknown } | undefined
    const afterwards = new Scope(undefined, (error) => {
      failure ??= { error }
      scope.cancel()
    })
    const reach = new RemoteReach(clock)
    let takePart: () => void = () => undefined
    const takingPart = new Promise<void>((resolve) => (takePart = resolve))
    const context = { ...this.context(cluster, localMirrorUuid, snapIds, scope.signal), takingPart }
    const namespaces = new NamespaceSet(context, io, {
      stopped: () => this.manualStop,
      onAdded: (namespace) => {
        remote.add(namespace)
        this.leading?.add(namespace)
      },
      onLook: () => this.followOptions(),
    })
    const remote = new RemoteReplayer({
      context,
      poolName: io.poolName,
      namespaces,
      pools: this.options.pools,
      metrics: this.metrics,
      reach,
      connect: (spec, stop) => this.options.daemon.connectRemote(spec, stop),
      setCallout: (callout) => this.callout.set(callout),
      siteName: () => this.options.siteName(),
    })
    try {
      this.replaying = { namespaces, remote }
      afterwards.spawn('snapshot ids', (stop) => snapIds.run(stop))
      afterwards.spawn('leader', async (stop) => {
        await abortable(takingPart, stop)
        await namespaces.introduced(stop) // whoever answers a leader's heartbeats is assigned images at once
        await leader.run((start, lost) => this.lead(context, io, namespaces, start, lost), stop)
      })
      scope.spawn('namespaces', (stop) => namespaces.follow(stop))
      scope.spawn('remote', (stop) => remote.run(stop))
      scope.spawn('taking part', async (stop) => {
        await untilNeeded(reach, io, stop)
        takePart()
        await untilUnfit(reach, options, clock, () => this.hasOthers(leader), stop)
        this.log.warn({}, 'the remote cluster is out of reach: leaving the images to the other daemons')
        scope.cancel()
      })
      scope.spawn('stalls', (stop) => failOnStall(options, clock, stop))
      await untilAborted(scope.signal)
      await scope.close()
    } finally {
      await namespaces.close()
      await afterwards.close()
      this.replaying = undefined
      this.setKnownLeader('')
    }
    if (failure) throw failure.error
    signal.throwIfAborted()
  }

  /** Whether other daemons share in the images. */
  private hasOthers(leader: Leader): boolean {
    const { state } = leader
    return state.type === 'leading' ? (this.leading?.hasOthers ?? false) : state.type === 'standby' && state.leader !== undefined
  }

  /** Until the lead is lost; nothing is led any more once the pool is to stop, while we hold the lock until our images have stopped. */
  private async lead(
    context: PoolContext,
    io: IoCtx,
    namespaces: NamespaceSet,
    start: (events: LeadingEvents) => void,
    lost: AbortSignal,
  ): Promise<void> {
    const leading = new LeadingPool(context, io)
    const stop = new Scope(lost)
    const onStopping = () => stop.cancel('pool replayer stops')
    context.stopping.addEventListener('abort', onStopping, { once: true })
    if (context.stopping.aborted) onStopping()
    start(leading)
    this.leading = leading
    try {
      await leading.run(namespaces, stop.signal)
    } catch (error) {
      if (!stop.signal.aborted || !isCancelled(error)) throw error
    } finally {
      context.stopping.removeEventListener('abort', onStopping)
      this.leading = undefined
      await stop.close()
    }
    await untilAborted(lost)
  }

  private context(cluster: Cluster, localMirrorUuid: string, snapIds: SnapIdAllocator, stopping: AbortSignal): Omit<PoolContext, 'takingPart'> {
    const { daemon, poolId, peer, pools, byteBudget, buffers, journalMemory, bandwidth, bootstrap, serviceStatus } = this.options
    const { metrics, adminCommands, options, clock, random } = daemon
    return {
      cluster,
      poolId,
      peer,
      localMirrorUuid,
      pools,
      limits: { byteBudget, buffers, journalMemory, bandwidth },
      syncThrottler: this.syncs,
      leader: () => this.knownLeader(),
      stopping,
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
    this.syncs.setLimit(options.concurrentImageSyncs)
    this.deletions.concurrency = options.concurrentImageDeletions
  }

  // --- what an operator commands ---

  status(): unknown {
    const { daemon, peer, poolName } = this.options
    const { state } = this
    const cluster = state.type === 'connected' ? state.cluster : undefined
    const leader = state.type === 'connected' ? state.leader : undefined
    const leading = leader?.state.type === 'leading'
    const leaderId = leader?.leaderId
    const namespaces = this.replaying?.namespaces.all() ?? []
    const remoteName = this.replaying?.remote.clusterName
    return {
      peer: describePeer(peer),
      pool: poolName,
      ...(cluster ? { instance_id: String(cluster.instanceId) } : {}),
      state: this.manualStop ? 'stopped (manual)' : state.type === 'stopped' ? 'stopped' : cluster ? 'running' : 'error',
      leader_instance_id: leaderId === undefined ? '' : String(leaderId),
      leader: leading,
      ...(leading && cluster ? { instances: this.leading?.instanceIds ?? [String(cluster.instanceId)] } : {}),
      local_cluster_admin_socket: cluster ? daemon.adminSocketPath('local', cluster.name) : '',
      remote_cluster_admin_socket: remoteName === undefined ? '' : daemon.adminSocketPath('remote', remoteName),
      sync_throttler: throttlerStatus(this.syncs.limit, this.syncs.runningCount, this.syncs.waitingCount),
      deletion_throttler: throttlerStatus(this.deletions.concurrency, this.deletions.pending, this.deletions.size),
      ...(namespaces.find(({ name }) => name === '')?.status() ?? { image_replayers: [] }),
      namespaces: namespaces.filter(({ name }) => name !== '').map((namespace) => ({ name: namespace.name, ...namespace.status() })),
    }
  }

  start(): void {
    this.manualStop = false
    for (const { images } of this.replaying?.namespaces ?? []) images.startAll()
  }

  /** Sticks until `start` or `restart`. */
  async stop(): Promise<void> {
    this.manualStop = true
    await this.each((images) => images.stopAll())
  }

  async restart(): Promise<void> {
    this.manualStop = false
    await this.each((images) => images.restartAll())
  }

  async flush(): Promise<void> {
    if (!this.manualStop) await this.each((images) => images.flushAll())
  }

  releaseLeader(): void {
    if (this.state.type === 'connected') this.state.leader.release()
  }

  deletionStatus(): unknown {
    return this.replaying?.namespaces.get('')?.deletionStatus()
  }

  private async each(command: (images: AssignedImages) => Promise<void>): Promise<void> {
    await Promise.all((this.replaying?.namespaces.all() ?? []).map(({ images }) => command(images)))
  }
}

function throttlerStatus(max: number, running: number, waiting: number): unknown {
  return { max_parallel_requests: max, running_requests: running, waiting_requests: waiting }
}
