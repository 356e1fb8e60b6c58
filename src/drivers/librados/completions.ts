import { librados, registerCallbacks, type Callbacks, type Pointer } from './native.ts'
import { dispatchNotify, dispatchWatchError } from './watch-events.ts'
import { afterCallbacks } from './event-queue.ts'
import { returnArena, takeArena } from './memory.ts'

/** One native asynchronous call that has not completed yet. */
export interface PendingCall {
  /** the native completion, needed to cancel the call */
  completion: Pointer
  /** Called once on the main thread with the call's return value, before the completion is released. Must not throw. */
  completed(result: number, completion: Pointer): void
}

/**
 * All native asynchronous calls of the process. librados gets one C callback for all of them and the call's index as its argument;
 * that callback only queues, and the queue is worked off on the main thread, many at a time.
 */
const calls: (PendingCall | undefined)[] = []
const freeIndexes: number[] = []

let registered: Callbacks | undefined

export function callbacks(): Callbacks {
  return (registered ??= registerCallbacks({
    completion: (_completion, index) => afterCallbacks(() => complete(index)),
    notify: dispatchNotify,
    watchError: dispatchWatchError,
  }))
}

function complete(index: number): void {
  const call = calls[index]
  if (!call) return
  calls[index] = undefined
  freeIndexes.push(index)
  const api = librados()
  call.completed(api.aioReturnValue(call.completion), call.completion)
  api.aioRelease(call.completion)
}

/**
 * Starts a native asynchronous call. `start` hands the completion to librados and returns its status; a negative one means that the
 * call was not taken and will not complete: it is returned, and `completed` is not called.
 */
export function startCall(call: PendingCall, start: (completion: Pointer) => number): number {
  const api = librados()
  const index = freeIndexes.pop() ?? calls.length
  calls[index] = call
  const arena = takeArena(1)
  const out = arena.take()
  let status = api.aioCreateCompletion(index, callbacks().completion, arena.at(out))
  call.completion = arena.number(out)
  returnArena(arena)
  if (status >= 0) {
    status = start(call.completion)
    if (status < 0) api.aioRelease(call.completion)
  }
  if (status < 0) {
    calls[index] = undefined
    freeIndexes.push(index)
  }
  return status
}
