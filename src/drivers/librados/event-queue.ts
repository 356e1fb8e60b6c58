let queue: (() => void)[] = []
let scheduled = false

/**
 * Runs `event` on the main thread soon, in order. librados' thread waits while its callback runs, so callbacks do no more than call this.
 */
export function afterCallbacks(event: () => void): void {
  queue.push(event)
  if (scheduled) return
  scheduled = true
  setImmediate(drain)
}

function drain(): void {
  scheduled = false
  const events = queue
  queue = []
  for (const event of events) {
    try {
      event()
    } catch (error) {
      // A handler's bug is as fatal as any uncaught exception, but the events of others come first.
      process.nextTick(() => {
        throw error
      })
    }
  }
}
