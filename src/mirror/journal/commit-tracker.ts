import type { ObjectPosition } from '../../cls/journal/types.ts'
import { advancePositions, type EntryPosition } from '../../journal/commit-position.ts'

/**
 * How far the replica is: which entries are on stable storage, and up to which one they may be told as committed. An entry that
 * began an operation which has not ended holds back itself and all behind it: after a restart the operation has to be seen again.
 */
export class CommitTracker {
  private safePositions: readonly ObjectPosition[]
  /** replayed, not yet on stable storage */
  private buffered: EntryPosition[] = []
  /** from the first one of an unfinished operation on */
  private held: EntryPosition[] = []
  private holding = false

  constructor(
    committed: readonly ObjectPosition[],
    private readonly splayWidth: number,
  ) {
    this.safePositions = committed
  }

  /** What may be committed, the newest first. */
  get positions(): readonly ObjectPosition[] {
    return this.safePositions
  }

  /** Entries taken and not yet safe. */
  get pending(): number {
    return this.buffered.length + this.held.length
  }

  /** @param unfinished operations that have begun and not ended, with this entry */
  add(entry: EntryPosition, unfinished: boolean): void {
    if (unfinished) this.holding = true
    ;(this.holding ? this.held : this.buffered).push(entry)
  }

  /** Everything taken so far is on stable storage. */
  safe(unfinished: boolean): void {
    this.safePositions = advancePositions(this.safePositions, this.buffered, this.splayWidth)
    this.buffered = []
    if (unfinished) return
    this.safePositions = advancePositions(this.safePositions, this.held, this.splayWidth)
    this.held = []
    this.holding = false
  }
}
