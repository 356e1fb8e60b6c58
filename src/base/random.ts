import { randomBytes, randomUUID } from 'node:crypto'

/** Randomness as the code above the drivers sees it: injected, so that a simulation can seed it. */
export interface Random {
  uuid(): string
  /** a float in [0, 1) */
  next(): number
  bytes(length: number): Buffer
}

export const systemRandom: Random = {
  uuid: () => randomUUID(),
  next: () => Math.random(),
  bytes: (length) => randomBytes(length),
}
