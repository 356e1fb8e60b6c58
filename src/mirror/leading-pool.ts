import { Scope } from '../base/scope.ts'
import { untilAborted } from '../base/until-aborted.ts'
import { Instances } from './instances/instances.ts'
import type { LeadingEvents } from './leader.ts'
import { NamespaceLeader } from './namespace-leader.ts'
import type { NamespaceSet, RunningNamespace } from './namespace-set.ts'
import type { PoolContext } from './pool-context.ts'
import type { IoCtx } from '../rados/io-ctx.ts'

/** What exists while we lead a pool: the daemons that share its images, and the leader's part of each namespace. */
export class LeadingPool implements LeadingEvents {
  private readonly instances: Instances
  private readonly namespaces = new Set<NamespaceLeader>()
  private scope: Scope | undefined

  constructor(
    context: PoolContext,
    /** local, default namespace */
    io: IoCtx,
  ) {
    const { cluster, options, clock, log } = context
    this.instances = new Instances({
      ...{ cluster, io, options, clock, log },
      onAdded: (ids) => this.each((namespace) => namespace.addInstances(ids)),
      onRemoved: (ids) => this.each((namespace) => namespace.removeInstances(ids)),
    })
  }

  /** Ids of the daemons that share the images. */
  get instanceIds(): string[] {
    return this.instances.ids
  }

  /** Other daemons answer. */
  get hasOthers(): boolean {
    return this.instances.answering.length > 0
  }

  onHeard(ids: readonly bigint[]): void {
    this.instances.heard(ids)
  }

  onLeft(): void {
    this.instances.wake()
  }

  /** Until the signal is aborted. Rejects when the connection is blocklisted. */
  async run(namespaces: NamespaceSet, signal: AbortSignal): Promise<void> {
    const scope = new Scope(signal)
    try {
      await this.instances.load()
      this.scope = scope
      scope.spawn('instances', (stop) => this.instances.run(stop))
      for (const namespace of namespaces.entries()) this.add(namespace)
      await untilAborted(scope.signal)
    } finally {
      this.scope = undefined
      await scope.close()
    }
    signal.throwIfAborted()
  }

  /** A namespace that came while we lead; it goes with its own scope. */
  add({ replayer, scope }: RunningNamespace): void {
    this.scope?.spawn(`lead ${replayer.name}`, async (signal) => {
      const stop = new Scope(signal)
      const onAbort = () => stop.cancel()
      scope.signal.addEventListener('abort', onAbort, { once: true })
      if (scope.signal.aborted) stop.cancel()
      const leader = new NamespaceLeader(replayer)
      this.namespaces.add(leader)
      leader.addInstances(this.instances.answering)
      try {
        await leader.run(() => this.instanceIds, stop.signal)
      } catch (error) {
        if (!stop.signal.aborted) throw error
      } finally {
        this.namespaces.delete(leader)
        scope.signal.removeEventListener('abort', onAbort)
        await stop.close()
      }
    })
  }

  private each(task: (namespace: NamespaceLeader) => void): void {
    for (const namespace of this.namespaces) task(namespace)
  }
}
