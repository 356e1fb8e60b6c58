import type { PlannedOperation } from '../../src/drivers/faulty/fault-plan.ts'
import { Errno } from '../../src/rados/errors.ts'
import type { Daemon } from './world/daemon.ts'
import type { Connection, Process } from './world/process.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import type { Site } from './world/site.ts'
import type { Trouble } from './world/wire.ts'
import type { World } from './world/world.ts'

export const NEMESES = ['timeouts', 'lostReplies', 'late', 'deafness', 'lostWatches', 'cuts', 'blocklist', 'kills', 'clockJumps', 'full'] as const
export type Nemesis = (typeof NEMESES)[number]

/** A seed has each of them with this probability, so that seeds differ in kind. */
const CHOSEN = 0.35
const NONE: readonly Trouble[] = []

/**
 * What makes the daemons' life hard: each by its own chance, and only until they are told to stop.
 *
 * `timeouts`: operations that were not done; `lostReplies`: that were; `late`: that are done later than anybody waits; `deafness`: notifications
 * that do not arrive; `cuts`: the sites can't reach each other for a while; `full`: one cluster takes no writes for a while.
 */
export class Nemeses {
  readonly chosen: ReadonlySet<Nemesis>
  private active = true
  private readonly chance = new Map<Nemesis, SeededRandom>()
  /** until when the sites can't reach each other */
  private cutUntil = 0
  private full: { site: Site; until: number } | undefined

  constructor(
    private readonly world: World,
    private readonly daemons: readonly Daemon[],
    without: ReadonlySet<string>,
  ) {
    const choice = new SeededRandom(world.seed, 'nemeses')
    this.chosen = new Set(NEMESES.filter((one) => choice.chance(CHOSEN) && !without.has(one)))
    world.lateWrites = this.chosen.has('late')
    for (const one of NEMESES) this.chance.set(one, new SeededRandom(world.seed, one))
    world.troubles = (connection, operation) => (this.active && connection.process.role === 'daemon' ? this.troublesOf(connection, operation) : NONE)
    world.outage = (process, site) => this.outageFor(process, site)
    this.plan('cuts', 20_000, 90_000, (random) => {
      this.cutUntil = world.clock.monotonic() + random.between(1_000, 70_000)
    })
    this.plan('full', 20_000, 90_000, (random) => {
      this.full = { site: random.pick([world.sites.a, world.sites.b]), until: world.clock.monotonic() + random.between(1_000, 20_000) }
    })
    this.plan('kills', 5_000, 60_000, (random) => {
      const daemon = random.pick(daemons)
      daemon.kill()
      world.clock.setTimer(random.between(0, 40_000), () => {
        if (!daemon.process) daemon.start()
      })
    })
    this.plan('clockJumps', 5_000, 60_000, (random) => {
      const { process } = random.pick(daemons)
      if (process) process.clock.skewMs += random.between(-3_600_000, 3_600_000)
    })
    this.plan('blocklist', 15_000, 90_000, (random) => {
      const { process } = random.pick(daemons)
      const connection = process && random.pick(process.connections)
      if (connection) void connection.site.observer.blocklistAdd(connection.address, 3600)
    })
  }

  /** From now on nothing goes wrong any more; daemons that were killed run again. */
  stop(): void {
    this.active = false
    this.cutUntil = 0
    this.full = undefined
    for (const daemon of this.daemons) if (!daemon.process) daemon.start()
  }

  private plan(nemesis: Nemesis, fromMs: number, toMs: number, strike: (random: SeededRandom) => void): void {
    if (!this.chosen.has(nemesis)) return
    const random = this.chance.get(nemesis)!
    const next = () => {
      this.world.clock.setTimer(random.between(fromMs, toMs), () => {
        if (!this.active) return
        strike(random)
        next()
      })
    }
    next()
  }

  private outageFor(process: Process, site: Site): number {
    const from = this.daemons.find((daemon) => daemon.process === process)?.site
    return from && from !== site ? Math.max(0, this.cutUntil - this.world.clock.monotonic()) : 0
  }

  private troublesOf({ remote, site, process }: Connection, { kind, method }: PlannedOperation): readonly Trouble[] {
    const happens = (nemesis: Nemesis, probability: number) => this.chosen.has(nemesis) && this.chance.get(nemesis)!.chance(probability)
    if (kind === 'notification') return happens('deafness', 0.1) || (remote && this.outageFor(process, site) > 0) ? [{ type: 'drop' }] : NONE
    const troubles: Trouble[] = []
    const now = this.world.clock.monotonic()
    if (remote && this.cutUntil > now) troubles.push({ type: 'lateMs', ms: this.cutUntil - now })
    if (this.full && this.full.site === site && this.full.until > now && kind === 'write' && method === 'write') {
      troubles.push({ type: 'error', errno: Errno.ENOSPC })
      return troubles
    }
    if (happens('lostWatches', 0.002)) troubles.push({ type: 'loseWatches' })
    if (happens('late', 0.004)) troubles.push({ type: 'lateMs', ms: this.chance.get('late')!.between(100, 45_000) })
    if (happens('timeouts', 0.004)) troubles.push({ type: 'error', errno: Errno.ETIMEDOUT })
    else if (kind === 'write' && happens('lostReplies', 0.006)) troubles.push({ type: 'lostAck' })
    return troubles
  }
}
