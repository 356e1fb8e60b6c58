import { Backoff } from '../base/backoff.ts'
import { delay } from '../base/clock.ts'
import { Notifier } from '../base/notifier.ts'
import { Scope } from '../base/scope.ts'
import { mirrorUuidGet } from '../cls/rbd/mirror-client.ts'
import type { PeerMetrics } from '../observability/metrics.ts'
import type { Cluster } from '../rados/cluster.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { RBD_MIRRORING } from '../rbd/names.ts'
import { closeAfterAbort } from './late-close.ts'
import type { NamespaceSet, RunningNamespace } from './namespace-set.ts'
import type { RemoteSpec } from './daemon-options.ts'
import type { Callout } from './peers.ts'
import type { PoolContext } from './pool-context.ts'
import type { PoolMetaCache } from './pool-meta-cache.ts'
import { pollInTime, watchRemote, type RemotePool, type RemotePoolMeta } from './remote-pool.ts'
import type { RemoteReach } from './taking-part.ts'

const RECONNECT_FIRST_MS = 500
const RECONNECT_MAX_MS = 15_000
/** After this long a stopping replay closes the remote connection under whatever still waits for it. */
const STOP_LIMIT_MS = 1_000
/** What a remote that still answers gets besides, so that many images can be closed orderly. */
const STOP_GRACE_MS = 1_500

/** The texts of the stock daemon (tools/rbd_mirror/PoolReplayer.cc). */
const NO_REMOTE: Callout = { level: 'error', text: 'unable to connect to remote cluster' }
const NO_REMOTE_POOL: Callout = { level: 'warning', text: 'unable to access remote pool' }
const NO_REMOTE_MIRRORING: Callout = { level: 'error', text: 'unable to initialize remote pool poller' }
const PEER_IS_US: Callout = { level: 'error', text: 'remote pool is the local pool' }

interface Session {
  remote: RemotePool
  scope: Scope
  /** woken by whoever has reason to doubt that the remote still answers */
  poke: Notifier
}

export interface RemoteReplayerOptions {
  readonly context: PoolContext
  readonly poolName: string
  readonly namespaces: NamespaceSet
  readonly pools: PoolMetaCache
  readonly metrics: PeerMetrics
  readonly reach: RemoteReach
  connect(spec: RemoteSpec, signal: AbortSignal): Promise<Cluster>
  setCallout(callout: Callout | undefined): void
  /** our own site's name, as it is now */
  siteName(): string
}

/**
 * The remote half of a pool replayer: as long as the peer's cluster can be reached, all namespaces are replayed from it.
 *
 *     connect ──▶ pool of the same name ──▶ mirror uuid, ping, our peer uuid ──▶ replay ──lost or changed──▶ connect …
 */
export class RemoteReplayer {
  private session: Session | undefined

  constructor(private readonly options: RemoteReplayerOptions) {}

  /** Name of the remote cluster while it is reached. */
  get clusterName(): string | undefined {
    return this.session?.remote.cluster.name
  }

  /** Connects again and again until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { context, metrics, namespaces } = this.options
    const { clock, random, log } = context
    const backoff = new Backoff(random, RECONNECT_FIRST_MS, RECONNECT_MAX_MS)
    for (;;) {
      signal.throwIfAborted()
      const startedAt = clock.monotonic()
      try {
        await this.connected(signal)
      } catch (error) {
        signal.throwIfAborted()
        log.warn({ err: error }, 'cannot replay from the remote cluster')
      }
      metrics.setUp(false)
      for (const namespace of namespaces) namespace.images.remoteLost()
      if (clock.monotonic() - startedAt > RECONNECT_MAX_MS) backoff.reset()
      await delay(clock, backoff.step(), signal)
    }
  }

  /** A namespace that came while the remote is reached. */
  add(namespace: RunningNamespace): void {
    if (this.session) this.replay(this.session, namespace)
  }

  private async connected(signal: AbortSignal): Promise<void> {
    const { clusterName, clientName, monHost, key } = this.spec()
    const cluster = await this.orCallout(NO_REMOTE, signal, this.options.connect({ clusterName, clientName, monHost, key }, signal))
    const stopping = new Scope(signal)
    const { clock, log } = this.options.context
    const probe = () => this.probe(cluster)
    const callOff = closeAfterAbort({ cluster, limitMs: STOP_LIMIT_MS, probe, graceMs: STOP_GRACE_MS, clock, log }, stopping.signal)
    try {
      await this.replayAll(cluster, stopping, signal)
    } finally {
      await stopping.close()
      callOff()
      await cluster.close()
    }
  }

  private async probe(cluster: Cluster): Promise<void> {
    const io = await cluster.openPool(this.options.poolName)
    try {
      await mirrorUuidGet.call(io, RBD_MIRRORING, undefined)
    } finally {
      io.close()
    }
  }

  private spec(): RemoteSpec {
    const { siteName, clientName, monHost, key } = this.options.context.peer
    return { clusterName: siteName, clientName, monHost: monHost || undefined, key: key || undefined }
  }

  /** @param stopping cancelled as soon as nothing is to wait long for the remote any more */
  private async replayAll(cluster: Cluster, stopping: Scope, signal: AbortSignal): Promise<void> {
    const { context, poolName, pools, namespaces, metrics } = this.options
    const { log } = context
    const io = await this.orCallout(NO_REMOTE_POOL, signal, cluster.openPool(poolName))
    const meta = await this.remoteMeta(io, signal)
    this.options.setCallout(undefined)
    metrics.setUp(true)
    log.info({ mirrorUuid: meta.mirrorUuid, mirrorPeerUuid: meta.mirrorPeerUuid }, 'connected to the remote cluster')
    pools.setRemote(io.poolId, meta)
    const session: Session = {
      remote: { ...meta, cluster, io },
      scope: new Scope(stopping.signal, (error) => {
        log.warn({ err: error }, 'replaying from the remote cluster failed')
        session.scope.cancel()
      }),
      poke: new Notifier(),
    }
    try {
      this.session = session
      this.options.reach.set(true)
      for (const namespace of namespaces.entries()) this.replay(session, namespace)
      const end = await watchRemote(this.polling(io), meta, session.poke, session.scope.signal)
      if (end.type === 'changed') return log.info({}, 'the remote pool changed its mirroring')
      this.options.setCallout(NO_REMOTE)
      throw end.error
    } finally {
      this.session = undefined
      this.options.reach.set(false)
      stopping.cancel()
      await session.scope.close()
      pools.setRemote(io.poolId, undefined)
    }
  }

  private polling(io: IoCtx) {
    const { localMirrorUuid, clock, log } = this.options.context
    return { io, siteName: () => this.options.siteName(), localMirrorUuid, clock, log }
  }

  private async remoteMeta(io: IoCtx, signal: AbortSignal): Promise<RemotePoolMeta> {
    const meta = await this.orCallout(NO_REMOTE, signal, pollInTime(this.polling(io), signal))
    if (!meta) {
      this.options.setCallout(NO_REMOTE_MIRRORING)
      throw new Error('mirroring is not enabled in the remote pool')
    }
    if (meta.mirrorUuid === this.options.context.localMirrorUuid) {
      this.options.setCallout(PEER_IS_US)
      throw new Error('the peer is this very pool')
    }
    return meta
  }

  private async orCallout<T>(callout: Callout, signal: AbortSignal, step: Promise<T>): Promise<T> {
    try {
      return await step
    } catch (error) {
      if (!signal.aborted) this.options.setCallout(callout)
      throw error
    }
  }

  /** Runs in the session's scope; ends with it or with the namespace. */
  private replay(session: Session, namespace: RunningNamespace): void {
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
}
