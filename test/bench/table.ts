import type { Metric, Metrics } from './scenario.ts'

export type Side = 'stock' | 'ours'

export interface Sample {
  readonly scenario: string
  readonly title: string
  readonly side: Side
  readonly repetition: number
  readonly metrics: Metrics
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Medians with the range in brackets, and ours as a multiple of stock's: below 1 is less time, memory or traffic. */
export function table(samples: readonly Sample[]): string {
  const lines: string[] = []
  for (const scenario of new Set(samples.map((sample) => sample.scenario))) {
    const own = samples.filter((sample) => sample.scenario === scenario)
    const rows = [['', 'stock', 'ours', 'ours / stock']]
    for (const name of new Set(own.flatMap((sample) => Object.keys(sample.metrics)))) {
      const metrics = (side: Side) => own.flatMap((sample) => (sample.side === side ? (sample.metrics[name] ?? []) : []))
      const [stock, ours] = [metrics('stock'), metrics('ours')]
      rows.push([name, cell(stock), cell(ours), ratio(stock, ours)])
    }
    lines.push(`${own[0]!.title} (${scenario})`, ...align(rows), '')
  }
  return lines.join('\n')
}

function cell(metrics: readonly Metric[]): string {
  if (metrics.length === 0) return '-'
  const values = metrics.map(({ value }) => value)
  const range = values.length > 1 ? ` [${format(Math.min(...values))}..${format(Math.max(...values))}]` : ''
  return `${format(median(values))} ${metrics[0]!.unit}${range}`
}

function ratio(stock: readonly Metric[], ours: readonly Metric[]): string {
  if (stock.length === 0 || ours.length === 0) return '-'
  const base = median(stock.map(({ value }) => value))
  if (base === 0) return '-'
  const quotient = median(ours.map(({ value }) => value)) / base
  const better = ours[0]!.better === 'lower' ? quotient < 0.95 : quotient > 1.05
  const worse = ours[0]!.better === 'lower' ? quotient > 1.05 : quotient < 0.95
  return `${quotient.toFixed(2)}${better ? ' better' : worse ? ' worse' : ''}`
}

function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function align(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) => `  ${row.map((text, column) => text.padEnd(widths[column]!)).join('  ')}`.trimEnd())
}
