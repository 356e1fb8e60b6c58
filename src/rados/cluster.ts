import type { IoCtx } from './io-ctx.ts'

export interface PoolInfo {
  id: bigint
  name: string
}

/** A monitor's or manager's answer; `code` is 0 or a positive errno. */
export interface CommandResult {
  code: number
  /** stdout */
  output: Buffer
  /** stderr / status text */
  status: string
}

/** A connection to one cluster. Every method that talks to it rejects with RadosError on failure. */
export interface Cluster {
  /** the cluster's name on this site (`site-b` for site-b.conf): for messages only */
  readonly name: string
  /** the authenticated entity, e.g. `client.rbd-mirror.b` */
  readonly entity: string
  /** global id of this connection: what OSDs call the client instance */
  readonly instanceId: bigint
  readonly fsid: string

  listPools(): Promise<PoolInfo[]>
  openPool(name: string): Promise<IoCtx>
  openPoolById(id: bigint): Promise<IoCtx>
  /** ENOENT when there is none. */
  lookupPool(name: string): Promise<bigint>

  /** Does not reject for a command that failed: see `code`. Rejects when the monitors can't be reached in time. */
  monCommand(command: Record<string, unknown>, input?: Buffer): Promise<CommandResult>
  mgrCommand(command: Record<string, unknown>, input?: Buffer): Promise<CommandResult>
  /** A value of the monitors' config-key store; undefined when there is none. */
  configKeyGet(key: string): Promise<string | undefined>
  configKeySet(key: string, value: string): Promise<void>
  configKeyRemove(key: string): Promise<void>

  /** The value of one of Ceph's options as this connection sees it (conf, environment, central config). */
  option(name: string): string | undefined

  /** Makes this connection show up as a daemon of `service` in the service map. */
  registerService(service: string, daemon: string, metadata: Readonly<Record<string, string>>): Promise<void>
  updateServiceStatus(status: Readonly<Record<string, string>>): Promise<void>

  /** This connection's address as the blocklist wants it (`addr:port/nonce`). */
  address(): Promise<string>
  blocklistAdd(address: string, expireSeconds: number): Promise<void>
  waitForLatestOsdMap(): Promise<void>

  /** Closes all that was opened from it: watches, io contexts, then the connection. Returns within seconds, also when the cluster is gone. */
  close(): Promise<void>
}

/** How to reach a cluster: everything that is not set comes from Ceph's own defaults. */
export interface ConnectOptions {
  name: string
  /** `client.ID` */
  entity: string
  /** configuration file; undefined for none */
  confFile?: string | undefined
  /** Ceph options that win over the file, e.g. `mon_host`, `key`, `keyring`, `rados_osd_op_timeout` */
  options: Readonly<Record<string, string>>
  /** where librados may have an admin socket of its own, for this process alone; a driver without one has no use for it */
  adminSocket?: string | undefined
}

export interface ClusterDriver {
  /** Rejects with RadosError; the wait ends with the signal. */
  connect(options: ConnectOptions, signal?: AbortSignal): Promise<Cluster>
}
