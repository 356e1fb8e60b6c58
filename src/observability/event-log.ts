import type { Clock } from '../base/clock.ts'
import type { ImageMetrics, ImageState, PeerMetrics } from './metrics.ts'
import { redact } from './redact.ts'

const MAX_EVENTS = 500

export interface DaemonEvent {
  /** ascending, from 1 */
  id: number
  /** milliseconds since the epoch */
  at: number
  level: 'info' | 'warning' | 'error'
  pool: string
  namespace: string
  /** '' for what concerns the pool */
  image: string
  text: string
}

/** States that an image does not come to, nor leaves, in the course of a day's work. */
const remarkable: ReadonlySet<ImageState> = new Set(['error', 'unknown', 'stopped'])

/** What happened lately, for operators: the newest {@link MAX_EVENTS}. */
export class EventLog {
  private readonly events: DaemonEvent[] = []
  private lastId = 0

  constructor(private readonly clock: Clock) {}

  add(event: Omit<DaemonEvent, 'id' | 'at'>): void {
    this.events.push({ id: ++this.lastId, at: this.clock.now(), ...event, text: redact(event.text) })
    if (this.events.length > MAX_EVENTS) this.events.shift()
  }

  imageChanged(image: ImageMetrics, before: ImageState): void {
    const { state, description, name, labels } = image
    const recovered = (before === 'error' || before === 'stopped') && state === 'replaying'
    // an image without a history begins as unknown
    if (!remarkable.has(state) && !recovered) return
    const level = state === 'error' ? 'error' : state === 'unknown' ? 'warning' : 'info'
    const text = recovered ? 'replaying again' : `${state}: ${description}`
    this.add({ level, pool: labels.pool, namespace: labels.namespace, image: name || labels.globalImageId, text })
  }

  peerChanged({ up, labels }: PeerMetrics): void {
    const text = up ? `peer ${labels.peer} is reached` : `peer ${labels.peer} is not reached`
    this.add({ level: up ? 'info' : 'error', pool: labels.pool, namespace: '', image: '', text })
  }

  /** Newest first, at most `limit`. */
  newest(limit: number): DaemonEvent[] {
    return this.events.slice(-limit).reverse()
  }

  get newestId(): number {
    return this.lastId
  }
}
