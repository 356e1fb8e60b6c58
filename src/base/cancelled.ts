/** The reason with which a scope aborts its tasks: not a failure. */
export class Cancelled extends Error {
  constructor(reason = 'cancelled') {
    super(reason)
    this.name = 'Cancelled'
  }
}

export function isCancelled(error: unknown): error is Cancelled {
  return error instanceof Cancelled
}

/** Settles as `promise` does, or rejects with the signal's reason as soon as it is aborted; the work itself goes on. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
