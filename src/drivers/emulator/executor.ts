import type { Clock } from '../../base/clock.ts'
import { delay } from '../../base/clock.ts'
import { KeyedMutex } from '../../base/keyed-mutex.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import { Fenced, type MaybePromise } from './engine.ts'
import type { WatchRecord } from './object-head.ts'
import { Stale } from './object-reader.ts'
import { Operation, type OperationEnvironment, type Target } from './operation.ts'

/** Tries after which an operation on an object that others keep changing gives up with EAGAIN. */
const MAX_TRIES = 200
/** Tries that follow each other at once; from then on there is a pause of a few milliseconds before each. */
const EAGER_TRIES = 8
const MAX_PAUSE_MS = 20

export interface Executed<T> {
  readonly value: T
  /** the object's version: after a write, the new one */
  readonly version: number
  /** watches that ended because the object is gone */
  readonly lostWatchers: readonly WatchRecord[]
}

export type OperationKind =
  | 'read'
  /** changes what clients see: gives a new version */
  | 'write'
  /** changes what clients do not see, such as watchers */
  | 'silent'

/** Objects' operations of one process, in order for each object: it takes turns with itself, and tries again where another process was faster. */
export class ObjectQueue {
  private readonly turns = new KeyedMutex()

  run<T>(target: Target, task: () => Promise<T>): Promise<T> {
    return this.turns.run(`${target.id.pool}/${target.id.key}`, task)
  }
}

/** Executes operations on objects for one client. */
export class Executor {
  constructor(
    private readonly environment: OperationEnvironment,
    private readonly queue: ObjectQueue,
    private readonly clock: Clock,
  ) {}

  /** `body` runs the steps, maybe more than once, each time on an operation of its own; what it leaves in the mutation is committed. */
  run<T>(target: Target, kind: OperationKind, body: (operation: Operation) => Promise<T>): Promise<Executed<T>> {
    return this.queue.run(target, () => this.untilApplied(target, kind, body))
  }

  private async untilApplied<T>(target: Target, kind: OperationKind, body: (operation: Operation) => Promise<T>): Promise<Executed<T>> {
    for (let tries = 1; tries <= MAX_TRIES; tries++) {
      try {
        const executed = await this.once(target, kind, body)
        if (executed) return executed
      } catch (error) {
        if (error instanceof Fenced) throw new RadosError(Errno.ESHUTDOWN, { op: 'operate while blocklisted', cause: error })
        throw error
      }
      if (tries >= EAGER_TRIES) await delay(this.clock, this.environment.random.next() * MAX_PAUSE_MS)
    }
    throw new RadosError(Errno.EAGAIN, { op: `operate: changed by others ${MAX_TRIES} times` })
  }

  /** undefined: the object has changed meanwhile. */
  private async once<T>(target: Target, kind: OperationKind, body: (operation: Operation) => Promise<T>): Promise<Executed<T> | undefined> {
    const { engine, client } = this.environment
    const opened = engine.open(client, target.id, [])
    const view = opened instanceof Promise ? await opened : opened
    const now = this.clock.now()
    const operation = new Operation(this.environment, target, view, now, kind !== 'read')
    let value: T
    try {
      value = await body(operation)
      if (operation.reader.stale) return undefined
      if (kind === 'read') return { value, version: operation.version, lostWatchers: [] }
      const changes = await operation.mutation.finish(target.id, operation.reader, now, { bumpVersion: kind === 'write' })
      if (!changes) return { value, version: view.version, lostWatchers: [] }
      const committed: MaybePromise<number | undefined> = engine.commit(client, target.id, view.revision, changes)
      const version = committed instanceof Promise ? await committed : committed
      return version === undefined ? undefined : { value, version, lostWatchers: operation.mutation.lostWatchers }
    } catch (error) {
      if (error instanceof Stale || operation.reader.stale) return undefined
      throw error
    }
  }
}
