import { systemClock, type Clock } from '../../base/clock.ts'
import type { Cluster, ClusterDriver, CommandResult, ConnectOptions, PoolInfo } from '../../rados/cluster.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { FaultInjector } from './fault-injector.ts'
import type { FaultPlan } from './fault-plan.ts'
import { FaultyIoCtx } from './faulty-io-ctx.ts'

/** A connection to any cluster, on which things go wrong as planned, or at once through `faults`. */
export class FaultyCluster implements Cluster {
  readonly faults: FaultInjector

  constructor(
    private readonly inner: Cluster,
    plan: FaultPlan,
    clock: Clock = systemClock,
    watchTimeoutMs = 0,
  ) {
    this.faults = new FaultInjector(inner.name, plan, clock, watchTimeoutMs)
  }

  get name(): string {
    return this.inner.name
  }
  get entity(): string {
    return this.inner.entity
  }
  get instanceId(): bigint {
    return this.inner.instanceId
  }
  get fsid(): string {
    return this.inner.fsid
  }

  private command<T>(method: string, action: () => Promise<T>): Promise<T> {
    return this.faults.run('command', method, {}, action)
  }

  listPools(): Promise<PoolInfo[]> {
    return this.command('listPools', () => this.inner.listPools())
  }
  openPool(name: string): Promise<IoCtx> {
    return this.command('openPool', async () => new FaultyIoCtx(await this.inner.openPool(name), this.faults))
  }
  openPoolById(id: bigint): Promise<IoCtx> {
    return this.command('openPoolById', async () => new FaultyIoCtx(await this.inner.openPoolById(id), this.faults))
  }
  lookupPool(name: string): Promise<bigint> {
    return this.command('lookupPool', () => this.inner.lookupPool(name))
  }
  monCommand(command: Record<string, unknown>, input?: Buffer): Promise<CommandResult> {
    return this.command('monCommand', () => this.inner.monCommand(command, input))
  }
  mgrCommand(command: Record<string, unknown>, input?: Buffer): Promise<CommandResult> {
    return this.command('mgrCommand', () => this.inner.mgrCommand(command, input))
  }
  configKeyGet(key: string): Promise<string | undefined> {
    return this.command('configKeyGet', () => this.inner.configKeyGet(key))
  }
  configKeySet(key: string, value: string): Promise<void> {
    return this.command('configKeySet', () => this.inner.configKeySet(key, value))
  }
  configKeyRemove(key: string): Promise<void> {
    return this.command('configKeyRemove', () => this.inner.configKeyRemove(key))
  }
  option(name: string): string | undefined {
    return this.inner.option(name)
  }
  registerService(service: string, daemon: string, metadata: Readonly<Record<string, string>>): Promise<void> {
    return this.command('registerService', () => this.inner.registerService(service, daemon, metadata))
  }
  updateServiceStatus(status: Readonly<Record<string, string>>): Promise<void> {
    return this.command('updateServiceStatus', () => this.inner.updateServiceStatus(status))
  }
  address(): Promise<string> {
    return this.inner.address()
  }
  blocklistAdd(address: string, expireSeconds: number): Promise<void> {
    return this.command('blocklistAdd', () => this.inner.blocklistAdd(address, expireSeconds))
  }
  waitForLatestOsdMap(): Promise<void> {
    return this.command('waitForLatestOsdMap', () => this.inner.waitForLatestOsdMap())
  }
  /** Works on a dead connection too. */
  close(): Promise<void> {
    this.faults.close()
    return this.inner.close()
  }
}

/**
 * Wraps every connection of a driver; `planFor` may throw what the connection attempt is to fail with.
 * @param watchTimeoutMs how long clusters keep the watches of a connection that has crashed
 */
export function faultyDriver(
  inner: ClusterDriver,
  planFor: (options: ConnectOptions) => FaultPlan,
  clock: Clock = systemClock,
  watchTimeoutMs = 0,
): ClusterDriver & { readonly connections: readonly FaultyCluster[] } {
  const connections: FaultyCluster[] = []
  return {
    connections,
    async connect(options, signal) {
      const plan = planFor(options)
      const cluster = new FaultyCluster(await inner.connect(options, signal), plan, clock, watchTimeoutMs)
      connections.push(cluster)
      return cluster
    },
  }
}
