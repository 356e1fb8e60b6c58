import { setTimeout as sleep } from 'node:timers/promises'

export interface WaitOptions {
  /** Milliseconds until the wait fails. */
  readonly timeout?: number
  /** Milliseconds between two looks. */
  readonly interval?: number
  /** Told in the failure: what was being looked at when the time was up. */
  readonly detail?: () => unknown
}

/** Looks again and again until `probe` gives something truthy, and returns that. Fails with what was awaited and what was seen last. */
export async function waitFor<T>(
  what: string,
  probe: () => T | Promise<T>,
  options: WaitOptions = {},
): Promise<Exclude<T, false | undefined | null | 0 | ''>> {
  const { timeout = 30_000, interval = 100 } = options
  const deadline = Date.now() + timeout
  let last: unknown
  for (;;) {
    try {
      const value = await probe()
      if (value) return value as Exclude<T, false | undefined | null | 0 | ''>
      last = value
    } catch (error) {
      last = error
    }
    if (Date.now() >= deadline) {
      const seen = options.detail ? options.detail() : last
      throw new Error(`gave up after ${timeout} ms waiting for ${what}; last seen: ${describe(seen)}`, { cause: last })
    }
    await sleep(Math.min(interval, Math.max(1, deadline - Date.now())))
  }
}

function describe(value: unknown): string {
  if (value instanceof Error) return value.message
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
}
