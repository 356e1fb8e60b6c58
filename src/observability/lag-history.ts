/** An hour, at one sample a minute. */
const MAX_SAMPLES = 60

/** How far an image was behind, minute by minute, in four bytes a minute; nothing as long as nothing is known of it. */
export class LagHistory {
  private samples: Float32Array | undefined
  private count = 0

  /** @param seconds undefined when it is not known */
  add(seconds: number | undefined): void {
    if (seconds === undefined && !this.samples) return
    this.samples ??= new Float32Array(MAX_SAMPLES)
    this.samples[this.count++ % MAX_SAMPLES] = seconds ?? Number.NaN
  }

  /** Oldest first; null where it was not known. */
  list(): (number | null)[] {
    const { samples, count } = this
    if (!samples) return []
    const known = Math.min(count, MAX_SAMPLES)
    return Array.from({ length: known }, (_, index) => {
      const seconds = samples[(count - known + index) % MAX_SAMPLES]!
      return Number.isNaN(seconds) ? null : Math.round(seconds * 10) / 10
    })
  }
}
