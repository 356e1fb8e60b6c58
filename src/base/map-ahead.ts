/**
 * What `task` makes of every item, in the items' order, while at most `limit` are under way or wait for their turn. After a failure no further
 * item is taken; it is thrown when its turn comes.
 */
export async function* mapAhead<T, R>(items: AsyncIterable<T>, limit: number, task: (item: T) => Promise<R>): AsyncGenerator<R, void, undefined> {
  const ahead: Promise<R>[] = []
  try {
    for await (const item of items) {
      const running = task(item)
      running.catch(() => undefined) // thrown when its turn comes
      ahead.push(running)
      if (ahead.length >= limit) yield await ahead.shift()!
    }
    while (ahead.length > 0) yield await ahead.shift()!
  } finally {
    await Promise.allSettled(ahead)
  }
}
