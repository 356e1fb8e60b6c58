import { afterCallbacks } from './event-queue.ts'
import { returnArena, takeArena } from './memory.ts'
import { librados, registerCallbacks, type Callbacks, type Pointer } from './native.ts'
import { dispatchNotify, dispatchWatchError } from './watch-events.ts'

/** One native asynchronous call that has not completed yet. */
export interface PendingCall {
  /** the native completion, needed to cancel the call */
  completion: Pointer
  /** Called once on the main thread with the call's return value, before the completion is released. Must not throw. */
  completed(result: number, completion: Pointer): void
  /**
   * A notification, or a watch made or ended: when it is complete librados still has to forget it, on a thread of its own, and only a callback comes
   * after that. Shut down earlier, librados would crash.
   */
  lingers?: boolean | undefined
  /** where it stands among all calls; set while it is in flight */
  index?: number | undefined
}

/*
 * All native asynchronous calls of the process. librados gets one C callback for all of them and the call's index as its argument; that
 * callback only queues, and the queue is worked off on the main thread, many at a time.
 *
 * A callback makes librados' thread and the main thread wait for each other, which costs more than the call itself. So when many calls are
 * in flight only every few of them have one; the others are looked at whenever a callback comes in, and every few milliseconds.
 */
const calls: (PendingCall | undefined)[] = []
const freeIndexes: number[] = []
/** calls that nobody waits for any more: their connection is closed */
const disowned = new Set<PendingCall>()
let inFlight = 0

/** From how many calls in flight on some go without a callback, and how many have one then: one of so many. */
const DEEP_QUEUE = 8
const CALLBACK_EVERY = 8
/** How long until the next look (milliseconds): twice as long after each one that found nothing. */
const FIRST_POLL_MS = 1
const LAST_POLL_MS = 16

let polled: number[] = []
let pollMs = FIRST_POLL_MS
let withoutCallback = 0
let pollTimer: NodeJS.Timeout | undefined

let registered: Callbacks | undefined

export function callbacks(): Callbacks {
  return (registered ??= registerCallbacks({
    completion: (_completion, index) =>
      afterCallbacks(() => {
        complete(index)
        poll()
      }),
    notify: dispatchNotify,
    watchError: dispatchWatchError,
  }))
}

function complete(index: number): void {
  const call = calls[index]
  if (call) endCall(call, librados().aioReturnValue(call.completion))
}

/** Ends a call that has completed, or that librados has dropped for good: `completed` is called and the completion released. */
export function endCall(call: PendingCall, result: number): void {
  const { index } = call
  if (index === undefined || calls[index] !== call) return
  calls[index] = undefined
  call.index = undefined
  freeIndexes.push(index)
  if (!disowned.delete(call)) inFlight--
  call.completed(result, call.completion)
  librados().aioRelease(call.completion)
}

/** Nobody waits for it: it no longer counts as in flight, and nobody looks whether it is complete. A callback or `endCall` ends it. */
export function disownCall(call: PendingCall): void {
  if (call.index === undefined || disowned.has(call)) return
  disowned.add(call)
  inFlight--
  polled = polled.filter((index) => index !== call.index)
}

/** Completes what is complete of the calls without a callback. */
function poll(): void {
  if (polled.length === 0) return
  const api = librados()
  const [done, waiting]: [number[], number[]] = [[], []]
  for (const index of polled) (api.aioIsComplete(calls[index]!.completion) === 0 ? waiting : done).push(index)
  polled = waiting
  pollMs = done.length > 0 ? FIRST_POLL_MS : Math.min(LAST_POLL_MS, pollMs * 2)
  for (const index of done) complete(index)
  if (polled.length > 0) pollSoon()
}

function pollSoon(): void {
  pollTimer ??= setTimeout(() => {
    pollTimer = undefined
    poll()
  }, pollMs).unref() // the connection keeps the process alive, as long as it is open
}

/**
 * Starts a native asynchronous call. `start` hands the completion to librados and returns its status; a negative one means that the
 * call was not taken and will not complete: it is returned, and `completed` is not called.
 */
export function startCall(call: PendingCall, start: (completion: Pointer) => number): number {
  const api = librados()
  const index = freeIndexes.pop() ?? calls.length
  calls[index] = call
  call.index = index
  const arena = takeArena(1)
  const out = arena.take()
  const silent = !call.lingers && inFlight >= DEEP_QUEUE && withoutCallback < CALLBACK_EVERY - 1
  let status = api.aioCreateCompletion(index, silent ? 0 : callbacks().completion, arena.at(out))
  call.completion = arena.number(out)
  returnArena(arena)
  if (status >= 0) {
    status = start(call.completion)
    if (status < 0) api.aioRelease(call.completion)
  }
  if (status < 0) {
    calls[index] = undefined
    call.index = undefined
    freeIndexes.push(index)
    return status
  }
  inFlight++
  withoutCallback = silent ? withoutCallback + 1 : 0
  if (silent) {
    polled.push(index)
    pollMs = FIRST_POLL_MS
    pollSoon()
  }
  return status
}
