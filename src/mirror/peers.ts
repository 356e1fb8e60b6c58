import type { MirrorPeer } from '../cls/rbd/mirror-types.ts'

/** A cluster that a pool is to be replayed from, with what is needed to connect to it. */
export interface PeerSpec {
  readonly uuid: string
  readonly siteName: string
  /** `client.ID` */
  readonly clientName: string
  /** from the config-key store; '' when the configuration file has it */
  readonly monHost: string
  /** from the config-key store; '' when a keyring has it. A secret. */
  readonly key: string
}

/** As the admin socket and the log name a peer (tools/rbd_mirror/Types.cc). */
export function describePeer({ uuid, siteName, clientName }: PeerSpec): string {
  return `uuid: ${uuid} cluster: ${siteName} client: ${clientName}`
}

export interface Callout {
  level: 'warning' | 'error'
  text: string
}

/** One pool with mirroring enabled, as it was found. */
export interface MirroredPool {
  readonly poolId: bigint
  readonly poolName: string
  /** the peers to replay from */
  readonly peers: readonly PeerSpec[]
  /** what an operator has to be told about the pool's mirroring itself */
  readonly callout: Callout | undefined
  /** the peers could not be read: nothing is known to have changed */
  readonly unreadable?: boolean
}

/** What a peer's config-key says: `{"mon_host": …, "key": …}`; undefined for what can't be read so. */
export function parsePeerConfig(text: string): { monHost: string; key: string } | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { mon_host: monHost = '', key = '' } = value as Record<string, unknown>
  if (typeof monHost !== 'string' || typeof key !== 'string') return undefined
  return { monHost, key }
}

/** Why a peer's entry can't be used to connect; undefined if it can. */
export function peerProblem({ uuid, siteName, clientName }: Pick<MirrorPeer, 'uuid' | 'siteName' | 'clientName'>): string | undefined {
  if (uuid === '') return 'mirroring peer without uuid'
  if (siteName === '' || /[/\0]/.test(siteName)) return `mirroring peer ${uuid} has an unusable site name`
  if (!/^client\..+$/.test(clientName)) return `mirroring peer ${uuid} (${siteName}) has an unusable client name`
  return undefined
}

/** Those of a pool's peers that are fetched from: a `tx` peer only fetches from us. */
export function replayedPeers(peers: readonly MirrorPeer[]): MirrorPeer[] {
  return peers.filter(({ direction }) => direction !== 'tx')
}

export interface PoolPeer {
  readonly pool: MirroredPool
  readonly peer: PeerSpec
}

/** Identity of a pool replayer: any change of these means another one. */
export function poolPeerKey({ pool, peer }: PoolPeer): string {
  return JSON.stringify([String(pool.poolId), pool.poolName, peer.uuid, peer.siteName, peer.clientName, peer.monHost, peer.key])
}

/** Which pool replayers have to stop and which to start, given the keys of those that run. */
export function diffPoolPeers(running: Iterable<string>, pools: readonly MirroredPool[]): { stop: string[]; start: Map<string, PoolPeer> } {
  const start = new Map<string, PoolPeer>()
  for (const pool of pools) for (const peer of pool.peers) start.set(poolPeerKey({ pool, peer }), { pool, peer })
  const stop: string[] = []
  for (const key of running) if (!start.delete(key)) stop.push(key)
  return { stop, start }
}
