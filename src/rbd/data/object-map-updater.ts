import { assert } from '../../base/assert.ts'
import * as rbd from '../../cls/rbd/client.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { WriteOperation } from '../../rados/operation.ts'
import { encodeObjectStates, MAX_OBJECTS_PER_UPDATE, type ObjectState, type ObjectStates } from './object-states.ts'

/** A map of no more bytes than this is written whole when more than one run of it changes. */
const maxBytesToSave = 512 * 1024
/** Updates of a larger map that are under way at once. */
const maxUpdatesUnderWay = 16

interface Batch {
  states: Map<number, ObjectState>
  done: Promise<void>
  resolve: () => void
  reject: (error: unknown) => void
}

/**
 * Writes changes of one object map, many at a time: what is asked for while an operation is under way goes together into the next one.
 * Two updates can't share an operation: the class reads the map as it was before the operation, so that the last update would win.
 */
export class ObjectMapUpdater {
  private waiting: Batch | undefined
  private underWay: Batch | undefined

  /**
   * @param states what is on disk; kept so by this object
   * @param guard adds steps to each operation that make it fail when the map is no longer ours
   */
  constructor(
    private readonly io: IoCtx,
    readonly oid: string,
    readonly states: ObjectStates,
    private readonly guard: (operation: WriteOperation) => void = () => undefined,
  ) {}

  /** What the map will say of an object once everything asked for is on disk. */
  expected(object: number): ObjectState {
    return this.waiting?.states.get(object) ?? this.underWay?.states.get(object) ?? (this.states.get(object) as ObjectState)
  }

  /** Resolves when the map on disk says `state` of `object`; at once if it does. Rejects with RadosError. */
  mark(object: number, state: ObjectState): Promise<void> {
    assert(object < this.states.length, `object ${object} in a map of ${this.states.length}`)
    const waiting = this.waiting?.states.get(object)
    if (waiting === state) return this.waiting!.done
    if (waiting === undefined) {
      const underWay = this.underWay?.states.get(object)
      if (underWay === state) return this.underWay!.done
      if (underWay === undefined && this.states.get(object) === state) return Promise.resolve()
    }
    const batch = (this.waiting ??= newBatch())
    batch.states.set(object, state)
    if (!this.underWay) queueMicrotask(() => void this.pump())
    return batch.done
  }

  /** Resolves when everything asked for so far is on disk. */
  async flush(): Promise<void> {
    await this.underWay?.done
    await this.waiting?.done
  }

  private async pump(): Promise<void> {
    if (this.underWay) return
    while (this.waiting) {
      const batch = (this.underWay = this.waiting)
      this.waiting = undefined
      try {
        await this.write(batch.states)
        for (const [object, state] of batch.states) this.states.set(object, state)
        batch.resolve()
      } catch (error) {
        batch.reject(error)
      }
      this.underWay = undefined
    }
  }

  private async write(states: ReadonlyMap<number, ObjectState>): Promise<void> {
    const runs = toRuns(states)
    if (runs.length > 1 && this.states.bytes.length <= maxBytesToSave) {
      const changed = this.states.resized(this.states.length)
      for (const [object, state] of states) changed.set(object, state)
      const args = { bitVector: encodeObjectStates(changed, false) }
      await this.io.write(this.oid, rbd.objectMapSave.step(this.operation(), args))
      return
    }
    for (let from = 0; from < runs.length; from += maxUpdatesUnderWay) {
      await Promise.all(
        runs.slice(from, from + maxUpdatesUnderWay).map(({ first, end, state }) => {
          const args = { start: first, end, newState: state, currentState: undefined }
          return this.io.write(this.oid, rbd.objectMapUpdate.step(this.operation(), args))
        }),
      )
    }
  }

  private operation(): WriteOperation {
    const operation = new WriteOperation()
    this.guard(operation)
    return operation
  }
}

interface Run {
  first: number
  end: number
  state: ObjectState
}

function toRuns(states: ReadonlyMap<number, ObjectState>): Run[] {
  const runs: Run[] = []
  for (const object of [...states.keys()].sort((a, b) => a - b)) {
    const state = states.get(object)!
    const last = runs.at(-1)
    if (last && last.end === object && last.state === state && object - last.first < MAX_OBJECTS_PER_UPDATE) last.end++
    else runs.push({ first: object, end: object + 1, state })
  }
  return runs
}

function newBatch(): Batch {
  let resolve!: () => void
  let reject!: (error: unknown) => void
  const done = new Promise<void>((onDone, onError) => {
    resolve = onDone
    reject = onError
  })
  done.catch(() => undefined) // whoever asked hears of it; a batch may also outlive all of them
  return { states: new Map(), done, resolve, reject }
}
