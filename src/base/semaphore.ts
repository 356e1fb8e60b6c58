/** A counted limit (slots, or bytes in flight). Waiters are served first come, first served; a request larger than the limit runs alone. */
export class Semaphore {
  private used = 0
  private readonly queue: { amount: number; start: () => void }[] = []

  constructor(private limit: number) {}

  get inUse(): number {
    return this.used
  }

  get waiting(): number {
    return this.queue.length
  }

  setLimit(limit: number): void {
    this.limit = limit
    this.pump()
  }

  /** Resolves with the function that gives `amount` back (calling it twice does nothing more). */
  acquire(amount = 1, signal?: AbortSignal): Promise<() => void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error)
      const entry = {
        amount,
        start: () => {
          signal?.removeEventListener('abort', onAbort)
          let held = true
          resolve(() => {
            if (!held) return
            held = false
            this.used -= amount
            this.pump()
          })
        },
      }
      const onAbort = () => {
        const index = this.queue.indexOf(entry)
        if (index < 0) return
        this.queue.splice(index, 1)
        reject(signal!.reason as Error)
        this.pump()
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.queue.push(entry)
      this.pump()
    })
  }

  async run<T>(amount: number, task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const release = await this.acquire(amount, signal)
    try {
      return await task()
    } finally {
      release()
    }
  }

  private pump(): void {
    for (let next = this.queue[0]; next && (this.used === 0 || this.used + next.amount <= this.limit); next = this.queue[0]) {
      this.queue.shift()
      this.used += next.amount
      next.start()
    }
  }
}
