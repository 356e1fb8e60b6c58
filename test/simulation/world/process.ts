import { delay } from '../../../src/base/clock.ts'
import type { Log } from '../../../src/base/log.ts'
import type { PlannedOperation } from '../../../src/drivers/faulty/fault-plan.ts'
import { FaultyCluster } from '../../../src/drivers/faulty/faulty-cluster.ts'
import type { EmulatedCluster } from '../../../src/drivers/emulator/cluster.ts'
import type { Cluster } from '../../../src/rados/cluster.ts'
import { Errno, RadosError } from '../../../src/rados/errors.ts'
import type { SeededRandom } from '../../support/seeded-random.ts'
import type { Site } from './site.ts'
import { ProcessClock, type VirtualClock } from './virtual-clock.ts'
import { Wire, type Trouble } from './wire.ts'

/** osd_client_watch_timeout */
const WATCH_TIMEOUT_MS = 30_000
/** What the daemon sets for its remote connections. */
const REMOTE_TIMEOUT_MS = 30_000
const CONNECT_TIMEOUT_MS = 30_000

export interface ProcessWorld {
  readonly clock: VirtualClock
  readonly random: SeededRandom
  troublesOf(connection: Connection, operation: PlannedOperation): readonly Trouble[]
  onOperation(connection: Connection, operation: PlannedOperation): void
  /** milliseconds until a site can be reached again */
  unreachableFor(process: Process, site: Site): number
  onLog(process: Process, level: 'debug' | 'info' | 'warn' | 'error', fields: object, message: string): void
  readonly verbose: boolean
}

export interface Connection {
  readonly process: Process
  readonly site: Site
  /** from a daemon to its peer */
  readonly remote: boolean
  readonly cluster: FaultyCluster
  /** 127.0.0.1:0/INSTANCE */
  readonly address: string
}

/** A program that runs somewhere: a daemon, a client, an operator's command. It may die at any moment. */
export class Process {
  readonly clock: ProcessClock
  readonly random: SeededRandom
  readonly log: Log
  readonly connections: Connection[] = []
  private dead = false

  constructor(
    readonly world: ProcessWorld,
    readonly name: string,
    readonly role: 'daemon' | 'client' | 'operator',
  ) {
    this.clock = new ProcessClock(world.clock)
    this.random = world.random
    this.log = this.logOf({})
  }

  get alive(): boolean {
    return !this.dead
  }

  private logOf(bound: object): Log {
    const write = (level: 'debug' | 'info' | 'warn' | 'error') => (fields: object, message: string) => {
      if (!this.dead) this.world.onLog(this, level, { ...bound, ...fields }, message)
    }
    return {
      debug: this.world.verbose ? write('debug') : () => undefined,
      info: this.world.verbose ? write('info') : () => undefined,
      warn: write('warn'),
      error: write('error'),
      child: (fields) => this.logOf({ ...bound, ...fields }),
    }
  }

  async connect(site: Site, { remote = false, user = 'client.admin' } = {}): Promise<Cluster> {
    const { clock, random } = this.world
    const wait = this.world.unreachableFor(this, site)
    if (wait > 0) await delay(this.clock, Math.min(wait, CONNECT_TIMEOUT_MS))
    if (wait > CONNECT_TIMEOUT_MS) throw new RadosError(Errno.ETIMEDOUT, { op: 'connect', cluster: site.name })
    const inner: EmulatedCluster = await site.driver.connect({ name: site.name, entity: user, options: {} })
    const wire = new Wire({
      clock,
      random,
      timeoutMs: remote ? REMOTE_TIMEOUT_MS : undefined,
      troublesOf: (operation) => this.world.troublesOf(connection, operation),
      onStart: (operation) => this.world.onOperation(connection, operation),
    })
    const cluster = new FaultyCluster(inner, wire, clock, WATCH_TIMEOUT_MS)
    const connection: Connection = { process: this, site, remote, cluster, address: await inner.address() }
    this.connections.push(connection)
    site.clients.set(connection.address, connection)
    if (this.dead) this.drop(connection, inner)
    this.inner.set(connection, inner)
    return cluster
  }

  private readonly inner = new Map<Connection, EmulatedCluster>()

  /** At once, without a word; what it has sent arrives all the same. */
  kill(): void {
    if (this.dead) return
    this.dead = true
    this.clock.stop()
    for (const connection of this.connections) this.drop(connection, this.inner.get(connection)!)
  }

  private drop(connection: Connection, inner: EmulatedCluster): void {
    connection.cluster.faults.crash()
    this.world.clock.setTimer(WATCH_TIMEOUT_MS, () => void inner.crash())
  }
}
