import type { Cluster, CommandResult, PoolInfo } from '../../rados/cluster.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import { NO_SNAP, type NotifyResult } from '../../rados/io-ctx.ts'
import type { MapStore} from './cluster-map.ts';
import { shardsOf, type PoolRecord } from './cluster-map.ts'
import { runCommand } from './commands.ts'
import { Fenced, type EngineClient, type MaybePromise } from './engine.ts'
import { Executor } from './executor.ts'
import type { Host, HostedClient } from './host.ts'
import { EmulatedIoCtx } from './io-ctx.ts'
import type { Message } from './messages.ts'
import type { WatchRecord } from './object-head.ts'
import { ServiceRegistration } from './services.ts'
import { PendingNotify, type EmulatedWatch, type WatchOwner } from './watches.ts'

/** How long close waits for its watches to end and for its session, when the store does not answer (milliseconds). */
const CLOSE_MS = 2000
/** A session is renewed this many times in its lease. */
const RENEWALS_PER_LEASE = 3

export interface ClusterIdentity {
  readonly name: string
  readonly entity: string
  readonly fsid: string
  readonly instanceId: bigint
  /** a value of this connection's configuration, however it came there */
  option(name: string): { value: string; given: boolean } | undefined
}

/** A connection to an emulated cluster. */
export class EmulatedCluster implements Cluster, HostedClient {
  readonly name: string
  readonly entity: string
  readonly fsid: string
  readonly instanceId: bigint
  readonly client: EngineClient
  readonly executor: Executor
  private readonly watches = new Map<bigint, EmulatedWatch>()
  private readonly notifies = new Map<bigint, PendingNotify>()
  private cookies = 0n
  private notifyIds = 0n
  private confirmed: number
  private cancelRenewal: (() => void) | undefined
  private service: ServiceRegistration | undefined
  /** as told last, be it before the registration */
  private serviceStatus: Readonly<Record<string, string>> = {}
  private closing: Promise<void> | undefined

  constructor(
    readonly host: Host,
    private readonly identity: ClusterIdentity,
    private readonly released: () => Promise<void>,
  ) {
    this.name = identity.name
    this.entity = identity.entity
    this.fsid = identity.fsid
    this.instanceId = identity.instanceId
    const address = addressOf(identity.instanceId)
    this.client = { address }
    this.executor = new Executor(
      {
        engine: host.engine,
        client: this.client,
        caller: { instanceId: identity.instanceId, address },
        classes: host.classes,
        random: host.random,
        livingWatchers: (watchers) => (watchers.length === 0 ? watchers : host.sessions.living(watchers, (one) => this.isBlocklisted(one))),
      },
      host.queue,
      host.clock,
    )
    this.confirmed = host.clock.monotonic()
    host.add(this)
    this.planRenewal()
  }

  error(errno: number, op: string, cause?: unknown): RadosError {
    return new RadosError(errno, { op, cluster: this.name, cause })
  }

  assertOpen(op: string): void {
    if (this.closing) throw this.error(Errno.ESHUTDOWN, `${op} after close`)
  }

  /** Asks the store outside of an object's operation; a client that is shut out gets ESHUTDOWN. */
  async direct<T>(op: string, ask: () => MaybePromise<T>): Promise<T> {
    try {
      return await ask()
    } catch (error) {
      if (error instanceof Fenced) throw this.error(Errno.ESHUTDOWN, op, error)
      if (error instanceof RadosError && error.cluster === undefined) throw this.error(error.errno, op, error.cause)
      throw error
    }
  }

  private isBlocklisted(address: string): boolean {
    const until = this.host.map.current.blocklist[address]
    return until !== undefined && until > this.host.clock.now()
  }

  // --- pools ---

  async listPools(): Promise<PoolInfo[]> {
    const { pools } = await this.freshMap('list pools')
    return pools.map(({ id, name }) => ({ id: BigInt(id), name }))
  }

  private freshMap(op: string) {
    this.assertOpen(op)
    return this.direct(op, () => this.host.map.refresh())
  }

  private async findPool(matches: (pool: PoolRecord) => boolean, what: string): Promise<PoolRecord> {
    const pool = (await this.freshMap('look up pool')).pools.find(matches)
    if (!pool) throw new RadosError(Errno.ENOENT, { op: 'look up pool', cluster: this.name, pool: what })
    return pool
  }

  async lookupPool(name: string): Promise<bigint> {
    return BigInt((await this.findPool((pool) => pool.name === name, name)).id)
  }

  async openPool(name: string): Promise<EmulatedIoCtx> {
    return this.openContext(await this.findPool((pool) => pool.name === name, name))
  }

  async openPoolById(id: bigint): Promise<EmulatedIoCtx> {
    return this.openContext(await this.findPool((pool) => BigInt(pool.id) === id, `id ${id}`))
  }

  private openContext({ id, name }: PoolRecord): EmulatedIoCtx {
    return new EmulatedIoCtx(this, { poolId: BigInt(id), poolName: name, namespace: '', readSnap: NO_SNAP, snapContext: undefined })
  }

  // --- monitors and managers ---

  async monCommand(command: Record<string, unknown>, input: Buffer = Buffer.alloc(0)): Promise<CommandResult> {
    this.assertOpen(`monitor command ${String(command['prefix'])}`)
    return this.direct('monitor command', () => runCommand(this, command, input))
  }

  async mgrCommand(command: Record<string, unknown>, input: Buffer = Buffer.alloc(0)): Promise<CommandResult> {
    this.assertOpen(`manager command ${String(command['prefix'])}`)
    return this.direct('manager command', () => runCommand(this, command, input))
  }

  private async succeed(command: Record<string, unknown>, input?: Buffer): Promise<Buffer> {
    const { code, output, status } = await this.monCommand(command, input)
    if (code !== 0) throw this.error(code, `monitor command ${String(command['prefix'])}`, status === '' ? undefined : new Error(status))
    return output
  }

  async configKeyGet(key: string): Promise<string | undefined> {
    const { code, output } = await this.monCommand({ prefix: 'config-key get', key })
    return code === 0 ? output.toString() : undefined
  }

  async configKeySet(key: string, value: string): Promise<void> {
    await this.succeed({ prefix: 'config-key set', key }, Buffer.from(value))
  }

  async configKeyRemove(key: string): Promise<void> {
    await this.succeed({ prefix: 'config-key rm', key })
  }

  /** Configuration file, environment and command line, else the central configuration, else Ceph's default. */
  option(name: string): string | undefined {
    this.assertOpen('option')
    const own = this.identity.option(name)
    if (own?.given) return own.value
    const { config } = this.host.map.current
    for (const section of [this.entity, this.entity.split('.')[0]!, 'global']) {
      const value = config[section]?.[name]
      if (value !== undefined) return value
    }
    return own?.value
  }

  /** Changes the cluster's map and tells all. */
  async changeMap<T>(op: string, change: (map: MapStore) => Promise<T>): Promise<T> {
    this.assertOpen(op)
    return this.direct(op, async () => {
      const result = await change(this.host.map)
      await this.host.mapChanged()
      return result
    })
  }

  async registerService(service: string, daemon: string, metadata: Readonly<Record<string, string>>): Promise<void> {
    this.assertOpen('register service')
    if (this.service) throw this.error(Errno.EEXIST, 'register service')
    const { instanceId, client } = this
    this.service = new ServiceRegistration(this.host, { service, daemon, instanceId, address: client.address, metadata, status: this.serviceStatus })
    await this.direct('register service', () => this.service!.store())
  }

  async updateServiceStatus(status: Readonly<Record<string, string>>): Promise<void> {
    this.assertOpen('update service status')
    this.serviceStatus = status
    await this.direct('update service status', () => this.service?.update(status))
  }

  // --- blocklist ---

   
  async address(): Promise<string> {
    this.assertOpen('addresses')
    return this.client.address
  }

  async blocklistAdd(address: string, expireSeconds: number): Promise<void> {
    const until = this.host.clock.now() + (expireSeconds > 0 ? expireSeconds : 3600) * 1000
    await this.changeMap('add to blocklist', async (map) => {
      const pools = await map.update((before) => ({ map: { ...before, blocklist: { ...before.blocklist, [address]: until } }, result: before.pools }))
      await this.host.engine.fence(address, until, pools.flatMap(shardsOf))
    })
  }

  async waitForLatestOsdMap(): Promise<void> {
    await this.freshMap('wait for the latest OSD map')
    this.followMap()
  }

  private followMap(): void {
    if (this.isBlocklisted(this.client.address)) this.loseWatches()
  }

  private loseWatches(): void {
    for (const watch of [...this.watches.values()]) {
      this.untrack(watch)
      watch.lose(Errno.ENOTCONN)
    }
  }

  // --- watches ---

  nextCookie(): bigint {
    return ++this.cookies
  }

  watchOwner(pool: string, namespace: string, oid: string): WatchOwner {
    return {
      instanceId: this.instanceId,
      error: (errno, op) => new RadosError(errno, { op, cluster: this.name, pool, namespace, oid }),
      send: (endpoint, message) => this.host.send(endpoint, message),
      confirmedAgo: () => (this.host.engine.leaseMs === undefined ? 0 : Math.max(0, this.host.clock.monotonic() - this.confirmed)),
    }
  }

  track(watch: EmulatedWatch): void {
    this.watches.set(watch.cookie, watch)
  }

  untrack(watch: EmulatedWatch): void {
    this.watches.delete(watch.cookie)
  }

  deliver(message: Message): void {
    switch (message.type) {
      case 'map':
        return this.followMap()
      case 'notify':
        return this.watches.get(message.cookie)?.notified(message)
      case 'ack':
        return this.notifies.get(message.notifyId)?.answered(message.watcherId, message.cookie, message.gone ? undefined : message.payload)
      case 'lost': {
        const watch = this.watches.get(message.cookie)
        if (watch) this.untrack(watch)
        return watch?.lose(Errno.ENOTCONN)
      }
    }
  }

  /** Tells the watchers of an object that is gone. */
  tellLost(watchers: readonly WatchRecord[]): void {
    for (const { clientId, cookie } of watchers) {
      void this.host.sessions
        .find(clientId)
        .then((session) => session && this.host.send(session.endpoint, { type: 'lost', to: clientId, cookie }))
        .catch(() => undefined) // out of reach: it finds out by itself, when its session is renewed
    }
  }

  async notify(watchers: readonly WatchRecord[], payload: Buffer, timeoutMs: number): Promise<NotifyResult> {
    const notifyId = (this.instanceId << 32n) | ++this.notifyIds
    const pending = new PendingNotify(watchers)
    this.notifies.set(notifyId, pending)
    const cancel = this.host.clock.setTimer(timeoutMs, () => pending.timedOut())
    try {
      await Promise.all(watchers.map((watcher) => this.sendNotify(watcher, notifyId, payload, pending)))
      return await pending.result
    } finally {
      cancel()
      this.notifies.delete(notifyId)
    }
  }

  private async sendNotify({ clientId, cookie }: WatchRecord, notifyId: bigint, payload: Buffer, pending: PendingNotify): Promise<void> {
    const session = await this.host.sessions.find(clientId)
    const message: Message = {
      type: 'notify',
      to: clientId,
      cookie,
      notifyId,
      notifierId: this.instanceId,
      endpoint: this.host.engine.endpoint,
      payload,
    }
    if (!session || !(await this.host.send(session.endpoint, message))) pending.answered(clientId, cookie, undefined)
  }

  // --- life ---

  private planRenewal(): void {
    const { leaseMs } = this.host.engine
    if (leaseMs === undefined) return
    this.cancelRenewal = this.host.clock.setTimer(leaseMs / RENEWALS_PER_LEASE, () => void this.renew(leaseMs).finally(() => this.closing ?? this.planRenewal()))
  }

  private async renew(leaseMs: number): Promise<void> {
    const started = this.host.clock.monotonic()
    try {
      const kept = await this.host.sessions.renew(this.instanceId, this.entity, this.client.address)
      if (!kept) this.loseWatches()
      this.confirmed = started
      await this.host.map.refresh()
      this.followMap()
    } catch {
      // The store is out of reach. Others take this session for dead when its lease is over, and so does it.
      if (this.host.clock.monotonic() - this.confirmed > leaseMs) this.loseWatches()
    }
  }

  close(): Promise<void> {
    return (this.closing ??= this.shutDown())
  }

  private async shutDown(): Promise<void> {
    this.cancelRenewal?.()
    const ended = (async () => {
      await Promise.allSettled([...this.watches.values()].map((watch) => watch.close()))
      await this.service?.remove()
      await this.host.sessions.close(this.instanceId)
    })()
    let cancel: (() => void) | undefined
    await Promise.race([ended.catch(() => undefined), new Promise<void>((resolve) => (cancel = this.host.clock.setTimer(CLOSE_MS, resolve)))])
    cancel?.()
    for (const pending of this.notifies.values()) pending.timedOut()
    await this.crash()
  }

  /** Ends without telling anybody, as a killed process does. */
  async crash(): Promise<void> {
    this.closing ??= Promise.resolve()
    this.cancelRenewal?.()
    this.watches.clear()
    this.host.remove(this)
    if (this.host.engine.leaseMs === undefined) await this.host.sessions.close(this.instanceId)
    await this.released()
  }
}

/** What blocklists and watchers call a connection. */
export function addressOf(instanceId: bigint): string {
  return `127.0.0.1:0/${instanceId}`
}
