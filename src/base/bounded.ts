/**
 * Runs `task` for every item, at most `limit` at once, in the items' order. After a failure no further task starts; when those under way have
 * ended, it rejects with the first failure.
 */
export async function forEachBounded<T>(items: Iterable<T>, limit: number, task: (item: T) => Promise<void>): Promise<void> {
  const iterator = items[Symbol.iterator]()
  let failure: { error: unknown } | undefined
  const worker = async (first: T): Promise<void> => {
    for (let next: IteratorResult<T> = { done: false, value: first }; !next.done && !failure; next = iterator.next()) {
      try {
        await task(next.value)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  const workers: Promise<void>[] = []
  while (workers.length < limit && !failure) {
    const next = iterator.next()
    if (next.done) break
    workers.push(worker(next.value))
  }
  await Promise.all(workers)
  if (failure) throw failure.error
}
