import { isCancelled } from '../base/cancelled.ts'
import { delay, type Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import type { Cluster } from '../rados/cluster.ts'
import { EBLOCKLISTED, isErrno } from '../rados/errors.ts'
import type { Callout } from './peers.ts'

/** Between two updates; the managers hear of them with the client's next report anyway. */
const MIN_INTERVAL_MS = 500
/** How long the daemon waits with introducing itself until it knows its pools, and who leads them. */
const SETTLE_MS = 1_500
const LEADER_MS = 300

export interface ImageCounts {
  assigned: number
  warning: number
  error: number
  /** mirrored on either side: the leader tells, who alone looks at all of them */
  local?: number
  remote?: number
}

interface PoolRecord {
  name: string
  callouts: Map<number, Callout>
  instanceId: string | undefined
  leader: boolean
  /** by namespace; '' is the default one */
  counts: Map<string, () => ImageCounts>
}

function countFields(counts: ImageCounts): Record<string, number> {
  return {
    image_assigned_count: counts.assigned,
    image_error_count: counts.error,
    ...(counts.local !== undefined && { image_local_count: counts.local }),
    ...(counts.remote !== undefined && { image_remote_count: counts.remote }),
    image_warning_count: counts.warning,
  }
}

/** What the service map shows of this daemon: one record per mirrored pool (tools/rbd_mirror/ServiceDaemon.cc). */
export class ServiceStatus {
  private readonly pools = new Map<bigint, PoolRecord>()
  private lastCallout = 0
  private readonly notifier = new Notifier()

  addPool(poolId: bigint, name: string): void {
    const known = this.pools.get(poolId)
    if (known?.name === name) return
    if (known) known.name = name
    else this.pools.set(poolId, { name, callouts: new Map(), instanceId: undefined, leader: false, counts: new Map() })
    this.notifier.wake()
  }

  removePool(poolId: bigint): void {
    if (this.pools.delete(poolId)) this.notifier.wake()
  }

  poolIds(): bigint[] {
    return [...this.pools.keys()]
  }

  /** A slot of one reporter: at most one callout at a time, replaced or taken back by `set`. */
  callout(poolId: bigint): { set(callout: Callout | undefined): void } {
    let id: number | undefined
    return {
      set: (callout) => {
        const pool = this.pools.get(poolId)
        if (!pool) return
        if (callout === undefined) {
          if (id === undefined || !pool.callouts.delete(id)) return
          id = undefined
        } else {
          id ??= ++this.lastCallout
          const shown = pool.callouts.get(id)
          if (shown?.level === callout.level && shown.text === callout.text) return
          pool.callouts.set(id, callout)
        }
        this.notifier.wake()
      },
    }
  }

  setInstanceId(poolId: bigint, instanceId: bigint): void {
    this.change(poolId, (pool) => (pool.instanceId = String(instanceId)))
  }

  setLeader(poolId: bigint, leader: boolean): void {
    this.change(poolId, (pool) => (pool.leader = leader))
  }

  /** @param counts asked for with each update; undefined when the namespace is no longer mirrored */
  setCounts(poolId: bigint, namespace: string, counts: (() => ImageCounts) | undefined): void {
    this.change(poolId, (pool) => {
      if (counts) pool.counts.set(namespace, counts)
      else pool.counts.delete(namespace)
    })
  }

  /** Some count may have changed. */
  touch(): void {
    this.notifier.wake()
  }

  private change(poolId: bigint, apply: (pool: PoolRecord) => void): void {
    const pool = this.pools.get(poolId)
    if (!pool) return
    apply(pool)
    this.notifier.wake()
  }

  /** The value of the service status key `json`. */
  toJson(): string {
    const pools = [...this.pools].map(([poolId, pool]) => {
      const counts = pool.counts.get('')
      const namespaces = [...pool.counts].filter(([name]) => name !== '').map(([name, of]) => [name, countFields(of())] as const)
      return [
        String(poolId),
        {
          name: pool.name,
          callouts: Object.fromEntries([...pool.callouts].map(([id, { level, text }]) => [String(id), { level, text }])),
          ...(counts ? countFields(counts()) : {}),
          ...(pool.instanceId === undefined ? {} : { instance_id: pool.instanceId }),
          ...(pool.leader ? { leader: true } : {}),
          ...(namespaces.length > 0 ? { namespaces: Object.fromEntries(namespaces) } : {}),
        },
      ] as const
    })
    return JSON.stringify(Object.fromEntries(pools))
  }

  /** Registers the daemon and keeps its status up to date until the signal is aborted. Rejects when the connection is blocklisted. */
  async run(
    cluster: Cluster,
    metadata: Readonly<Record<string, string>>,
    deps: { clock: Clock; log: Log },
    signal: AbortSignal,
  ): Promise<void> {
    // what is known when the daemon introduces itself is seen at once, what comes later with the client's next report (five seconds)
    await this.settled(deps.clock, signal)
    let shown = this.toJson()
    await cluster.updateServiceStatus({ json: shown })
    await cluster.registerService('rbd-mirror', String(cluster.instanceId), { ...metadata, instance_id: String(cluster.instanceId) })
    for (;;) {
      const json = this.toJson()
      try {
        if (json !== shown) await cluster.updateServiceStatus({ json })
        shown = json
      } catch (error) {
        if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
        deps.log.warn({ err: error }, 'cannot update the service status')
        this.notifier.wake()
      }
      await delay(deps.clock, MIN_INTERVAL_MS, signal)
      await this.notifier.wait(deps.clock, undefined, signal)
    }
  }

  /** Waits until every pool has its connection, or for as long as that is worth it. */
  private async settled(clock: Clock, signal: AbortSignal): Promise<void> {
    const until = clock.monotonic() + SETTLE_MS
    const settled = () => this.pools.size > 0 && [...this.pools.values()].every(({ instanceId }) => instanceId !== undefined)
    while (!settled()) {
      const leftMs = until - clock.monotonic()
      if (leftMs <= 0) return
      await this.notifier.wait(clock, leftMs, signal)
    }
    await delay(clock, Math.min(LEADER_MS, Math.max(0, until - clock.monotonic())), signal)
  }
}
