import type { Random } from '../../src/base/random.ts'

/** The same numbers for the same seed (sfc32). */
export class SeededRandom implements Random {
  private a: number
  private b: number
  private c = 0x9e3779b9
  private counter = 1

  /** @param stream one of several independent sequences of the same seed */
  constructor(seed: number, stream = '') {
    this.a = seed | 0
    this.b = Math.floor(seed / 2 ** 32) | 0
    for (const character of stream) this.c = Math.imul(this.c ^ character.charCodeAt(0), 0x85ebca6b) | 0
    for (let round = 0; round < 12; round++) this.draw()
  }

  /** 32 random bits, unsigned */
  private draw(): number {
    const sum = (this.a + this.b + this.counter) | 0
    this.counter = (this.counter + 1) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  next(): number {
    return this.draw() / 2 ** 32
  }

  bytes(length: number): Buffer {
    const result = Buffer.alloc(Math.ceil(length / 4) * 4)
    for (let at = 0; at < result.length; at += 4) result.writeUInt32LE(this.draw(), at)
    return result.subarray(0, length)
  }

  uuid(): string {
    const hex = this.bytes(16).toString('hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`
  }

  /** a whole number in [from, to] */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1)
  }

  /** a whole number in [0, limit) */
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }

  /** each with even odds */
  some<T>(items: readonly T[]): T[] {
    return items.filter(() => this.chance(0.5))
  }
}
