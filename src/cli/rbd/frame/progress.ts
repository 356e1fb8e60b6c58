import type { Terminal } from './terminal.ts'

/** `Removing image: 42% complete...` on one line of stderr, as the C++ tool has it (tools/rbd/Utils.cc, ProgressContext). */
export class Progress {
  private last = 0

  constructor(
    private readonly terminal: Terminal,
    private readonly operation: string,
    private readonly enabled: boolean,
  ) {}

  /** Of `total` things `done` are done. */
  update(done: number | bigint, total: number | bigint): void {
    if (!this.enabled) return
    const percent = percentage(done, total)
    if (percent <= this.last) return
    this.terminal.err(`\r${this.operation}: ${percent}% complete...`)
    this.last = percent
  }

  finish(): void {
    if (this.enabled) this.terminal.err(`\r${this.operation}: 100% complete...done.\n`)
  }

  fail(): void {
    if (this.enabled) this.terminal.err(`\r${this.operation}: ${this.last}% complete...failed.\n`)
  }

  /** Runs an operation to its end, and says how it ended. */
  async track<T>(operation: (update: (done: number | bigint, total: number | bigint) => void) => Promise<T>): Promise<T> {
    try {
      const result = await operation((done, total) => this.update(done, total))
      this.finish()
      return result
    } catch (error) {
      this.fail()
      throw error
    }
  }
}

/** Whole percents, rounded down; 0 of nothing. */
export function percentage(part: number | bigint, whole: number | bigint): number {
  const total = BigInt(whole)
  return total === 0n ? 0 : Number((100n * BigInt(part)) / total)
}
