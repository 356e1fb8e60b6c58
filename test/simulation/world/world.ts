import { createHash, type Hash } from 'node:crypto'
import { journalMethods } from '../../../src/cls/journal/server.ts'
import { lockMethods } from '../../../src/cls/lock/server.ts'
import { rbdMethods } from '../../../src/cls/rbd/server.ts'
import { EmulatorDriver } from '../../../src/drivers/emulator/driver.ts'
import type { PlannedOperation } from '../../../src/drivers/faulty/fault-plan.ts'
import { ClassRegistry } from '../../../src/objclass/registry.ts'
import { createToken, importToken } from '../../../src/rbd/mirror/bootstrap.ts'
import { setMirrorMode } from '../../../src/rbd/mirror/pool-mode.ts'
import { setSiteName } from '../../../src/rbd/mirror/site-name.ts'
import { ObservedEngine, type AppliedChange } from './observed-engine.ts'
import { Process, type Connection, type ProcessWorld } from './process.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import { POOL, Site } from './site.ts'
import { settle, VirtualClock } from './virtual-clock.ts'
import type { Trouble } from './wire.ts'

/** What images and journals are made and treated with: everything small. */
const OPTIONS: Readonly<Record<string, string>> = {
  rbd_default_order: '12',
  rbd_default_features: '61',
  rbd_journal_order: '13',
  rbd_journal_splay_width: '2',
}

export interface Logged {
  readonly process: Process
  readonly level: 'warn' | 'error'
  readonly fields: object
  readonly message: string
  /** milliseconds since the beginning */
  readonly at: number
}

/** Characters of what has happened. */
const HASHED_AT_ONCE = 16_384

const classes = new ClassRegistry([...rbdMethods, ...lockMethods, ...journalMethods])

/** Something that is not as it has to be. */
export class Violation extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'Violation'
  }
}

/** Two clusters that are each other's peers, a clock, chance, and programs: the whole of it follows from the seed. */
export class World implements ProcessWorld {
  readonly clock = new VirtualClock()
  readonly random: SeededRandom
  readonly sites: { readonly a: Site; readonly b: Site }
  /** warnings and errors */
  readonly logged: Logged[] = []
  /** operations that were begun on both clusters */
  operations = 0
  /** operations may be done when nobody waits for them any more */
  lateWrites = false
  /** changes that were applied on both clusters */
  changes = 0
  troubles: (connection: Connection, operation: PlannedOperation) => readonly Trouble[] = () => []
  outage: (process: Process, site: Site) => number = () => 0
  /** told of each change that a program has made, right away */
  readonly appliedListeners: ((site: Site, change: AppliedChange, connection: Connection) => void)[] = []
  readonly operationListeners: ((connection: Connection, operation: PlannedOperation) => void)[] = []
  /** done whenever nothing can run, before time goes on */
  readonly quietListeners: (() => Promise<void> | undefined)[] = []
  private readonly hash: Hash = createHash('sha256')
  private unhashed = ''
  /** the last of what happened, for who looks for the reason */
  readonly trail: string[] = []
  private violation: Error | undefined
  private readonly stackTraceLimit = Error.stackTraceLimit
  private readonly onRejection = (error: unknown) => void (this.violation ??= error instanceof Error ? error : new Error(String(error)))

  constructor(
    readonly seed: number,
    readonly verbose = false,
  ) {
    this.random = new SeededRandom(seed)
    this.sites = { a: this.site('site-a'), b: this.site('site-b') }
    process.on('unhandledRejection', this.onRejection)
    // errors are answers here, thousands of them: where they were made is asked for only by who looks for a reason
    if (!verbose) Error.stackTraceLimit = 0
  }

  private site(name: string): Site {
    const engine = new ObservedEngine(name, () => this.clock.now())
    const settings = () => ({
      monHost: `memory:${name}`,
      key: undefined,
      option: (option: string) => (Object.hasOwn(OPTIONS, option) ? { value: OPTIONS[option]!, given: true } : undefined),
    })
    const driver = new EmulatorDriver({ classes, settings, clock: this.clock, random: this.random, memoryEngine: () => engine })
    const site = new Site(name, driver, engine, this.clock, this.random)
    engine.onApplied = (change) => this.applied(site, change)
    return site
  }

  /** Makes the clusters each other's peers, as an operator would. */
  async start(): Promise<void> {
    const { a, b } = this.sites
    for (const site of [a, b]) await site.start()
    const operator = new Process(this, 'setup', 'operator')
    await this.finish('set-up', async () => {
      const [clusterA, clusterB] = [await operator.connect(a), await operator.connect(b)]
      const { clock, random, log } = operator
      for (const [site, cluster] of [[a, clusterA], [b, clusterB]] as const) {
        await setSiteName(cluster, site.name)
        await setMirrorMode(await cluster.openPool(POOL), 'image', { cluster, clock, random, log })
      }
      await importToken({
        io: await clusterB.openPool(POOL),
        cluster: clusterB,
        monHost: `memory:${b.name}`,
        direction: 'rx-tx',
        token: await createToken(clusterA, `memory:${a.name}`),
        connect: () => operator.connect(a),
        imageOptions: { cluster: clusterB, clock, random, log },
        random,
        log,
      })
      await Promise.all([clusterA.close(), clusterB.close()])
    })
  }

  other(site: Site): Site {
    return site === this.sites.a ? this.sites.b : this.sites.a
  }

  siteNamed(name: string): Site {
    return name === 'site-a' ? this.sites.a : this.sites.b
  }

  troublesOf(connection: Connection, operation: PlannedOperation): readonly Trouble[] {
    return this.troubles(connection, operation)
  }

  unreachableFor(process: Process, site: Site): number {
    return this.outage(process, site)
  }

  onOperation(connection: Connection, operation: PlannedOperation): void {
    this.operations++
    this.note(`${connection.process.name} → ${connection.site.name}: ${operation.method} ${operation.oid ?? ''}`)
    for (const listener of this.operationListeners) listener(connection, operation)
  }

  private applied(site: Site, change: AppliedChange): void {
    const connection = site.clients.get(change.address)
    if (!connection) return
    this.changes++
    this.note(`${site.name}: ${connection.process.name} changed ${change.oid} v${change.version}`)
    for (const listener of this.appliedListeners) listener(site, change, connection)
  }

  onLog(process: Process, level: 'debug' | 'info' | 'warn' | 'error', fields: object, message: string): void {
    if (level === 'warn' || level === 'error') this.logged.push({ process, level, fields, message, at: this.clock.monotonic() })
    this.note(`${process.name} ${level}: ${message} ${told(fields)}`)
  }

  private note(what: string): void {
    const line = `${this.clock.monotonic().toFixed(3)} ${what}`
    this.unhashed += line
    if (this.unhashed.length > HASHED_AT_ONCE) this.hashNotes()
    if (this.verbose) this.trail.push(line)
  }

  private hashNotes(): void {
    this.hash.update(this.unhashed)
    this.unhashed = ''
  }

  /** Of everything that has happened, in its order. */
  get trace(): string {
    this.hashNotes()
    return this.hash.copy().digest('hex')
  }

  /** Ends the simulation with what should not be. */
  violate(message: string): void {
    this.violation ??= new Violation(`${message} (${(this.clock.monotonic() / 1000).toFixed(3)} s, operation ${this.operations})`)
  }

  /** Lets time pass until `done`, or for `ms`. Rejects with the first violation. */
  async run(ms: number, done: () => boolean = () => false): Promise<'done' | 'over'> {
    const end = this.clock.monotonic() + ms
    for (;;) {
      await settle()
      for (const listener of this.quietListeners) await listener()
      if (this.violation) throw this.violation
      if (done()) return 'done'
      const next = this.clock.next
      if (next === undefined || next > end) {
        this.clock.skipTo(end)
        return 'over'
      }
      this.clock.fire()
    }
  }

  /** Lets time pass until the task has ended. */
  async finish<T>(what: string, task: () => Promise<T>, limitMs = 600_000): Promise<T> {
    let result: { value: T } | { error: unknown } | undefined
    task().then(
      (value) => (result = { value }),
      (error: unknown) => (result = { error }),
    )
    if ((await this.run(limitMs, () => result !== undefined)) === 'over') throw new Violation(`${what}: not done after ${limitMs / 1000} s`)
    if ('error' in result!) throw result.error
    return result!.value
  }

  end(): void {
    Error.stackTraceLimit = this.stackTraceLimit
    process.off('unhandledRejection', this.onRejection)
  }
}

function told(fields: object): string {
  return JSON.stringify(fields, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value instanceof Error ? { error: value.message, cause: value.cause } : value,
  )
}
