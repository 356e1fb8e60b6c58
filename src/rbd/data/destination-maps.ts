import { NO_SNAP, type SnapId } from '../../rados/io-ctx.ts'
import { FEATURE_FAST_DIFF, hasFeature } from '../features.ts'
import { objectMapName } from '../names.ts'
import type { CopySide } from './copy-engine.ts'
import type { CopyStep } from './copy-steps.ts'
import { DiffState, type ObjectDiff } from './object-diff.ts'
import { createEmptySnapshotMap, type ObjectMap } from './object-map.ts'
import { ObjectMapUpdater } from './object-map-updater.ts'
import { loadObjectStates, ObjectState, saveObjectStates, type ObjectStates } from './object-states.ts'
import { layoutOf, objectCount } from './striping.ts'
import { TwoBitVector } from './two-bit-vector.ts'

/** What one step does to one object. */
export interface StepOutcome {
  /** after the step */
  exists: boolean
  /** the step writes, creates or removes it */
  changed: boolean
}

/** How many objects that will be written are marked as existing in one go. */
const lookahead = 1024

export interface WorkAhead {
  /** the first object from a number on that exists at the end and will be written */
  nextWork(from: number): number
  /** Whether the object is known not to have existed at the start. */
  isNew(object: number): boolean
}

interface SnapshotMap {
  updater: ObjectMapUpdater
  /** index of the step whose state it has */
  step: number
  /** its state is that step's own; otherwise it is a younger snapshot that reads the same */
  mapped: boolean
}

/**
 * The object maps that a copy keeps right: the destination head's, those of the snapshots that steps name, and those of younger snapshots
 * that nothing is copied to (mirror snapshots made before the copy): they read what the last older step wrote.
 *
 *     prepare: mark all that will exist → (data is written) → settle: mark what does not exist after all
 *
 * so that a crash leaves maps that say too much, never too little.
 */
export class DestinationMaps {
  private preparedTo = 0

  private constructor(
    private readonly head: ObjectMap | undefined,
    private readonly initial: ObjectStates | undefined,
    private readonly snapshots: readonly SnapshotMap[],
    /** Told what changed before the first step since the snapshot before it: that was noted in the map of a younger snapshot. */
    private readonly carried: ObjectStates | undefined,
    private readonly fastDiff: boolean,
    private readonly plan: WorkAhead,
  ) {}

  /**
   * @param initial the head's map as it was
   * @param firstObject objects below it are in the snapshots' maps already
   */
  static async open(
    destination: CopySide,
    head: ObjectMap | undefined,
    initial: ObjectStates | undefined,
    steps: readonly CopyStep[],
    diff: ObjectDiff,
    firstObject: number,
    plan: WorkAhead,
  ): Promise<DestinationMaps> {
    const { header } = destination
    const fastDiff = hasFeature(header.features, FEATURE_FAST_DIFF)
    if (!head || steps.length === 1) return new DestinationMaps(head, initial, [], undefined, fastDiff, plan)
    const snapshots: SnapshotMap[] = []
    let carried: ObjectStates | undefined
    for (const { snap, step, mapped } of affectedSnapshots(steps, header.snapshots.map(({ id }) => id))) {
      const map = await openSnapshotMap(destination, snap)
      if (!mapped && step === firstFollowed(steps, header.snapshots.map(({ id }) => id))) carried ??= map.states
      snapshots.push({ updater: map, step, mapped })
    }
    const before = carried && new TwoBitVector(carried.length, Uint8Array.from(carried.bytes))
    const maps = new DestinationMaps(head, initial, snapshots, before, fastDiff, plan)
    if (diff.known) {
      for (const { updater, mapped } of snapshots) if (mapped) await maps.markUnchanged(destination, updater, diff.states, firstObject)
    }
    return maps
  }

  /** Whether the head's map said before the copy that the object may exist; undefined without a map. */
  existed(object: number): boolean | undefined {
    if (!this.initial) return undefined
    return object < this.initial.length && this.initial.get(object) !== ObjectState.nonexistent
  }

  /** Before the object's first write. */
  async prepare(object: number, outcomes: readonly StepOutcome[]): Promise<void> {
    if (!this.head) return
    const marks: Promise<void>[] = []
    if (outcomes.some(({ exists, changed }) => exists && changed)) {
      if (outcomes.at(-1)!.changed) marks.push(this.markHead(object, ObjectState.exists))
      // an older state passes through the head on its way to a snapshot
      else if (this.existed(object) !== true) marks.push(this.markHead(object, this.clean))
      if (outcomes.length === 1) this.markAhead(object)
    }
    this.markSnapshots(object, outcomes, false, marks)
    if (marks.length > 0) await Promise.all(marks)
  }

  /** After its last write. */
  async settle(object: number, outcomes: readonly StepOutcome[]): Promise<void> {
    if (!this.head) return
    const marks: Promise<void>[] = []
    if (!outcomes.at(-1)!.exists) marks.push(this.markHead(object, ObjectState.nonexistent))
    else if (outcomes.length === 1 && !outcomes[0]!.changed) marks.push(this.takeBackMark(object))
    this.markSnapshots(object, outcomes, true, marks)
    if (marks.length > 0) await Promise.all(marks)
  }

  private get clean(): ObjectState {
    return this.fastDiff ? ObjectState.existsClean : ObjectState.exists
  }

  private markHead(object: number, state: ObjectState): Promise<void> {
    // behind the end of the map nothing can exist
    return object < this.head!.states.length ? this.head!.mark(object, state) : Promise.resolve()
  }

  /** An object that was marked ahead, and had nothing to be written after all: what was discarded lay behind its end, say. */
  private takeBackMark(object: number): Promise<void> {
    const before = this.initial && object < this.initial.length ? (this.initial.get(object) as ObjectState) : undefined
    return before === ObjectState.existsClean ? this.markHead(object, before) : Promise.resolve()
  }

  /** Objects that will be written often come in runs: marking them together saves an operation, and the wait for it, for each few. */
  private markAhead(object: number): void {
    if (object < this.preparedTo) return
    let next = object
    for (let count = 0; count < lookahead; count++) {
      next = this.plan.nextWork(next + 1)
      if (next >= this.head!.states.length) break
      // a failure is told to the object's own `prepare`, which asks again
      if (this.plan.isNew(next) || this.existed(next)) this.head!.mark(next, ObjectState.exists).catch(() => undefined)
    }
    this.preparedTo = next
  }

  private markSnapshots(object: number, outcomes: readonly StepOutcome[], final: boolean, marks: Promise<void>[]): void {
    for (const { updater, step, mapped } of this.snapshots) {
      if (object >= updater.states.length) continue
      const outcome = outcomes[step]!
      const before = updater.expected(object)
      const touched = outcomes.slice(0, step + 1).some(({ changed }) => changed)
      if (!mapped && !touched) continue
      // an object of zeros exists at the source alone
      const exists = outcome.exists && (touched || before !== ObjectState.nonexistent || this.existed(object) === true)
      if (exists) marks.push(updater.mark(object, this.stateOf(object, mapped && outcome.changed, before)))
      else if (final && before !== ObjectState.nonexistent) marks.push(updater.mark(object, ObjectState.nonexistent))
    }
  }

  private stateOf(object: number, changed: boolean, before: ObjectState): ObjectState {
    if (changed || before === ObjectState.exists || this.wasCarried(object)) return ObjectState.exists
    return this.clean
  }

  private wasCarried(object: number): boolean {
    return this.carried !== undefined && object < this.carried.length && this.carried.get(object) === ObjectState.exists
  }

  /** Objects that no step touches exist in the snapshots' maps as they are. */
  private async markUnchanged(destination: CopySide, updater: ObjectMapUpdater, diff: TwoBitVector, firstObject: number): Promise<void> {
    const { states } = updater
    let changed = false
    for (let object = firstObject; (object = diff.next(object, 1 << DiffState.data)) < Math.min(diff.length, states.length); object++) {
      const before = states.get(object) as ObjectState
      if (before === ObjectState.nonexistent && this.existed(object) === false) continue
      const state = this.stateOf(object, false, before)
      if (state === before) continue
      states.set(object, state)
      changed = true
    }
    if (changed) await saveObjectStates(destination.io, updater.oid, states)
  }
}

/** The snapshots from the oldest that a step names on, and whose step's state they read. */
function affectedSnapshots(steps: readonly CopyStep[], snapshots: readonly SnapId[]): { snap: SnapId; step: number; mapped: boolean }[] {
  const oldestFirst = [...snapshots].sort((a, b) => (a < b ? -1 : 1))
  return oldestFirst.flatMap((snap) => {
    let step = -1
    for (const [index, { destinationSnap }] of steps.entries()) if (destinationSnap !== NO_SNAP && destinationSnap <= snap) step = index
    return step < 0 ? [] : [{ snap, step, mapped: steps[step]!.destinationSnap === snap }]
  })
}

/** The step of the first snapshot that is younger than one a step names without being named itself. */
function firstFollowed(steps: readonly CopyStep[], snapshots: readonly SnapId[]): number {
  return affectedSnapshots(steps, snapshots).find(({ mapped }) => !mapped)?.step ?? -1
}

async function openSnapshotMap(destination: CopySide, snap: SnapId): Promise<ObjectMapUpdater> {
  const { io, header } = destination
  const oid = objectMapName(header.id, snap)
  const size = header.snapshots.find(({ id }) => id === snap)!.size
  const objects = objectCount(layoutOf(header), size)
  let states = await loadObjectStates(io, oid)
  if (!states || states.length < objects) {
    await createEmptySnapshotMap({ io, id: header.id }, snap, objects)
    states = await loadObjectStates(io, oid)
  }
  return new ObjectMapUpdater(io, oid, states ?? new TwoBitVector(objects))
}
