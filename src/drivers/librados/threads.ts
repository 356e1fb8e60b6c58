import { writeSync } from 'node:fs'
import { inspect } from 'node:util'
import koffi from 'koffi'
import { symbolAddress, type Pointer } from './native.ts'

/*
 * Blocking calls of librados that may hang for minutes when a cluster is down (connect, shutdown, waiting for a map) run on threads of
 * their own rather than on libuv's: those are few, are needed for files and DNS, and would keep the process from exiting.
 */
interface Threads {
  create: (thread: Buffer, attributes: null, start: bigint, argument: Pointer) => number
  tryJoin: (thread: bigint, result: Buffer) => number
  exit: (status: number) => void
}

let threads: Threads | undefined

function posix(): Threads {
  if (threads) return threads
  const libc = koffi.load('libc.so.6')
  const find = (name: string, result: string, args: string[]): unknown => {
    try {
      return libc.func(name, result, args)
    } catch {
      return koffi.load('libpthread.so.0').func(name, result, args) // a part of libc only since glibc 2.34
    }
  }
  return (threads = {
    create: find('pthread_create', 'int', ['void *', 'void *', 'uintptr_t', 'uintptr_t']) as Threads['create'],
    tryJoin: find('pthread_tryjoin_np', 'int', ['uint64_t', 'void *']) as Threads['tryJoin'],
    exit: libc.func('_exit', 'void', ['int']) as unknown as Threads['exit'],
  })
}

let running = 0

export interface ThreadCall {
  result: Promise<number>
  /** Nobody waits for it any more: it shall not keep the process alive. */
  abandon(): void
}

/** Runs the exported function `int name(void *)` on a thread of its own. */
export function runOnThread(name: string, argument: Pointer): ThreadCall {
  exitWithoutNative()
  const { create, tryJoin } = posix()
  const thread = Buffer.alloc(8)
  const start = symbolAddress(name)
  if (start === undefined) throw new Error(`librados has no ${name}`)
  const status = create(thread, null, start, argument)
  if (status !== 0) throw new Error(`no thread for ${name}: errno ${status}`)
  const id = thread.readBigUInt64LE(0)
  const value = Buffer.alloc(8)
  running++
  let abandoned = false
  let timer: NodeJS.Timeout
  const result = new Promise<number>((resolve) => {
    let wait = 1
    const look = () => {
      if (tryJoin(id, value) === 0) {
        running--
        return resolve(value.readInt32LE(0))
      }
      wait = Math.min(50, wait * 1.5)
      timer = setTimeout(look, wait)
      if (abandoned) timer.unref()
    }
    timer = setTimeout(look, wait)
  })
  return {
    result,
    abandon() {
      abandoned = true
      timer.unref()
    },
  }
}

let liveConnections = 0
let installed = false

/**
 * At the end of the process: with threads of librados still at work, the C library's exit handlers would wait for them or crash, so they
 * are skipped, but not what other code wants done at exit.
 */
function exitWithoutNative(): void {
  if (installed) return
  installed = true
  process.on('uncaughtExceptionMonitor', (error) => (fatal = { error }))
  process.on('exit', leave)
}

/** What Node is about to die of: it prints that only after the exit handlers. */
let fatal: { error: unknown } | undefined

function leave(code: number): void {
  if (running === 0 && liveConnections === 0 && blockingCalls.size === 0) return
  if (fatal && process.listenerCount('uncaughtException') === 0) writeSync(2, `${inspect(fatal.error)}\n`)
  const listeners = process.listeners('exit')
  for (const listener of listeners.slice(listeners.indexOf(leave) + 1)) listener.call(process, code)
  posix().exit(code)
}

export function connectionOpened(): void {
  liveConnections++
}

export function connectionClosed(): void {
  liveConnections--
}

/** Calls on libuv's threads. Their closures are kept: what they refer to is memory that the call uses, even when its caller has given up. */
const blockingCalls = new Set<unknown>()

/** Runs one of koffi's asynchronous calls, on libuv's threads. What `start` has captured stays referenced until the call returns. */
export function runOnPool<R>(start: (done: (error: Error | null, result: R) => void) => void): Promise<R> {
  exitWithoutNative()
  blockingCalls.add(start)
  return new Promise<R>((resolve, reject) => {
    start((error, result) => (error ? reject(error) : resolve(result)))
  }).finally(() => blockingCalls.delete(start))
}
