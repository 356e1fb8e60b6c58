import { isCancelled } from '../base/cancelled.ts'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Notifier } from '../base/notifier.ts'
import { mirrorModeGet, mirrorPeerList } from '../cls/rbd/mirror-client.ts'
import type { MirrorPeer } from '../cls/rbd/mirror-types.ts'
import { MalformedInput } from '../encoding/malformed-input.ts'
import type { Cluster, PoolInfo } from '../rados/cluster.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { ReadOperation } from '../rados/operation.ts'
import { CONFIG_KEY_PEER_PREFIX, CONFIG_KEY_SITE_NAME, RBD_MIRRORING } from '../rbd/names.ts'
import type { MirrorOptions } from './options.ts'
import { parsePeerConfig, peerProblem, replayedPeers, type Callout, type MirroredPool, type PeerSpec } from './peers.ts'

/** Pools and their peers are looked at this often: one small read per pool. */
const POLL_MS = 1_000
const POLL_MS_PER_POOL = 20
/** Peers' addresses and keys, and the site name, are asked from the monitors at most this often while no peer changes. */
const CONFIG_KEY_MAX_MS = 10_000
/** The rbd command adds a peer first and its address afterwards: a new one without address is asked for at each of so many looks. */
const EAGER_CONFIG_READS = 10
const CONCURRENT_POOLS = 8

interface PeerConfig {
  monHost: string
  key: string
  /** what kept it from being read, as it is told to the operator */
  problem: string | undefined
}

export interface ClusterState {
  pools: readonly MirroredPool[]
  /** how this site calls itself when it pings peers */
  siteName: string
}

/** Follows which pools of the local cluster are mirrored from whom. */
export class ClusterWatcher {
  private readonly notifier = new Notifier()
  private readonly ioContexts = new Map<bigint, IoCtx>()
  /** what was read of each peer last; what can't be read at the moment stays as it was */
  private readonly configs = new Map<string, PeerConfig>()
  private readonly freshConfigs = new Set<string>()
  private readonly unreadable = new Set<bigint>()
  private readonly configReads = new Map<string, number>()
  private configsReadAt = -Infinity
  private siteName = ''
  private lastPeers = ''

  constructor(
    private readonly options: {
      cluster: Cluster
      options: MirrorOptions
      clock: Clock
      log: Log
      /** called after every look, changed or not */
      onState(state: ClusterState): void
    },
  ) {}

  /** Look again at once. */
  wake(): void {
    this.notifier.wake()
  }

  /** Looks until the signal is aborted. Rejects when the connection is blocklisted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.options
    try {
      for (;;) {
        try {
          this.options.onState(await this.look())
        } catch (error) {
          if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
          log.warn({ err: error }, 'cannot look up the mirrored pools')
        }
        await this.notifier.wait(clock, Math.max(POLL_MS, this.ioContexts.size * POLL_MS_PER_POOL), signal)
      }
    } finally {
      for (const io of this.ioContexts.values()) io.close()
      this.ioContexts.clear()
    }
  }

  private async look(): Promise<ClusterState> {
    const { cluster, clock, options } = this.options
    const keysDue = clock.monotonic() - this.configsReadAt >= Math.min(CONFIG_KEY_MAX_MS, options.poolReplayersRefreshInterval * 1000)
    if (keysDue) {
      this.freshConfigs.clear()
      this.configsReadAt = clock.monotonic()
      await cluster.waitForLatestOsdMap()
    }
    const listed = await cluster.listPools()
    this.closePoolsBut(listed)
    const pools: MirroredPool[] = []
    const queue = [...listed]
    const worker = async () => {
      for (let pool = queue.shift(); pool; pool = queue.shift()) {
        const mirrored = await this.lookAtPool(pool)
        if (mirrored) pools.push(mirrored)
      }
    }
    await Promise.all(Array.from({ length: CONCURRENT_POOLS }, worker))
    pools.sort((a, b) => (a.poolId < b.poolId ? -1 : 1))
    // whoever adds a peer may have given this site its name just before
    const peers = pools.flatMap(({ poolId, peers }) => peers.map(({ uuid }) => `${poolId}/${uuid}`)).join()
    if (keysDue || peers !== this.lastPeers) this.siteName = (await cluster.configKeyGet(CONFIG_KEY_SITE_NAME)) || cluster.fsid
    this.lastPeers = peers
    return { pools, siteName: this.siteName }
  }

  private closePoolsBut(pools: readonly PoolInfo[]): void {
    const names = new Map(pools.map(({ id, name }) => [id, name]))
    for (const [id, io] of this.ioContexts) {
      if (names.get(id) === io.poolName) continue
      this.ioContexts.delete(id)
      io.close()
    }
  }

  /** Undefined for a pool that is not mirrored, or gone. */
  private async lookAtPool({ id, name }: PoolInfo): Promise<MirroredPool | undefined> {
    const withoutPeers = (callout: Callout): MirroredPool => ({ poolId: id, poolName: name, peers: [], callout, unreadable: true })
    let peers: MirrorPeer[]
    try {
      const io = this.ioContexts.get(id) ?? (await this.options.cluster.openPoolById(id))
      this.ioContexts.set(id, io)
      const operation = new ReadOperation()
      const mode = mirrorModeGet.step(operation, undefined)
      const list = mirrorPeerList.step(operation, undefined)
      const results = await io.read(RBD_MIRRORING, operation)
      if (mirrorModeGet.result(results, mode) === 'disabled') return undefined
      peers = mirrorPeerList.result(results, list)
      this.unreadable.delete(id)
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return undefined
      if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
      if (isErrno(error, Errno.EPERM, Errno.EACCES)) return withoutPeers({ level: 'warning', text: 'access denied' })
      const level = this.unreadable.has(id) ? 'debug' : 'warn' // once is enough
      this.unreadable.add(id)
      this.options.log[level]({ pool: name, err: error }, 'cannot read the mirroring settings of a pool')
      if (error instanceof MalformedInput || isErrno(error, Errno.EIO)) return withoutPeers({ level: 'error', text: 'mirroring peer list failed' })
      return withoutPeers({ level: 'warning', text: 'mirroring mode query failed' })
    }
    const specs: PeerSpec[] = []
    let callout: Callout | undefined
    for (const peer of replayedPeers(peers)) {
      const problem = peerProblem(peer)
      if (problem !== undefined) {
        callout = { level: 'error', text: problem }
        continue
      }
      const { problem: unread, ...config } = await this.peerConfig(id, peer.uuid)
      if (unread !== undefined) callout = { level: 'warning', text: unread }
      specs.push({ uuid: peer.uuid, siteName: peer.siteName, clientName: peer.clientName, ...config })
    }
    return { poolId: id, poolName: name, peers: specs, callout }
  }

  private async peerConfig(poolId: bigint, peerUuid: string): Promise<PeerConfig> {
    const key = `${CONFIG_KEY_PEER_PREFIX}${poolId}/${peerUuid}`
    const known = this.configs.get(key)
    if (known && this.freshConfigs.has(key)) return known
    const config = await this.readPeerConfig(key, known)
    const reads = (this.configReads.get(key) ?? 0) + 1
    this.configReads.set(key, reads)
    if (config.monHost !== '' || reads >= EAGER_CONFIG_READS) this.freshConfigs.add(key)
    this.configs.set(key, config)
    return config
  }

  private async readPeerConfig(key: string, known: PeerConfig = { monHost: '', key: '', problem: undefined }): Promise<PeerConfig> {
    try {
      const text = await this.options.cluster.configKeyGet(key)
      if (!text) return { monHost: '', key: '', problem: undefined }
      const parsed = parsePeerConfig(text)
      if (parsed) return { ...parsed, problem: undefined }
      return { monHost: '', key: '', problem: 'mirroring peer config-key decode failed' }
    } catch (error) {
      if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
      this.options.log.warn({ key, err: error }, 'cannot read the address and key of a peer')
      return { ...known, problem: 'mirroring peer config-key query failed' }
    }
  }
}
