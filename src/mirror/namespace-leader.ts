import { Scope } from '../base/scope.ts'
import { untilAborted } from '../base/until-aborted.ts'
import type { Log } from '../base/log.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../rados/errors.ts'
import { ImageMap } from './image-map/image-map.ts'
import { planVanished, type Listings } from './image-set.ts'
import { removeInstanceFrom } from './instances/instance-object.ts'
import { syncKey } from './instances/sync-slots.ts'
import type { NamespaceLead, NamespaceReplayer } from './namespace-replayer.ts'

/**
 * What only the leader does for a namespace: it knows which images there are, assigns them to daemons, lets them sync, and deletes what is in
 * the trash (tools/rbd_mirror/NamespaceReplayer.cc, handle_acquire_leader).
 */
export class NamespaceLeader implements NamespaceLead {
  private readonly map: ImageMap
  private readonly log: Log
  private readonly self: string
  private before: Listings | undefined
  /** images that neither side lists, with the number of local listings when that was found */
  private readonly vanished = new Map<string, number>()
  /** what is asked of each daemon is called off when it goes */
  private readonly requests = new Map<string, Scope>()
  private scope: Scope | undefined

  constructor(private readonly namespace: NamespaceReplayer) {
    const { context, io } = namespace
    this.self = String(context.cluster.instanceId)
    this.log = context.log.child({ namespace: io.namespace })
    const { options, clock } = context
    this.map = new ImageMap({
      io,
      self: this.self,
      options,
      clock,
      log: this.log,
      ask: (instanceId, action, id, signal) => this.ask(instanceId, action, id, signal),
      onLoaded: () => this.onListings(),
    })
  }

  /**
   * Until the signal is aborted. Rejects when the connection is blocklisted.
   * @param instances daemons that may be living
   */
  async run(instances: () => readonly string[], signal: AbortSignal): Promise<void> {
    const { namespace } = this
    const scope = new Scope(signal)
    this.scope = scope
    namespace.lead = this
    scope.spawn('image map', (stop) => this.map.run(instances, stop))
    scope.spawn('deletions', (stop) => namespace.deleter.run(stop))
    this.onListings()
    try {
      await untilAborted(scope.signal)
      await scope.close()
      signal.throwIfAborted()
    } finally {
      namespace.lead = undefined
      this.scope = undefined
      await Promise.all([...this.requests.values()].map((requests) => requests.close()))
      const { syncThrottler, serviceStatus } = namespace.context
      syncThrottler.drain((key) => key.startsWith(syncKey(namespace.name, '')))
      serviceStatus.touch()
      if (!namespace.isInstance) await namespace.images.releaseAll() // the next leader could not ask for them
    }
  }

  addInstances(ids: readonly string[]): void {
    this.map.addInstances(ids)
  }

  /** They are fenced off already. */
  removeInstances(ids: readonly string[]): void {
    this.map.removeInstances(ids)
    for (const id of ids) {
      void this.requests.get(id)?.close()
      this.requests.delete(id)
      this.namespace.requests.forget(id)
      if (this.namespace.name !== '') this.scope?.spawn('remove instance', () => this.removeInstance(id))
    }
  }

  private async removeInstance(id: string): Promise<void> {
    try {
      await removeInstanceFrom(this.namespace.io, id)
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      this.log.debug({ err: error, instanceId: id }, 'cannot take what is left of a daemon out of the namespace')
    }
  }

  // --- which images there are ---

  onListings(): void {
    const { local, remote, count } = this.namespace.listings
    if (!local) return
    this.map.add(new Set([...local.keys(), ...(remote?.keys() ?? [])]))
    if (!remote) return
    const listings = { local, remote }
    const { fromRemote, fromBoth } = planVanished(this.map.imageIds, listings, this.before)
    this.before = listings
    for (const id of fromRemote) this.tellPeerImageRemoved(id)
    for (const id of this.vanished.keys()) if (!fromBoth.includes(id)) this.vanished.delete(id)
    for (const id of fromBoth) this.onVanished(id, count)
  }

  /** A bootstrap makes images without telling anybody: only a later local listing says that there is none. */
  private onVanished(id: string, count: number): void {
    const foundAt = this.vanished.get(id)
    if (foundAt === undefined) {
      this.vanished.set(id, count)
      this.tellPeerImageRemoved(id)
      this.namespace.relist()
    } else if (count > foundAt) {
      this.vanished.delete(id)
      this.map.remove(id)
    }
  }

  /** Our own images are reconsidered by what we have listed. */
  private tellPeerImageRemoved(globalImageId: string): void {
    const instanceId = this.map.instanceOf(globalImageId)
    const peerMirrorUuid = this.namespace.remoteMirrorUuid
    if (instanceId === undefined || instanceId === this.self || peerMirrorUuid === undefined) return
    this.scopeOf(instanceId)?.spawn('peer image removed', async (signal) => {
      try {
        await this.namespace.requests.send(instanceId, { type: 'peerImageRemoved', globalImageId, peerMirrorUuid }, signal)
      } catch (error) {
        if (isErrno(error, EBLOCKLISTED)) throw error
        if (!signal.aborted) this.log.warn({ err: error, globalImageId, instanceId }, 'cannot tell a daemon that a remote image is gone')
      }
    })
  }

  // --- what is asked of daemons ---

  private scopeOf(instanceId: string): Scope | undefined {
    let scope = this.requests.get(instanceId)
    if (scope || !this.scope) return scope
    const parent = this.scope
    scope = new Scope(parent.signal, (error) => {
      this.log.error({ err: error, instanceId }, 'cannot speak to another daemon')
      parent.cancel()
    })
    this.requests.set(instanceId, scope)
    return scope
  }

  private async ask(instanceId: string, action: 'acquire' | 'release', globalImageId: string, signal: AbortSignal): Promise<void> {
    const { namespace } = this
    if (instanceId === this.self) return action === 'acquire' ? namespace.images.acquire(globalImageId) : namespace.images.release(globalImageId)
    const type = action === 'acquire' ? 'imageAcquire' : 'imageRelease'
    const result = await namespace.requests.send(instanceId, { type, globalImageId }, this.scopeOf(instanceId)?.signal ?? signal)
    if (result !== 0) throw new Error(`instance ${instanceId} answered ${result}`)
  }

  /** Answered when the sync may begin; it then counts until the daemon that asked says that it is over. */
  async onSyncRequest(from: string, syncId: string, signal: AbortSignal): Promise<number> {
    const { syncThrottler } = this.namespace.context
    const key = syncKey(this.namespace.name, syncId)
    const grant = await syncThrottler.start(key)
    if (grant === 'drained' || signal.aborted) return -Errno.ESTALE
    if (grant === 'superseded') return 0
    const scope = this.scopeOf(from)
    if (!scope) return -Errno.ESTALE
    scope.spawn('sync', async (stop) => {
      try {
        await this.namespace.requests.send(from, { type: 'syncStart', syncId }, stop)
      } catch (error) {
        if (isErrno(error, EBLOCKLISTED)) throw error
        if (!stop.aborted) this.log.debug({ err: error, from, syncId }, 'a daemon that syncs is gone')
      } finally {
        syncThrottler.finish(key)
      }
    })
    return 0
  }
}
