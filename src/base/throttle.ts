/** Holds back those who move bytes, as far as a limit says so. */
export interface Throttle {
  /**
   * Asks for `bytes` to be moved now. Undefined when they may go at once, which is all it costs where there is no limit; else a promise
   * for when they may, which rejects with the signal's reason.
   */
  take(bytes: number, signal?: AbortSignal): Promise<void> | undefined
  /** Bytes that were asked for and not moved after all; below zero when more were moved. */
  giveBack(bytes: number): void
}

/** The same, for work that can't be given up half done: when the signal is aborted nothing is held back any more. */
export function throttledUntil(throttle: Throttle, signal: AbortSignal): Throttle {
  return {
    take(bytes) {
      if (signal.aborted) return undefined
      return throttle.take(bytes, signal)?.catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
    },
    giveBack: (bytes) => throttle.giveBack(bytes),
  }
}
