import { delay, type Clock } from '../base/clock.ts'

/** Between two looks; more where a look takes long, so that watching never takes more than a twentieth of the time. */
const MIN_INTERVAL_MS = 1_000
const SHARE = 20
/** A sign of life, so that nothing on the way takes the connection for dead. */
const HEARTBEAT_MS = 10_000

/**
 * Server-sent events: one of each name whenever what `look` gives for it has changed. Ends when `gone` is aborted.
 * @param look values by event name; the first is sent at once
 */
export async function* eventStream(
  look: () => Promise<Readonly<Record<string, unknown>>>,
  clock: Clock,
  gone: AbortSignal,
): AsyncGenerator<string> {
  const shown = new Map<string, string>()
  let sentAt = clock.monotonic()
  yield 'retry: 2000\n\n'
  while (!gone.aborted) {
    const startedAt = clock.monotonic()
    let text = ''
    for (const [name, value] of Object.entries(await look())) {
      const json = JSON.stringify(value)
      if (shown.get(name) === json) continue
      shown.set(name, json)
      text += `event: ${name}\ndata: ${json}\n\n`
    }
    const now = clock.monotonic()
    if (text === '' && now - sentAt >= HEARTBEAT_MS) text = ': alive\n\n'
    if (text !== '') {
      sentAt = now
      yield text
    }
    try {
      await delay(clock, Math.max(MIN_INTERVAL_MS, (now - startedAt) * SHARE), gone)
    } catch {
      return // the client has left
    }
  }
}
