import type { Clock } from '../../../src/base/clock.ts'
import type { Fault, FaultPlan, PlannedOperation } from '../../../src/drivers/faulty/fault-plan.ts'
import type { SeededRandom } from '../../support/seeded-random.ts'

/** What goes wrong with an operation besides the time that it takes. */
export type Trouble = Exclude<Fault, { type: 'delay' | 'transit' }> | { type: 'lateMs'; ms: number }

export interface WireOptions {
  readonly clock: Clock
  readonly random: SeededRandom
  /** milliseconds after which an operation is given up; undefined: never */
  readonly timeoutMs: number | undefined
  /** asked at each operation; notifications too */
  troublesOf(operation: PlannedOperation): readonly Trouble[]
  /** called at each operation before anything else, notifications apart */
  onStart(operation: PlannedOperation): void
}

const QUICKEST_MS = 0.1
const SLOWEST_MS = 2
const SLUGGISH_MS = 40

/**
 * The way of one connection's operations to its cluster: each takes a while of its own, so that what is independent happens in any order;
 * operations on one object arrive in the order in which they were sent.
 */
export class Wire implements FaultPlan {
  private readonly arrivals = new Map<string, number>()

  constructor(private readonly options: WireOptions) {}

  faultsFor(operation: PlannedOperation): readonly Fault[] {
    const { clock, random, timeoutMs } = this.options
    const troubles = this.options.troublesOf(operation)
    if (operation.kind === 'notification') return troubles.filter((one) => one.type === 'drop')
    this.options.onStart(operation)
    const sluggish = random.chance(0.03)
    let ms = QUICKEST_MS + random.next() * (sluggish ? SLUGGISH_MS : SLOWEST_MS)
    const faults: Fault[] = []
    for (const trouble of troubles) {
      if (trouble.type === 'lateMs') ms += trouble.ms
      else faults.push(trouble)
    }
    const place = `${operation.pool}/${operation.namespace}/${operation.oid}`
    const arrival = Math.max(clock.monotonic() + ms, this.arrivals.get(place) ?? 0)
    if (operation.oid !== undefined && operation.kind !== 'notify') this.arrivals.set(place, arrival)
    // an error is an answer, which takes its time too
    const errorAt = faults.findIndex(({ type }) => type === 'error' || type === 'blocklist')
    const wait = arrival - clock.monotonic()
    if (errorAt >= 0) return [{ type: 'delay', ms: Number.isFinite(wait) ? wait : 0 }, ...faults]
    return [...faults, { type: 'transit', ms: wait, timeoutMs: operation.kind === 'notify' ? undefined : timeoutMs }]
  }
}
