import type { Clock } from '../base/clock.ts'

/** One answer for all who ask within `maxAgeMs`, made when the first of them asks. A failure is not kept. */
export class SharedLook<T> {
  private made: { at: number; value: Promise<T> } | undefined

  constructor(
    private readonly make: () => Promise<T>,
    private readonly clock: Clock,
    private readonly maxAgeMs: number,
  ) {}

  get(): Promise<T> {
    const now = this.clock.monotonic()
    if (this.made && now - this.made.at < this.maxAgeMs) return this.made.value
    const value = this.make()
    const made = (this.made = { at: now, value })
    value.catch(() => {
      if (this.made === made) this.made = undefined
    })
    return value
  }
}
