import type { Random } from '../../base/random.ts'
import { Errno } from '../../rados/errors.ts'

/** What is about to happen on a cluster with faults. */
export interface PlannedOperation {
  /** `notification`: one that arrives at a watch of this connection */
  kind: 'read' | 'write' | 'command' | 'watch' | 'notify' | 'notification'
  /** the contract's method, e.g. `write`, `exec`, `monCommand` */
  method: string
  pool?: string | undefined
  namespace?: string | undefined
  oid?: string | undefined
  /** counts the connection's operations from 0, notifications apart */
  index: number
}

export type Fault =
  /** before anything else */
  | { type: 'delay'; ms: number }
  /**
   * It is on its way for `ms` (Infinity: it gets lost), and arrives even if the process dies or gives it up meanwhile: after `timeoutMs` that has
   * ETIMEDOUT, and may be applied later.
   */
  | { type: 'transit'; ms: number; timeoutMs?: number | undefined }
  /** fails without having been applied */
  | { type: 'error'; errno: number }
  /** is applied, but nobody hears of it: ETIMEDOUT */
  | { type: 'lostAck' }
  /** all watches of the connection are lost, the operation goes on */
  | { type: 'loseWatches' }
  /** the connection is blocklisted before the operation, for good */
  | { type: 'blocklist' }
  /** the process dies: with this operation applied or not, nothing of this connection has any effect afterwards */
  | { type: 'crash'; applied: boolean }
  /** a notification that does not arrive, so that its sender hears of a time-out */
  | { type: 'drop' }

/** Decides what goes wrong. Called once for every operation and notification, in the order they are started. */
export interface FaultPlan {
  faultsFor(operation: PlannedOperation): readonly Fault[]
}

/** Nothing goes wrong. */
export const noFaults: FaultPlan = { faultsFor: () => [] }

/** A fault at exactly the operations that a predicate picks. */
export class ScriptedFaults implements FaultPlan {
  private rules: { applies: (operation: PlannedOperation) => boolean; faults: readonly Fault[]; left: number }[] = []

  /** For the next `times` operations that `applies` to. */
  on(applies: (operation: PlannedOperation) => boolean, faults: readonly Fault[], times = 1): this {
    this.rules.push({ applies, faults, left: times })
    return this
  }

  /** At the operation with this index. */
  at(index: number, ...faults: Fault[]): this {
    return this.on((operation) => operation.kind !== 'notification' && operation.index === index, faults)
  }

  faultsFor(operation: PlannedOperation): readonly Fault[] {
    const rule = this.rules.find(({ applies, left }) => left > 0 && applies(operation))
    if (!rule) return []
    rule.left--
    return rule.faults
  }
}

/** Probabilities per operation, 0 to 1. What is not named does not happen. */
export interface FaultRates {
  delay?: { probability: number; maxMs: number }
  error?: { probability: number; errnos?: readonly number[] }
  /** of writes */
  lostAck?: number
  loseWatches?: number
  /** of notifications */
  drop?: number
}

const DEFAULT_ERRORS = [Errno.ETIMEDOUT, Errno.EAGAIN, Errno.EBUSY, Errno.EIO]

/** Faults by chance, the same ones for the same random source and the same operations. */
export class RandomFaults implements FaultPlan {
  private stopped = false

  constructor(
    private readonly random: Random,
    private readonly rates: FaultRates,
  ) {}

  /** From now on nothing goes wrong any more. */
  stop(): void {
    this.stopped = true
  }

  faultsFor({ kind }: PlannedOperation): readonly Fault[] {
    // As many draws for every operation, so that one decision does not shift the later ones.
    const [delay, howLong, error, which, lost, watches, drop] = Array.from({ length: 7 }, () => this.random.next()) as [
      number, number, number, number, number, number, number, // prettier-ignore
    ]
    if (this.stopped) return []
    const { rates } = this
    if (kind === 'notification') return drop < (rates.drop ?? 0) ? [{ type: 'drop' }] : []
    const faults: Fault[] = []
    if (rates.delay && delay < rates.delay.probability) faults.push({ type: 'delay', ms: howLong * rates.delay.maxMs })
    if (watches < (rates.loseWatches ?? 0)) faults.push({ type: 'loseWatches' })
    if (rates.error && error < rates.error.probability) {
      const errnos = rates.error.errnos ?? DEFAULT_ERRORS
      faults.push({ type: 'error', errno: errnos[Math.floor(which * errnos.length)]! })
    } else if (kind === 'write' && lost < (rates.lostAck ?? 0)) {
      faults.push({ type: 'lostAck' })
    }
    return faults
  }
}
