import type { Fault, FaultPlan } from '../../src/drivers/faulty/fault-plan.ts'

/** The `wanted`-th write of a connection gets `fault`; counts all of them. */
export class AtWrite implements FaultPlan {
  writes = 0
  constructor(
    private readonly wanted: number,
    private readonly fault: Fault,
  ) {}
  faultsFor({ kind }: { kind: string }): readonly Fault[] {
    return kind === 'write' && this.writes++ === this.wanted ? [this.fault] : []
  }
}
