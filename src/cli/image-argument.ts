import { ConfigError, UsageError } from '../config/config-error.ts'
import type { Connections } from '../daemon/connect.ts'
import type { Cluster } from '../rados/cluster.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { getPeerAttributes } from '../rbd/mirror/peer-attributes.ts'
import { listPeers } from '../rbd/mirror/peers.ts'

/** Takes `POOL/[NAMESPACE/]IMAGE`, which stands first or last, out of a subcommand's arguments. @throws UsageError */
export function takeImageSpec(subcommand: string, args: readonly string[]): { spec: string; rest: string[] } {
  const isSpec = (word: string | undefined) => word !== undefined && /^[^-/][^/]*(\/[^/]+){1,2}$/.test(word)
  if (isSpec(args[0])) return { spec: args[0]!, rest: args.slice(1) }
  if (isSpec(args.at(-1))) return { spec: args.at(-1)!, rest: args.slice(0, -1) }
  throw new UsageError(`rbd-mirror ${subcommand} needs an image: POOL/IMAGE or POOL/NAMESPACE/IMAGE, as the first or the last word`)
}

export function parseImageSpec(spec: string): { poolName: string; namespace: string; name: string } {
  const [poolName, ...more] = spec.split('/') as [string, ...string[]]
  return { poolName, namespace: more.length > 1 ? more[0]! : '', name: more.at(-1)! }
}

/** Connects to the cluster that a pool is mirrored from. @throws ConfigError */
export async function connectPeer(connections: Connections, cluster: Cluster, pool: IoCtx, signal: AbortSignal): Promise<Cluster> {
  const peer = (await listPeers(pool)).find(({ direction }) => direction !== 'tx')
  if (!peer) throw new ConfigError(`pool ${pool.poolName} has no peer that it is mirrored from`)
  const attributes = await getPeerAttributes(cluster, pool, peer.uuid)
  const { siteName: clusterName, clientName } = peer
  return connections.remote({ clusterName, clientName, monHost: attributes?.get('mon_host'), key: attributes?.get('key') }, signal)
}

/** What is not there is told in words. @throws ConfigError */
export async function found<T>(step: Promise<T>, otherwise: string): Promise<T> {
  try {
    return await step
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) throw new ConfigError(otherwise)
    throw error
  }
}
