import type { Random } from './random.ts'

/** Growing waits between tries: doubles from `firstMs` to `maxMs`, each with up to 25 % of jitter taken off. */
export class Backoff {
  private next: number

  constructor(
    private readonly random: Random,
    private readonly firstMs: number,
    private readonly maxMs: number,
  ) {
    this.next = firstMs
  }

  /** milliseconds to wait before the next try */
  step(): number {
    const wait = this.next
    this.next = Math.min(this.maxMs, this.next * 2)
    return wait * (1 - 0.25 * this.random.next())
  }

  reset(): void {
    this.next = this.firstMs
  }
}
