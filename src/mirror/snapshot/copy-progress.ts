import type { Clock } from '../../base/clock.ts'
import type { Image } from '../../rbd/image.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import { setCopyProgress } from '../../rbd/mirror/non-primary-snapshot.ts'

/** Progress is persisted no more often than this: what a crash makes the next run look at again. */
const INTERVAL_MS = 250

/** Notes in the local snapshot how far a copy is: one write at a time, the newest number only. */
export class CopyProgressKeeper {
  private newest = 0
  private written = 0
  private lastAt: number
  private writing: Promise<void> | undefined
  private failure: { error: unknown } | undefined

  constructor(
    private readonly image: Image,
    private readonly snapId: SnapId,
    private readonly clock: Clock,
  ) {
    this.lastAt = clock.monotonic()
  }

  /** Objects below `objects` are whole. */
  advance(objects: number): void {
    this.newest = objects
    if (this.writing || this.failure || this.clock.monotonic() - this.lastAt < INTERVAL_MS) return
    this.writing = this.write()
  }

  /** Waits for the write under way, so that none comes after the snapshot is declared complete. Rejects with the first failure. */
  async settle(): Promise<void> {
    await this.writing
    if (this.failure) throw this.failure.error
  }

  /** Notes what is known now. */
  async flush(): Promise<void> {
    await this.settle()
    if (this.newest > this.written) await this.write()
    await this.settle()
  }

  private async write(): Promise<void> {
    const objects = this.newest
    this.lastAt = this.clock.monotonic()
    try {
      await setCopyProgress(this.image, this.snapId, objects)
      this.written = objects
    } catch (error) {
      this.failure ??= { error }
    } finally {
      this.writing = undefined
    }
  }
}
