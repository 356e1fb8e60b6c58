import type { Clock } from '../../../src/base/clock.ts'

interface Timer {
  readonly at: number
  readonly order: number
  readonly callback: () => void
  cancelled: boolean
}

/** 2026-01-01: the beginning of every simulation */
const EPOCH_MS = 1_767_225_600_000

/** Time that goes on only when nothing can be done any more: to the next timer, one at a time. */
export class VirtualClock implements Clock {
  /** milliseconds since the beginning */
  private time = 0
  private orders = 0
  /** a binary heap by time, then by order of setting */
  private readonly heap: Timer[] = []

  now(): number {
    return EPOCH_MS + this.time
  }

  monotonic(): number {
    return this.time
  }

  setTimer(ms: number, callback: () => void): () => void {
    const timer: Timer = { at: this.time + Math.max(0, ms), order: this.orders++, callback, cancelled: false }
    this.push(timer)
    return () => void (timer.cancelled = true)
  }

  /** When the next timer is due; undefined without one. */
  get next(): number | undefined {
    while (this.heap[0]?.cancelled) this.pop()
    return this.heap[0]?.at
  }

  /** Runs the next timer. */
  fire(): void {
    if (this.next === undefined) throw new Error('no timer is set: nothing will ever happen again')
    const timer = this.pop()
    this.time = timer.at
    timer.callback()
  }

  /** Nothing happens up to this moment. */
  skipTo(time: number): void {
    this.time = Math.max(this.time, time)
  }

  private push(timer: Timer): void {
    const { heap } = this
    let at = heap.push(timer) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(timer, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = timer
  }

  private pop(): Timer {
    const { heap } = this
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}

function before(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/** Lets everything run that can: what is simulated waits for nothing but promises and this clock. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** The clock of a process: it dies with it, and its wall clock may be wrong. */
export class ProcessClock implements Clock {
  /** milliseconds that the wall clock is ahead */
  skewMs = 0
  private stopped = false

  constructor(private readonly clock: Clock) {}

  now(): number {
    return this.clock.now() + this.skewMs
  }

  monotonic(): number {
    return this.clock.monotonic()
  }

  setTimer(ms: number, callback: () => void): () => void {
    return this.clock.setTimer(ms, () => {
      if (!this.stopped) callback()
    })
  }

  stop(): void {
    this.stopped = true
  }
}
