/** One task at a time per key, in the order asked. */
export class KeyedMutex {
  private readonly tails = new Map<string, Promise<unknown>>()

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.tails.get(key)
    const run = before ? before.then(task, task) : task()
    const tail = run.catch(() => undefined) // its failure belongs to the caller below
    this.tails.set(key, tail)
    try {
      return await run
    } finally {
      if (this.tails.get(key) === tail) this.tails.delete(key)
    }
  }
}
