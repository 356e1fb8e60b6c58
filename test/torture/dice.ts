/** Chance that a seed repeats (mulberry32). */
export class Dice {
  private state: number

  constructor(readonly seed: number) {
    this.state = seed >>> 0
  }

  /** 0 to 1, without 1 */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let at = 0; at < length; at += 4) bytes.writeUInt32LE(this.below(2 ** 32), Math.min(at, length - 4))
    return bytes
  }
}
