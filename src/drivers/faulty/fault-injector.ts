import { unreachable } from '../../base/assert.ts'
import { delay, type Clock } from '../../base/clock.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { Watch, WatchHandlers } from '../../rados/io-ctx.ts'
import type { Fault, FaultPlan, PlannedOperation } from './fault-plan.ts'

/** Thrown by everything of a connection whose process "has died". */
export class Crashed extends Error {
  constructor() {
    super('crashed')
    this.name = 'Crashed'
  }
}

export interface Place {
  pool?: string | undefined
  namespace?: string | undefined
  oid?: string | undefined
}

/** One connection's faults: asks the plan before every operation and does what it says. */
export class FaultInjector {
  private count = 0
  private state: 'alive' | 'blocklisted' | 'crashed' = 'alive'
  private readonly watches = new Set<FaultyWatch>()
  private readonly underWay = new Set<() => void>()

  constructor(
    private readonly clusterName: string,
    private readonly plan: FaultPlan,
    private readonly clock: Clock,
    /** how long the cluster keeps a dead connection's watches */
    private readonly watchTimeoutMs = 0,
  ) {}

  /** operations so far, for crashing at every one of them in turn */
  get operations(): number {
    return this.count
  }

  get crashed(): boolean {
    return this.state === 'crashed'
  }

  /** All watches get ENOTCONN and hear nothing any more. */
  loseWatches(): void {
    for (const watch of [...this.watches]) watch.lose(this.error(Errno.ENOTCONN, 'watch', {}))
  }

  /** Every operation fails with ESHUTDOWN from now on, and the watches are lost. */
  blocklist(): void {
    if (this.state !== 'alive') return
    this.state = 'blocklisted'
    this.loseWatches()
  }

  /**
   * Nothing of this connection has any effect from now on, but for what is on its way. Its watches fall silent without a word, and stand until
   * their time-out.
   */
  crash(): void {
    if (this.state === 'crashed') return
    this.state = 'crashed'
    const silent = [...this.watches].map((watch) => watch.fallSilent())
    const forget = () => silent.forEach((end) => end())
    if (this.watchTimeoutMs > 0) this.clock.setTimer(this.watchTimeoutMs, forget)
    else forget()
  }

  /** Throws what any call on this connection ends with, if it is dead. */
  assertUsable(op: string, place: Place = {}): void {
    if (this.state === 'crashed') throw new Crashed()
    if (this.state === 'blocklisted') throw this.error(Errno.ESHUTDOWN, op, place)
  }

  async run<T>(kind: PlannedOperation['kind'], method: string, place: Place, action: () => Promise<T>): Promise<T> {
    this.assertUsable(method, place)
    const faults = this.plan.faultsFor({ kind, method, ...place, index: this.count++ })
    let lost = false
    let dying = false
    let transit: Extract<Fault, { type: 'transit' }> | undefined
    for (const fault of faults) {
      switch (fault.type) {
        case 'delay':
          await delay(this.clock, fault.ms)
          this.assertUsable(method, place)
          break
        case 'error':
          throw this.error(fault.errno, method, place)
        case 'lostAck':
          lost = true
          break
        case 'loseWatches':
          this.loseWatches()
          break
        case 'blocklist':
          this.blocklist()
          throw this.error(Errno.ESHUTDOWN, method, place)
        case 'crash':
          if (!fault.applied) {
            this.crash()
            throw new Crashed()
          }
          dying = true
          break
        case 'transit':
          transit = fault
          break
        case 'drop':
          break
        default:
          unreachable(fault)
      }
    }
    try {
      return await (transit ? this.inTransit(transit, method, place, action) : action())
    } finally {
      // Whatever came of it, nobody hears of it.
      if (dying) this.crash()
      if (this.state === 'crashed') throw new Crashed() // eslint-disable-line no-unsafe-finally
      if (lost) throw this.error(Errno.ETIMEDOUT, method, place) // eslint-disable-line no-unsafe-finally
    }
  }

  private inTransit<T>({ ms, timeoutMs }: { ms: number; timeoutMs?: number | undefined }, method: string, place: Place, action: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let cancel: (() => void) | undefined
      const shutDown = () => reject(this.error(Errno.ESHUTDOWN, method, place))
      this.underWay.add(shutDown)
      if (timeoutMs !== undefined && timeoutMs < ms) cancel = this.clock.setTimer(timeoutMs, () => reject(this.error(Errno.ETIMEDOUT, method, place)))
      const arrive = () => {
        this.underWay.delete(shutDown)
        void action().then(resolve, reject).finally(cancel)
      }
      if (Number.isFinite(ms)) this.clock.setTimer(ms, arrive)
    })
  }

  /** The connection is closed: nobody waits for what is on its way any more. */
  close(): void {
    for (const shutDown of this.underWay) shutDown()
    this.underWay.clear()
  }

  async watch(place: Place, handlers: WatchHandlers, open: (handlers: WatchHandlers) => Promise<Watch>): Promise<Watch> {
    const watch = new FaultyWatch(this, place, handlers, () => this.watches.delete(watch))
    watch.inner = await this.run('watch', 'watch', place, () => open(watch))
    this.watches.add(watch)
    return watch
  }

  delivers(place: Place): boolean {
    const operation: PlannedOperation = { kind: 'notification', method: 'notification', ...place, index: this.count }
    return this.state === 'alive' && !this.plan.faultsFor(operation).some(({ type }) => type === 'drop')
  }

  error(errno: number, op: string, place: Place): RadosError {
    return new RadosError(errno, { op, cluster: this.clusterName, ...place })
  }
}

/** A watch that can be lost, or fall silent. */
class FaultyWatch implements Watch, WatchHandlers {
  inner: Watch | undefined
  private lost: Error | undefined

  constructor(
    private readonly injector: FaultInjector,
    private readonly place: Place,
    private readonly handlers: WatchHandlers,
    private readonly forget: () => void,
  ) {}

  get cookie(): bigint {
    return this.inner!.cookie
  }

  onNotify(notification: Parameters<WatchHandlers['onNotify']>[0]): void {
    if (this.lost || !this.injector.delivers(this.place)) return
    this.handlers.onNotify({
      ...notification,
      ack: (payload) => {
        if (!this.injector.crashed) notification.ack(payload)
      },
    })
  }

  onError(error: Error): void {
    if (!this.injector.crashed) this.handlers.onError(error)
  }

  lose(error: Error): void {
    if (this.lost) return
    this.fallSilent(error)()
    this.handlers.onError(error)
  }

  /** Returns what has the cluster forget the watch. */
  fallSilent(error: Error = new Crashed()): () => void {
    this.lost ??= error
    this.forget()
    return () => void this.inner?.close().catch(() => undefined) // it is to be gone, and a failure says that it is
  }

  check(): number {
    if (this.lost) throw this.lost
    return this.inner!.check()
  }

  async close(): Promise<void> {
    this.injector.assertUsable('unwatch', this.place)
    this.forget()
    if (!this.lost) await this.inner!.close()
  }
}
