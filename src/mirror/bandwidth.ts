import { matchesGlob } from '../base/glob.ts'
import type { Clock } from '../base/clock.ts'
import type { Throttle } from '../base/throttle.ts'
import type { BandwidthRule, BandwidthScope } from '../config/bandwidth-rules.ts'
import type { BandwidthFigures } from '../observability/metrics.ts'

/** An idle limit lets so many seconds' worth go at once. */
const BURST_SECONDS = 0.2
const MINUTE_MS = 60_000
/** Limits shown in figures; those of further images are not. */
const MAX_FIGURES = 1000

/** Whose traffic it is. The image's name may change. */
export interface FlowLabels {
  readonly peer: string
  readonly pool: string
  /** POOL/[NS/]IMAGE as it is now */
  image(): string
}

/** One limit: filled at its rate, and let into debt by whoever finds something in it, so that any request passes sooner or later. */
interface Bucket {
  readonly key: string
  readonly scope: BandwidthScope
  readonly name: string
  /** bytes per second; undefined while none is in force */
  rate: number | undefined
  tokens: number
  filledAt: number
  /** requests that wait for this limit and others */
  waiting: number
  /** flows that have it */
  flows: number
  bytes: number
  waitSeconds: number
}

interface Request {
  readonly flow: Flow
  readonly bytes: number
  readonly buckets: readonly Bucket[]
  /** virtual time of its turn */
  readonly turn: number
  readonly askedAt: number
  grant(): void
}

/**
 * The bandwidth limits of the daemon: of the whole, of each peer, pool and image. Images that wait for the same limit get equal shares, as
 * in start-time fair queueing: each has a virtual time that goes on with its bytes, and the one that is furthest behind comes next.
 * Without rules a request costs one comparison.
 */
export class Bandwidth {
  private rules: readonly BandwidthRule[] = []
  /** grows with each change of the rules */
  private version = 0
  private readonly buckets = new Map<string, Bucket>()
  private readonly flows = new Set<Flow>()
  private readonly queue: Request[] = []
  private virtualTime = 0
  private minute = -1
  private cancelTimer: (() => void) | undefined

  constructor(private readonly clock: Clock) {}

  /** From now on these rules hold, also for those who wait. */
  setRules(rules: readonly BandwidthRule[]): void {
    this.rules = rules
    this.version++
    this.minute = -1
    for (const flow of this.flows) flow.forget()
    for (const { key, scope, name } of this.buckets.values()) if (!rules.some((rule) => fits(rule, scope, name))) this.buckets.delete(key)
    const waiting = this.queue.splice(0)
    for (const { buckets } of waiting) for (const bucket of buckets) bucket.waiting--
    // asked anew, in the order of their turns; what they have waited stays theirs
    for (const request of waiting) this.enqueue({ ...request, buckets: request.flow.buckets() })
    this.pump()
  }

  get hasRules(): boolean {
    return this.rules.length > 0
  }

  get rulesVersion(): number {
    return this.version
  }

  /** One image's share. To be closed when the image goes. */
  flow(labels: FlowLabels): Flow {
    const flow = new Flow(this, labels)
    this.flows.add(flow)
    return flow
  }

  figures(): BandwidthFigures[] {
    this.followMinute()
    return [...this.buckets.values()].slice(0, MAX_FIGURES).map(({ key, rate, bytes, waitSeconds }) => ({ scope: key, limit: rate, bytes, waitSeconds }))
  }

  // --- for flows ---

  closed(flow: Flow): void {
    this.flows.delete(flow)
  }

  /** The limits that some rule names for this flow, whether or not they are in force now. */
  bucketsOf(labels: FlowLabels): Bucket[] {
    const names: Record<BandwidthScope, string> = { daemon: '', peer: labels.peer, pool: labels.pool, image: labels.image() }
    return (Object.keys(names) as BandwidthScope[]).flatMap((scope) => {
      const name = names[scope]
      if (!this.rules.some((rule) => fits(rule, scope, name))) return []
      const key = scope === 'daemon' ? scope : `${scope}=${name}`
      let bucket = this.buckets.get(key)
      if (!bucket) {
        bucket = { key, scope, name, rate: undefined, tokens: 0, filledAt: this.clock.monotonic(), waiting: 0, flows: 0, bytes: 0, waitSeconds: 0 }
        bucket.rate = this.rateOf(bucket)
        bucket.tokens = (bucket.rate ?? 0) * BURST_SECONDS
        this.buckets.set(key, bucket)
      }
      bucket.flows++
      return [bucket]
    })
  }

  released(buckets: readonly Bucket[]): void {
    for (const bucket of buckets) {
      bucket.flows--
      // figures of an image's limit go with the image
      if (bucket.flows === 0 && bucket.scope === 'image') this.buckets.delete(bucket.key)
    }
  }

  take(flow: Flow, bytes: number, signal: AbortSignal | undefined): Promise<void> | undefined {
    this.followMinute()
    const buckets = flow.buckets()
    if (buckets.every((bucket) => bucket.waiting === 0 && this.isOpen(bucket))) {
      this.spend(flow, buckets, bytes)
      return undefined
    }
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error)
      const onAbort = () => {
        const index = this.queue.findIndex((queued) => queued.grant === grant)
        if (index < 0) return
        const [request] = this.queue.splice(index, 1)
        for (const bucket of request!.buckets) bucket.waiting--
        reject(signal!.reason as Error)
        this.pump()
      }
      const grant = () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      const turn = flow.reserve(this.virtualTime, bytes)
      this.enqueue({ flow, bytes, buckets, turn, askedAt: this.clock.monotonic(), grant })
      this.pump()
    })
  }

  giveBack(flow: Flow, bytes: number): void {
    for (const bucket of flow.buckets()) {
      if (bucket.rate !== undefined) bucket.tokens = Math.min(bucket.tokens + bytes, bucket.rate * BURST_SECONDS)
      bucket.bytes -= bytes
    }
    if (this.queue.length > 0) this.pump()
  }

  // --- the clockwork ---

  private enqueue(request: Request): void {
    this.queue.push(request)
    for (const bucket of request.buckets) bucket.waiting++
  }

  /** Grants what may go now, in turn, and sets the timer for the next that may. */
  private pump(): void {
    this.followMinute()
    this.cancelTimer?.()
    this.cancelTimer = undefined
    for (;;) {
      let next: Request | undefined
      for (const request of this.queue) if ((!next || request.turn < next.turn) && request.buckets.every((bucket) => this.isOpen(bucket))) next = request
      if (!next) break
      this.queue.splice(this.queue.indexOf(next), 1)
      this.virtualTime = Math.max(this.virtualTime, next.turn)
      const waited = (this.clock.monotonic() - next.askedAt) / 1000
      for (const bucket of next.buckets) {
        bucket.waiting--
        if (bucket.rate !== undefined) bucket.waitSeconds += waited
      }
      this.spend(next.flow, next.buckets, next.bytes)
      next.grant()
    }
    if (this.queue.length === 0) return
    let waitMs = this.untilNextWindow()
    for (const { buckets } of this.queue) {
      const mine = Math.max(...buckets.map((bucket) => (bucket.rate === undefined || bucket.tokens > 0 ? 0 : (-bucket.tokens / bucket.rate) * 1000)))
      waitMs = Math.min(waitMs, mine)
    }
    this.cancelTimer = this.clock.setTimer(Math.max(1, Math.ceil(waitMs)), () => this.pump())
  }

  /** The minute that is current decides which windows are open. */
  private untilNextWindow(): number {
    return this.rules.some(({ during }) => during) ? MINUTE_MS - (this.clock.now() % MINUTE_MS) : Infinity
  }

  private isOpen(bucket: Bucket): boolean {
    const { rate } = bucket
    if (rate === undefined) return true
    const now = this.clock.monotonic()
    bucket.tokens = Math.min(bucket.tokens + (rate * (now - bucket.filledAt)) / 1000, rate * BURST_SECONDS)
    bucket.filledAt = now
    return bucket.tokens > 0
  }

  private spend(flow: Flow, buckets: readonly Bucket[], bytes: number): void {
    flow.served(this.virtualTime, bytes)
    for (const bucket of buckets) {
      if (bucket.rate !== undefined) bucket.tokens -= bytes
      bucket.bytes += bytes
    }
  }

  /** Windows open and close with the minutes. */
  private followMinute(): void {
    const minute = Math.floor(this.clock.now() / MINUTE_MS)
    if (minute === this.minute) return
    this.minute = minute
    for (const bucket of this.buckets.values()) {
      const rate = this.rateOf(bucket)
      if (rate === bucket.rate) continue
      // what was owed under another limit is not owed under this one
      bucket.tokens = rate === undefined ? 0 : rate * BURST_SECONDS
      bucket.filledAt = this.clock.monotonic()
      bucket.rate = rate
    }
  }

  private rateOf({ scope, name }: Pick<Bucket, 'scope' | 'name'>): number | undefined {
    const minute = new Date(Math.floor(this.clock.now() / MINUTE_MS) * MINUTE_MS)
    return this.rules.findLast((rule) => fits(rule, scope, name) && (!rule.during || rule.during(minute)))?.rate
  }
}

function fits(rule: BandwidthRule, scope: BandwidthScope, name: string): boolean {
  return rule.scope === scope && (scope === 'daemon' || matchesGlob(rule.pattern, name))
}

/** What one image moves. */
export class Flow implements Throttle {
  private cached: { version: number; name: string; buckets: readonly Bucket[] } | undefined
  /** virtual time up to which it was served, or has reserved */
  private finish = 0

  constructor(
    private readonly bandwidth: Bandwidth,
    private readonly labels: FlowLabels,
  ) {}

  take(bytes: number, signal?: AbortSignal): Promise<void> | undefined {
    return this.bandwidth.hasRules ? this.bandwidth.take(this, bytes, signal) : undefined
  }

  giveBack(bytes: number): void {
    if (bytes !== 0 && this.bandwidth.hasRules) this.bandwidth.giveBack(this, bytes)
  }

  close(): void {
    this.forget()
    this.bandwidth.closed(this)
  }

  buckets(): readonly Bucket[] {
    const version = this.bandwidth.rulesVersion
    const name = this.labels.image()
    if (this.cached?.version === version && this.cached.name === name) return this.cached.buckets
    this.forget()
    const buckets = this.bandwidth.bucketsOf(this.labels)
    this.cached = { version, name, buckets }
    return buckets
  }

  forget(): void {
    if (this.cached) this.bandwidth.released(this.cached.buckets)
    this.cached = undefined
  }

  /** The turn of a request that has to wait. */
  reserve(virtualTime: number, bytes: number): number {
    const turn = Math.max(virtualTime, this.finish)
    this.finish = turn + bytes
    return turn
  }

  /** Whoever was served at once has had its share too. */
  served(virtualTime: number, bytes: number): void {
    if (this.finish <= virtualTime) this.finish = virtualTime + bytes
  }
}
