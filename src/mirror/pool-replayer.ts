import PQueue from 'p-queue'
import { Backoff } from '../base/backoff.ts'
import { isCancelled } from '../base/cancelled.ts'
import { delay } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import { Scope } from '../base/scope.ts'
import { Semaphore } from '../base/semaphore.ts'
import { untilAborted } from '../base/until-aborted.ts'
import { mirrorModeGet, mirrorUuidGet } from '../cls/rbd/mirror-client.ts'
import { namespaceList } from '../cls/rbd/pool-client.ts'
import type { PeerMetrics } from '../observability/metrics.ts'
import type { Cluster } from '../rados/cluster.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import type { BufferPool } from '../rbd/data/buffer-pool.ts'
import { RBD_MIRRORING, RBD_NAMESPACE } from '../rbd/names.ts'
import type { Commanded } from './admin-commands.ts'
import type { MirrorDaemonOptions } from './daemon-options.ts'
import { Leader, type LeaderState } from './leader.ts'
import { NamespaceReplayer } from './namespace-replayer.ts'
import { MAX_IMAGE_STARTS } from './options.ts'
import { describePeer, type PeerSpec } from './peers.ts'
import type { PoolContext } from './pool-context.ts'
import type { PoolMetaCache } from './pool-meta-cache.ts'
import { pollRemote, watchRemote, type RemotePool } from './remote-pool.ts'
import type { Bootstrap } from './replayer.ts'
import type { ServiceStatus } from './service-status.ts'
import { SnapIdAllocator } from './snap-id-allocator.ts'

const RECONNECT_FIRST_MS = 500
const RECONNECT_MAX_MS = 15_000
/** How often the RBD namespaces of the pool are looked up. */
const NAMESPACE_POLL_MS = 2_000
const NAMESPACE_PAGE = 1024
/** After this long a stopping pool closes its connections under whatever still waits for them; the remote one first. */
const LOCAL_STOP_LIMIT_MS = 3_500
const REMOTE_STOP_LIMIT_MS = 1_000

type PoolReplayerState =
  /** without a local connection */
  | { type: 'disconnected' }
  | { type: 'connected'; cluster: Cluster; io: IoCtx; leader: Leader }
  | { type: 'stopped' }

interface Queues {
  syncs: PQueue
  deletions: PQueue
}

interface RemoteSession {
  remote: RemotePool
  scope: Scope
  poke: Notifier
}

export interface PoolReplayerOptions {
  readonly daemon: MirrorDaemonOptions
  readonly poolId: bigint
  readonly poolName: string
  readonly peer: PeerSpec
  readonly byteBudget: Semaphore
  readonly buffers: BufferPool
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
 *                                       └──▶ connect remote ──▶ replay all namespaces ──lost──▶ connect remote …
 *
 * A lost local connection begins anew from the left, with a new client instance.
 */
export class PoolReplayer implements Commanded {
  private state: PoolReplayerState = { type: 'disconnected' }
  private readonly namespaces = new Map<string, { replayer: NamespaceReplayer; scope: Scope }>()
  private session: RemoteSession | undefined
  private manualStop = false
  private readonly queues: Queues
  private readonly log: Log
  private readonly callout: ReturnType<ServiceStatus['callout']>
  private remoteCluster = ''
  private readonly metrics: PeerMetrics

  constructor(private readonly options: PoolReplayerOptions) {
    const { daemon, poolId, poolName, peer } = options
    this.log = options.log.child({ pool: poolName, peer: peer.siteName })
    this.queues = {
      syncs: new PQueue({ concurrency: daemon.options.concurrentImageSyncs }),
      deletions: new PQueue({ concurrency: daemon.options.concurrentImageDeletions }),
    }
    this.callout = options.serviceStatus.callout(poolId)
    this.metrics = daemon.metrics.peer({ pool: poolName, peer: peer.siteName })
  }

  /** Runs until the signal is aborted, whatever happens to the clusters; returns within seconds then. */
  async run(signal: AbortSignal): Promise<void> {
    const { daemon, serviceStatus, poolId } = this.options
    const backoff = new Backoff(daemon.random, RECONNECT_FIRST_MS, RECONNECT_MAX_MS)
    try {
      while (!signal.aborted) {
        const startedAt = daemon.clock.monotonic()
        try {
          await this.localSession(signal)
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

  private async localSession(signal: AbortSignal): Promise<void> {
    const { daemon, poolId, serviceStatus } = this.options
    let cluster: Cluster
    try {
      cluster = await daemon.connectLocal(signal)
    } catch (error) {
      if (!signal.aborted) this.callout.set({ level: 'error', text: 'unable to connect to local cluster' })
      throw error
    }
    const closeLate = this.closeAfterAbort(cluster, LOCAL_STOP_LIMIT_MS, signal)
    try {
      const io = await cluster.openPoolById(poolId)
      const leader = new Leader({
        cluster,
        io,
        options: daemon.options,
        clock: daemon.clock,
        random: daemon.random,
        log: this.log,
        onState: (state) => this.onLeaderState(state),
      })
      this.state = { type: 'connected', cluster, io, leader }
      serviceStatus.setInstanceId(poolId, cluster.instanceId)
      const localMirrorUuid = await this.localMirrorUuid(io)
      this.options.pools.setLocal(poolId, { mirrorUuid: localMirrorUuid })
      await leader.run((stop) => this.lead(cluster, io, localMirrorUuid, stop), signal)
    } finally {
      this.state = { type: 'disconnected' }
      this.options.pools.setLocal(poolId, undefined)
      closeLate()
      await cluster.close()
    }
  }

  /** A cluster that does not answer must not keep the daemon from stopping. */
  private closeAfterAbort(cluster: Cluster, limitMs: number, signal: AbortSignal): () => void {
    const { clock } = this.options.daemon
    let cancel = () => undefined as void
    const onAbort = () => {
      cancel = clock.setTimer(limitMs, () => {
        this.log.warn({ cluster: cluster.name }, 'closing a connection under operations that do not end')
        void cluster.close().catch((error: unknown) => this.log.warn({ err: error }, 'cannot close a connection'))
      })
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    return () => {
      signal.removeEventListener('abort', onAbort)
      cancel()
    }
  }

  private async localMirrorUuid(io: IoCtx): Promise<string> {
    try {
      return await mirrorUuidGet.call(io, RBD_MIRRORING, undefined)
    } catch (error) {
      this.callout.set({ level: 'error', text: 'unable to query local mirror uuid' })
      throw error
    }
  }

  private onLeaderState(state: LeaderState): void {
    const leading = state.type === 'leading'
    this.options.serviceStatus.setLeader(this.options.poolId, leading)
    this.metrics.setLeader(leading)
  }

  // --- leading ---

  private async lead(cluster: Cluster, io: IoCtx, localMirrorUuid: string, signal: AbortSignal): Promise<void> {
    const { daemon, poolId, peer } = this.options
    const snapIds = new SnapIdAllocator({ io, clock: daemon.clock, log: this.log })
    const context: PoolContext = {
      cluster,
      poolId,
      peer,
      localMirrorUuid,
      pools: this.options.pools,
      limits: { imageSyncs: this.queues.syncs, byteBudget: this.options.byteBudget, buffers: this.options.buffers },
      deletions: this.queues.deletions,
      starts: new Semaphore(MAX_IMAGE_STARTS),
      snapIds,
      bootstrap: this.options.bootstrap,
      serviceStatus: this.options.serviceStatus,
      metrics: daemon.metrics,
      adminCommands: daemon.adminCommands,
      options: daemon.options,
      clock: daemon.clock,
      random: daemon.random,
      log: this.log,
    }
    const scope = new Scope(signal)
    scope.spawn('namespaces', (stop) => this.followNamespaces(context, io, scope, stop))
    scope.spawn('remote', (stop) => this.followRemote(context, io, stop))
    const afterwards = new Scope()
    afterwards.spawn('snapshot ids', (stop) => snapIds.run(stop))
    try {
      // what replays stops first; what writes its last statuses and takes its unused ids back stops after it
      await untilAborted(scope.signal)
      await scope.close()
      signal.throwIfAborted()
    } finally {
      await this.dropNamespaces()
      await afterwards.close()
      this.queues.syncs.clear()
    }
  }

  private async dropNamespaces(): Promise<void> {
    const all = [...this.namespaces.values()]
    this.namespaces.clear()
    await Promise.all(all.map(({ scope }) => scope.close()))
  }

  private async followNamespaces(context: PoolContext, io: IoCtx, parent: Scope, signal: AbortSignal): Promise<void> {
    const fail = (error: unknown) => {
      this.log.error({ err: error }, 'namespace replayer failed')
      // what a namespace can't cope with (a blocklisted client) is for the whole local connection to begin anew
      failure ??= { error }
      parent.cancel()
    }
    let failure: { error: unknown } | undefined
    for (;;) {
      const names = await this.mirroredNamespaces(io)
      for (const [name, namespace] of [...this.namespaces]) {
        if (names.has(name)) continue
        this.log.info({ namespace: name }, 'namespace no longer mirrored')
        this.namespaces.delete(name)
        await namespace.scope.close()
      }
      for (const name of names) {
        if (this.namespaces.has(name)) continue
        this.log.info({ namespace: name }, 'namespace mirrored')
        const namespaceIo = io.duplicate({ namespace: name })
        const replayer = new NamespaceReplayer(context, namespaceIo)
        if (this.manualStop) await replayer.stop()
        const namespace = { replayer, scope: new Scope(undefined, fail) }
        namespace.scope.spawn('local', async (stop) => {
          try {
            await replayer.run(stop)
          } finally {
            namespaceIo.close()
          }
        })
        this.namespaces.set(name, namespace)
        if (this.session) this.replayNamespace(this.session, namespace)
      }
      this.queues.syncs.concurrency = context.options.concurrentImageSyncs
      this.queues.deletions.concurrency = context.options.concurrentImageDeletions
      context.metrics.setQueueLength('sync', this.queues.syncs.size)
      context.metrics.setQueueLength('deletion', this.queues.deletions.size)
      try {
        await delay(context.clock, NAMESPACE_POLL_MS, signal)
      } catch (error) {
        throw failure ? failure.error : error
      }
    }
  }

  /** The default namespace and all others in which mirroring is enabled. */
  private async mirroredNamespaces(io: IoCtx): Promise<Set<string>> {
    const names: string[] = []
    try {
      for (let startAfter = ''; ; ) {
        const page = await namespaceList.call(io, RBD_NAMESPACE, { startAfter, max: NAMESPACE_PAGE })
        names.push(...page)
        if (page.length < NAMESPACE_PAGE) break
        startAfter = page.at(-1)!
      }
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      if (!isErrno(error, Errno.ENOENT)) {
        this.log.warn({ err: error }, 'cannot list the namespaces')
        return new Set(['', ...this.namespaces.keys()])
      }
    }
    const mirrored = new Set([''])
    for (const name of names) if (await this.namespaceMirrored(io, name)) mirrored.add(name)
    return mirrored
  }

  private async namespaceMirrored(io: IoCtx, name: string): Promise<boolean> {
    const namespaceIo = io.duplicate({ namespace: name })
    try {
      return (await mirrorModeGet.call(namespaceIo, RBD_MIRRORING, undefined)) !== 'disabled'
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      if (isErrno(error, Errno.ENOENT)) return false
      this.log.warn({ err: error, namespace: name }, 'cannot read the mirroring mode of a namespace')
      return this.namespaces.has(name)
    } finally {
      namespaceIo.close()
    }
  }

  // --- the remote ---

  private async followRemote(context: PoolContext, io: IoCtx, signal: AbortSignal): Promise<void> {
    const { daemon } = this.options
    const backoff = new Backoff(daemon.random, RECONNECT_FIRST_MS, RECONNECT_MAX_MS)
    for (;;) {
      signal.throwIfAborted()
      const startedAt = daemon.clock.monotonic()
      try {
        await this.remoteSession(context, io, signal)
      } catch (error) {
        signal.throwIfAborted()
        this.log.warn({ err: error }, 'cannot replay from the remote cluster')
      }
      this.metrics.setUp(false)
      for (const { replayer } of this.namespaces.values()) replayer.remoteLost()
      if (daemon.clock.monotonic() - startedAt > RECONNECT_MAX_MS) backoff.reset()
      await delay(daemon.clock, backoff.step(), signal)
    }
  }

  private async remoteSession(context: PoolContext, io: IoCtx, signal: AbortSignal): Promise<void> {
    const { daemon, peer, pools } = this.options
    let cluster: Cluster
    try {
      const { siteName: clusterName, clientName, monHost, key } = peer
      cluster = await daemon.connectRemote({ clusterName, clientName, monHost: monHost || undefined, key: key || undefined }, signal)
    } catch (error) {
      if (!signal.aborted) this.callout.set({ level: 'error', text: 'unable to connect to remote cluster' })
      throw error
    }
    this.remoteCluster = cluster.name
    const stopping = new Scope(signal)
    const closeLate = this.closeAfterAbort(cluster, REMOTE_STOP_LIMIT_MS, stopping.signal)
    try {
      const remoteIo = await this.openRemotePool(cluster, io.poolName)
      const polling = { io: remoteIo, siteName: this.options.siteName(), localMirrorUuid: context.localMirrorUuid, clock: daemon.clock, log: this.log }
      const meta = await pollRemote(polling)
      if (!meta) {
        this.callout.set({ level: 'error', text: 'unable to initialize remote pool poller' })
        throw new Error('mirroring is not enabled in the remote pool')
      }
      if (meta.mirrorUuid === context.localMirrorUuid) {
        this.callout.set({ level: 'error', text: 'remote pool is the local pool' })
        throw new Error('the peer is this very pool')
      }
      this.callout.set(undefined)
      this.metrics.setUp(true)
      this.log.info({ mirrorUuid: meta.mirrorUuid, mirrorPeerUuid: meta.mirrorPeerUuid }, 'connected to the remote cluster')
      pools.setRemote(remoteIo.poolId, meta)
      const session: RemoteSession = {
        remote: { ...meta, cluster, io: remoteIo },
        scope: new Scope(stopping.signal, (error) => {
          this.log.warn({ err: error }, 'replaying from the remote cluster failed')
          session.scope.cancel()
        }),
        poke: new Notifier(),
      }
      try {
        this.session = session
        for (const namespace of this.namespaces.values()) this.replayNamespace(session, namespace)
        const end = await watchRemote({ ...polling, siteName: this.options.siteName() }, meta, session.poke, session.scope.signal)
        if (end.type === 'changed') this.log.info({}, 'the remote pool changed its mirroring')
        else {
          this.callout.set({ level: 'error', text: 'unable to connect to remote cluster' })
          throw end.error
        }
      } finally {
        this.session = undefined
        stopping.cancel() // from here on nothing waits long for a remote that may be dead
        await session.scope.close()
        pools.setRemote(remoteIo.poolId, undefined)
      }
    } finally {
      await stopping.close()
      closeLate()
      await cluster.close()
    }
  }

  private async openRemotePool(cluster: Cluster, name: string): Promise<IoCtx> {
    try {
      return await cluster.openPool(name)
    } catch (error) {
      this.callout.set({ level: 'warning', text: 'unable to access remote pool' })
      throw error
    }
  }

  /** Runs in the session's scope; ends with it or with the namespace. */
  private replayNamespace(session: RemoteSession, namespace: { replayer: NamespaceReplayer; scope: Scope }): void {
    const stop = new Scope(namespace.scope.signal)
    session.scope.spawn(`namespace ${namespace.replayer.name}`, async (signal) => {
      const onAbort = () => stop.cancel()
      signal.addEventListener('abort', onAbort, { once: true })
      if (signal.aborted) stop.cancel()
      try {
        await namespace.replayer.replay(session.remote, () => session.poke.wake(), stop.signal)
      } catch (error) {
        if (!stop.signal.aborted) throw error
      } finally {
        signal.removeEventListener('abort', onAbort)
        await stop.close()
      }
    })
  }

  // --- what an operator commands ---

  status(): unknown {
    const { daemon, peer, poolName } = this.options
    const { state } = this
    const connected = state.type === 'connected'
    const leader = connected ? state.leader.state : undefined
    const leading = leader?.type === 'leading'
    const leaderId = connected && leading ? state.cluster.instanceId : leader?.type === 'standby' ? leader.leader?.clientId : undefined
    const defaultNamespace = this.namespaces.get('')?.replayer.status() ?? { image_replayers: [] }
    const namespaces = [...this.namespaces].filter(([name]) => name !== '').map(([name, { replayer }]) => ({ name, ...replayer.status() }))
    return {
      peer: describePeer(peer),
      pool: poolName,
      ...(connected ? { instance_id: String(state.cluster.instanceId) } : {}),
      state: this.manualStop ? 'stopped (manual)' : state.type === 'stopped' ? 'stopped' : connected ? 'running' : 'error',
      leader_instance_id: leaderId === undefined ? '' : String(leaderId),
      leader: leading,
      ...(connected && leading ? { instances: [String(state.cluster.instanceId)] } : {}),
      local_cluster_admin_socket: connected ? daemon.adminSocketPath('local', state.cluster.name) : '',
      remote_cluster_admin_socket: this.session ? daemon.adminSocketPath('remote', this.remoteCluster) : '',
      sync_throttler: throttlerStatus(this.queues.syncs),
      deletion_throttler: throttlerStatus(this.queues.deletions),
      ...defaultNamespace,
      namespaces,
    }
  }

  async start(): Promise<void> {
    this.manualStop = false
    await this.each((replayer) => replayer.start())
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
    if (!this.manualStop) await this.each((replayer) => replayer.flush())
  }

  releaseLeader(): void {
    if (this.state.type === 'connected') this.state.leader.release()
  }

  deletionStatus(): unknown {
    return this.namespaces.get('')?.replayer.deletionStatus()
  }

  private async each(command: (replayer: NamespaceReplayer) => Promise<void>): Promise<void> {
    await Promise.all([...this.namespaces.values()].map(({ replayer }) => command(replayer)))
  }
}

function throttlerStatus(queue: PQueue): unknown {
  return { max_parallel_requests: queue.concurrency, running_requests: queue.pending, waiting_requests: queue.size }
}
