import { abortable } from '../base/cancelled.ts'
import { delay } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import { mirrorModeGet } from '../cls/rbd/mirror-client.ts'
import { namespaceList } from '../cls/rbd/pool-client.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { RBD_MIRRORING, RBD_NAMESPACE } from '../rbd/names.ts'
import { NamespaceReplayer } from './namespace-replayer.ts'
import type { PoolContext } from './pool-context.ts'

/** How often the RBD namespaces of the pool are looked up. */
const POLL_MS = 2_000
const PAGE = 1024

export interface RunningNamespace {
  readonly replayer: NamespaceReplayer
  readonly scope: Scope
}

/** The default namespace of a pool and all others in which mirroring is enabled, each with its replayer. */
export class NamespaceSet {
  private readonly running = new Map<string, RunningNamespace>()
  private readonly log: Log
  private looked: () => void = () => undefined
  private readonly firstLook = new Promise<void>((resolve) => (this.looked = resolve))

  constructor(
    private readonly context: PoolContext,
    /** local, default namespace */
    private readonly io: IoCtx,
    private readonly events: {
      /** whether images are to stay stopped in namespaces that come now */
      stopped(): boolean
      onAdded(namespace: RunningNamespace): void
      /** called after every look */
      onLook(): void
    },
  ) {
    this.log = context.log
  }

  [Symbol.iterator](): Iterator<NamespaceReplayer> {
    return this.all().values()
  }

  all(): NamespaceReplayer[] {
    return [...this.running.values()].map(({ replayer }) => replayer)
  }

  entries(): RunningNamespace[] {
    return [...this.running.values()]
  }

  get(name: string): NamespaceReplayer | undefined {
    return this.running.get(name)?.replayer
  }

  /** Resolves when others can assign images to us in all namespaces that there are at first, as far as that works. */
  async introduced(signal: AbortSignal): Promise<void> {
    await abortable(this.firstLook, signal)
    await abortable(Promise.all(this.all().map((replayer) => replayer.introduced)), signal)
  }

  /** Follows what is enabled until the signal is aborted. Rejects with what a namespace can't cope with, such as a blocklisted client. */
  async follow(signal: AbortSignal): Promise<void> {
    const failures = new Scope(signal)
    let failure: { error: unknown } | undefined
    const fail = (error: unknown) => {
      this.log.error({ err: error }, 'namespace replayer failed')
      failure ??= { error }
      failures.cancel()
    }
    try {
      for (;;) {
        const names = await this.mirrored()
        for (const name of this.running.keys()) if (!names.has(name)) await this.remove(name)
        for (const name of names) if (!this.running.has(name)) await this.add(name, fail)
        this.looked()
        this.events.onLook()
        await delay(this.context.clock, POLL_MS, failures.signal)
      }
    } catch (error) {
      throw failure ? failure.error : error
    } finally {
      await failures.close()
    }
  }

  private async add(name: string, fail: (error: unknown) => void): Promise<void> {
    this.log.info({ namespace: name }, 'namespace mirrored')
    const io = this.io.duplicate({ namespace: name })
    const replayer = new NamespaceReplayer(this.context, io)
    if (this.events.stopped()) await replayer.images.stopAll()
    // not in the scope of `follow`: the last statuses are written after everything else has stopped
    const namespace = { replayer, scope: new Scope(undefined, fail) }
    namespace.scope.spawn('local', async (stop) => {
      try {
        await replayer.run(stop)
      } finally {
        io.close()
      }
    })
    this.running.set(name, namespace)
    this.events.onAdded(namespace)
  }

  private async remove(name: string): Promise<void> {
    const namespace = this.running.get(name)!
    this.log.info({ namespace: name }, 'namespace no longer mirrored')
    this.running.delete(name)
    await namespace.scope.close()
  }

  async close(): Promise<void> {
    const all = this.entries()
    this.running.clear()
    await Promise.all(all.map(({ scope }) => scope.close()))
  }

  private async mirrored(): Promise<Set<string>> {
    const names: string[] = []
    try {
      for (let startAfter = ''; ; ) {
        const page = await namespaceList.call(this.io, RBD_NAMESPACE, { startAfter, max: PAGE })
        names.push(...page)
        if (page.length < PAGE) break
        startAfter = page.at(-1)!
      }
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      if (!isErrno(error, Errno.ENOENT)) {
        this.log.warn({ err: error }, 'cannot list the namespaces')
        return new Set(['', ...this.running.keys()])
      }
    }
    const mirrored = new Set([''])
    for (const name of names) if (await this.isMirrored(name)) mirrored.add(name)
    return mirrored
  }

  private async isMirrored(name: string): Promise<boolean> {
    const io = this.io.duplicate({ namespace: name })
    try {
      return (await mirrorModeGet.call(io, RBD_MIRRORING, undefined)) !== 'disabled'
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      if (isErrno(error, Errno.ENOENT)) return false
      this.log.warn({ err: error, namespace: name }, 'cannot read the mirroring mode of a namespace')
      return this.running.has(name)
    } finally {
      io.close()
    }
  }
}
