import { abortable } from '../../base/cancelled.ts'
import { delay, type Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { Scope } from '../../base/scope.ts'
import { Errno } from '../../rados/errors.ts'
import type { InstanceRequests } from './requests.ts'
import type { SyncThrottler } from './sync-throttler.ts'

/** Before the leader is asked again that did not know, or was gone. */
const RETRY_MS = 500

/** Instance id of the leader, '' while nobody is known to lead; `changed` is aborted with the next change. */
export interface KnownLeader {
  readonly instanceId: string
  readonly changed: AbortSignal
}

interface Sync {
  /** settled when the sync is over */
  readonly over: Promise<void>
  readonly finish: () => void
}

export interface SyncSlotsOptions {
  /** our own instance id */
  readonly self: string
  readonly namespace: string
  readonly throttler: SyncThrottler
  readonly requests: InstanceRequests
  readonly clock: Clock
  readonly log: Log
  leader(): KnownLeader
}

/** One image's syncs; of the kind of p-queue, so that a queue can stand in for it. */
export interface SyncSlot {
  add<T>(task: () => Promise<T>, options: { signal: AbortSignal }): Promise<T>
}

/** Lets the images of a namespace sync when the leader says so: ourselves, or another daemon (InstanceWatcher.cc, notify_sync_request). */
export class SyncSlots {
  private readonly syncs = new Map<string, Sync>()

  constructor(private readonly options: SyncSlotsOptions) {}

  /** @param id what the leader knows the image by */
  slot(id: string): SyncSlot {
    return { add: (task, { signal }) => this.run(id, task, signal) }
  }

  /** The leader counts a sync from now on: resolves when it is over. */
  async onStart(id: string, signal: AbortSignal): Promise<void> {
    const sync = this.syncs.get(id)
    if (sync) await abortable(sync.over, signal)
  }

  private async run<T>(id: string, task: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const sync = newSync()
    this.syncs.get(id)?.finish()
    this.syncs.set(id, sync)
    let release: () => void = () => undefined
    try {
      release = await this.granted(id, signal)
      return await task()
    } finally {
      release()
      sync.finish()
      if (this.syncs.get(id) === sync) this.syncs.delete(id)
    }
  }

  /** Resolves with what is to be called afterwards. */
  private async granted(id: string, signal: AbortSignal): Promise<() => void> {
    const { self, requests, clock, log } = this.options
    for (;;) {
      signal.throwIfAborted()
      const { instanceId, changed } = this.options.leader()
      const either = new Scope(signal)
      const onChange = () => either.cancel('another daemon leads')
      changed.addEventListener('abort', onChange, { once: true })
      try {
        if (instanceId === '') await delay(clock, RETRY_MS, either.signal)
        else if (instanceId === self) return await this.own(id, either.signal)
        else {
          const result = await requests.send(instanceId, { type: 'syncRequest', syncId: id }, either.signal)
          if (result !== -Errno.ESTALE) return () => undefined
          await delay(clock, RETRY_MS, either.signal) // not the leader any more
        }
      } catch (error) {
        signal.throwIfAborted()
        if (changed.aborted) continue
        log.debug({ err: error, leader: instanceId }, 'cannot ask the leader for a sync')
        await delay(clock, RETRY_MS, signal)
      } finally {
        changed.removeEventListener('abort', onChange)
        await either.close()
      }
    }
  }

  private async own(id: string, signal: AbortSignal): Promise<() => void> {
    const { throttler, namespace } = this.options
    const key = syncKey(namespace, id)
    const finish = () => throttler.finish(key)
    const grant = throttler.start(key)
    try {
      if ((await abortable(grant, signal)) === 'granted') return finish
    } catch (error) {
      finish()
      throw error
    }
    throw new Error('the sync was asked for anew')
  }
}

/** What a sync is called in the throttler of all namespaces. */
export function syncKey(namespace: string, id: string): string {
  return `${namespace}/${id}`
}

function newSync(): Sync {
  let finish: () => void = () => undefined
  const over = new Promise<void>((resolve) => (finish = resolve))
  return { over, finish }
}
