/** Runs `task` for every number in [start, end), at most `limit` at a time; the first failure ends it after those under way. */
export async function forEachInRange(
  start: number,
  end: number,
  limit: number,
  task: (index: number) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  let next = start
  let failure: { error: unknown } | undefined
  const worker = async () => {
    while (next < end && !failure) {
      const index = next++
      try {
        signal?.throwIfAborted()
        await task(index)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, end - start) }, worker))
  if (failure) throw failure.error
}
