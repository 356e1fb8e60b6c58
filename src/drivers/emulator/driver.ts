import { fileURLToPath } from 'node:url'
import { systemClock, type Clock } from '../../base/clock.ts'
import { abortable } from '../../base/cancelled.ts'
import { systemRandom, type Random } from '../../base/random.ts'
import type { ClassRegistry } from '../../objclass/registry.ts'
import type { ClusterDriver, ConnectOptions } from '../../rados/cluster.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import { initializeMap, readFormat } from './cluster-map.ts'
import { addressOf, EmulatedCluster } from './cluster.ts'
import type { Engine } from './engine.ts'
import { MemoryEngine } from './engines/memory.ts'
import { Host } from './host.ts'
import { findUser, newSecret, userKey, type UserRecord } from './users.ts'

/** What a connection's configuration says: the composition root knows how configuration files and keyrings are read. */
export interface EmulatorSettings {
  /** `file:///folder`, `redis://host:port/db` or, in one process, `memory:NAME` */
  readonly monHost: string
  /** the user's secret; memory clusters ask for none */
  readonly key: string | undefined
  /** `given`: by configuration file, environment or command line, rather than by default */
  option(name: string): { value: string; given: boolean } | undefined
}

export interface EmulatorParts {
  readonly classes: ClassRegistry
  readonly settings: (options: ConnectOptions) => EmulatorSettings
  readonly clock?: Clock
  readonly random?: Random
  /** the engine of a cluster at `memory:NAME`, where somebody wants to see what is done to it */
  readonly memoryEngine?: (name: string, now: () => number) => Engine
}

export interface NewCluster {
  readonly monHost: string
  /** made up if not given */
  readonly fsid?: string | undefined
}

/** A cluster that was just created: its id, and the secret of client.admin. */
export interface CreatedCluster {
  readonly fsid: string
  readonly adminKey: string
}

interface OpenHost {
  readonly host: Promise<Host>
  users: number
}

const ADMIN = 'client.admin'
const ALL_CAPS = { mds: 'allow *', mgr: 'allow *', mon: 'allow *', osd: 'allow *' }

/** Emulated clusters: one open store for each place, shared by the connections to it. */
export class EmulatorDriver implements ClusterDriver {
  private readonly hosts = new Map<string, OpenHost>()
  /** What lies in memory stays until the driver is dropped. */
  private readonly memories = new Map<string, Engine>()
  private readonly clock: Clock
  private readonly random: Random

  constructor(private readonly parts: EmulatorParts) {
    this.clock = parts.clock ?? systemClock
    this.random = parts.random ?? systemRandom
  }

  /** Makes a cluster with the user client.admin. @throws RadosError EEXIST if there is one */
  async create({ monHost, fsid = this.random.uuid() }: NewCluster): Promise<CreatedCluster> {
    const { host, release } = await this.acquire(monHost, true)
    try {
      const user: UserRecord = { key: newSecret(this.random, this.clock.now()), caps: ALL_CAPS }
      if (!(await initializeMap(host.engine, fsid, [[userKey(ADMIN), JSON.stringify(user)]]))) {
        throw new RadosError(Errno.EEXIST, { op: `create a cluster in ${host.engine.place}`, cause: new Error('there is one already') })
      }
      return { fsid, adminKey: user.key }
    } finally {
      await release()
    }
  }

  async connect(options: ConnectOptions, signal?: AbortSignal): Promise<EmulatedCluster> {
    signal?.throwIfAborted()
    const connecting = this.open(options)
    try {
      return await abortable(connecting, signal)
    } catch (error) {
      if (signal?.aborted) void connecting.then((late) => late.close()).catch(() => undefined) // nobody waits for it
      throw error
    }
  }

  private async open(options: ConnectOptions): Promise<EmulatedCluster> {
    const { name, entity } = options
    const settings = this.parts.settings(options)
    const { host, release } = await this.acquire(settings.monHost, false)
    try {
      const fsid = await readFormat(host.engine)
      if (fsid === undefined) {
        throw new RadosError(Errno.ENOENT, { op: `connect to ${host.engine.place}`, cluster: name, cause: new Error('there is no cluster there') })
      }
      await host.map.refresh()
      if (!isMemory(settings.monHost)) await authenticate(host.engine, name, entity, settings.key)
      const instanceId = await host.sessions.nextInstanceId()
      await host.sessions.open(instanceId, entity, addressOf(instanceId))
      return new EmulatedCluster(host, { name, entity, fsid, instanceId, option: (option) => settings.option(option) }, release)
    } catch (error) {
      await release()
      throw error
    }
  }

  private async acquire(monHost: string, create: boolean): Promise<{ host: Host; release: () => Promise<void> }> {
    let open = this.hosts.get(monHost)
    if (!open) {
      open = { host: this.openEngine(monHost, create).then((engine) => new Host(engine, this.clock, this.random, this.parts.classes)), users: 0 }
      this.hosts.set(monHost, open)
    }
    const opened = open
    opened.users++
    let held = true
    const release = async () => {
      if (!held) return
      held = false
      if (--opened.users > 0) return
      if (this.hosts.get(monHost) === opened) this.hosts.delete(monHost)
      await opened.host.then(
        (host) => host.engine.close(),
        () => undefined, // it was never opened, and who asked was told
      )
    }
    try {
      return { host: await opened.host, release }
    } catch (error) {
      await release()
      throw error
    }
  }

  private async openEngine(monHost: string, create: boolean): Promise<Engine> {
    if (isMemory(monHost)) {
      let memory = this.memories.get(monHost)
      if (!memory) {
        const { memoryEngine = (...engine: [string, () => number]) => new MemoryEngine(...engine) } = this.parts
        this.memories.set(monHost, (memory = memoryEngine(monHost.slice('memory:'.length), () => this.clock.now())))
      }
      return memory
    }
    const now = () => this.clock.now()
    if (monHost.startsWith('file:')) {
      const { LmdbEngine } = await import('./engines/lmdb.ts')
      return LmdbEngine.open(fileURLToPath(monHost), { create, now })
    }
    if (/^rediss?:/.test(monHost)) {
      const { RedisEngine } = await import('./engines/redis.ts')
      return RedisEngine.open(monHost, { now })
    }
    throw new RadosError(Errno.EINVAL, { op: `open ${monHost}`, cause: new Error('mon_host names no emulated cluster') })
  }
}

const isMemory = (monHost: string) => monHost.startsWith('memory:')

async function authenticate(engine: Engine, cluster: string, entity: string, key: string | undefined): Promise<void> {
  const user = await findUser(engine, entity)
  if (user && user.key === key) return
  const cause = new Error(key === undefined ? `no key for ${entity} was found` : user ? 'its key is not the right one' : `there is no user ${entity}`)
  throw new RadosError(key === undefined ? Errno.ENOENT : Errno.EACCES, { op: `connect as ${entity}`, cluster, cause })
}
