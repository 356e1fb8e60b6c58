import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Clock } from '../base/clock.ts'

const RESOLUTION_MS = 20
const WINDOW_MS = 60_000

export interface DelayQuantiles {
  /** seconds */
  median: number
  p99: number
  max: number
}

/** How long the event loop makes others wait, over the last one to two minutes, however many look at it. */
export class EventLoopDelay {
  private readonly histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  private last: DelayQuantiles | undefined
  private cancel: () => void

  constructor(clock: Clock) {
    this.histogram.enable()
    const turn = () => {
      this.last = this.read()
      this.histogram.reset()
      this.cancel = clock.setTimer(WINDOW_MS, turn)
    }
    this.cancel = clock.setTimer(WINDOW_MS, turn)
  }

  /** The worse of this window and the one before. */
  quantiles(): DelayQuantiles {
    const now = this.read()
    const { last } = this
    if (!last) return now
    return { median: last.median, p99: Math.max(now.p99, last.p99), max: Math.max(now.max, last.max) }
  }

  stop(): void {
    this.cancel()
    this.histogram.disable()
  }

  /** The sampling interval itself is no delay. */
  private read(): DelayQuantiles {
    const seconds = (nanoseconds: number) => (nanoseconds > 0 ? Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1e3) : 0)
    const { histogram } = this
    return { median: seconds(histogram.percentile(50)), p99: seconds(histogram.percentile(99)), max: seconds(histogram.max) }
  }
}
