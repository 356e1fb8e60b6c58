import type { BenchRun } from './run.ts'

export interface Metric {
  readonly value: number
  readonly unit: string
  readonly better: 'lower' | 'higher'
}

export type Metrics = Record<string, Metric>

/** One thing to measure with one daemon on fresh, mirrored pools. It throws when the replica's contents are wrong. */
export interface Scenario {
  readonly name: string
  readonly title: string
  /** Monitors that propose at once, or with Ceph's default of up to a second for a snapshot id. */
  readonly monitors: 'quick' | 'stock'
  run(run: BenchRun): Promise<Metrics>
}

/** One thing to measure that needs neither real clusters nor the stock daemon. */
export interface LocalScenario {
  readonly name: string
  readonly title: string
  run(): Promise<Metrics>
}

export const seconds = (value: number): Metric => ({ value, unit: 's', better: 'lower' })
export const milliseconds = (value: number): Metric => ({ value, unit: 'ms', better: 'lower' })
export const throughput = (value: number): Metric => ({ value, unit: 'MiB/s', better: 'higher' })
export const bytes = (value: number): Metric => ({ value: value / 2 ** 20, unit: 'MiB', better: 'lower' })
export const percent = (value: number): Metric => ({ value, unit: '%', better: 'lower' })
export const factor = (value: number): Metric => ({ value, unit: 'x', better: 'lower' })
export const rate = (value: number, unit: string): Metric => ({ value, unit, better: 'higher' })
export const cost = (value: number, unit: string): Metric => ({ value, unit, better: 'lower' })
