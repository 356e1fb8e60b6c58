/**
 * Lets writes through side by side, and an operation only when no write is under way, holding up those that come meanwhile. Operations are
 * served in the order in which they came.
 */
export class WriteGate {
  private writes = 0
  private idle: (() => void) | undefined
  private last: Promise<unknown> = Promise.resolve()
  private operations = 0

  async write<T>(task: () => Promise<T>): Promise<T> {
    while (this.operations > 0) await this.last
    this.writes++
    try {
      return await task()
    } finally {
      if (--this.writes === 0) this.idle?.()
    }
  }

  async operate<T>(task: () => Promise<T>): Promise<T> {
    this.operations++
    const run = this.last.then(async () => {
      if (this.writes > 0) await new Promise<void>((resolve) => (this.idle = resolve))
      this.idle = undefined
      try {
        return await task()
      } finally {
        this.operations--
      }
    })
    this.last = run.catch(() => undefined) // its failure belongs to the caller
    return run
  }
}
