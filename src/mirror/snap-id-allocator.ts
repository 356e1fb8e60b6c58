import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import type { IoCtx, SnapId } from '../rados/io-ctx.ts'
import type { SnapIds } from './image-context.ts'

/** How many unused ids are kept ahead while snapshots are being made. */
const AHEAD = 2
/** Ids that nobody took for so long are given back: each is a snapshot that the cluster believes to exist. */
const IDLE_MS = 300_000
const RETRY_MS = 1_000

/**
 * Self-managed snapshot ids of one pool, allocated ahead: the monitors take up to a second for each. Ids only have to rise per image,
 * which they do as long as they are handed out in ascending order. Nothing is allocated before the first `take`.
 */
export class SnapIdAllocator implements SnapIds {
  /** ascending */
  private free: SnapId[] = []
  private active = false
  private lastTaken = 0n
  private readonly notifier = new Notifier()

  constructor(private readonly options: { io: IoCtx; clock: Clock; log: Log }) {}

  get ahead(): number {
    return this.free.length
  }

  async take(): Promise<SnapId> {
    this.active = true
    this.notifier.wake()
    // an id below one that is in use could land beneath a snapshot that the same image has already
    for (let id = this.free.shift(); id !== undefined; id = this.free.shift()) {
      if (id > this.lastTaken) {
        this.lastTaken = id
        return id
      }
      await this.discard(id)
    }
    const id = await this.options.io.createSelfManagedSnap()
    if (id > this.lastTaken) this.lastTaken = id
    return id
  }

  giveBack(id: SnapId): void {
    void this.discard(id)
  }

  /** Keeps ids ahead until the signal is aborted, then gives back the unused ones. */
  async run(signal: AbortSignal): Promise<void> {
    const { io, clock, log } = this.options
    try {
      for (;;) {
        const woken = await this.notifier.wait(clock, this.free.length > 0 ? IDLE_MS : undefined, signal)
        if (woken === 'timeout') {
          this.active = false
          await this.discardAll()
        }
        while (this.active && this.free.length < AHEAD && !signal.aborted) {
          try {
            this.free.push(await io.createSelfManagedSnap())
          } catch (error) {
            log.debug({ err: error }, 'cannot allocate snapshot ids ahead')
            await this.notifier.wait(clock, RETRY_MS, signal)
          }
        }
      }
    } finally {
      await this.discardAll()
    }
  }

  private async discardAll(): Promise<void> {
    const ids = this.free
    this.free = []
    await Promise.all(ids.map((id) => this.discard(id)))
  }

  private async discard(id: SnapId): Promise<void> {
    try {
      await this.options.io.removeSelfManagedSnap(id)
    } catch (error) {
      this.options.log.warn({ err: error, snapId: String(id) }, 'an unused snapshot id could not be given back')
    }
  }
}
