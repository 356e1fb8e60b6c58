import type { Cluster } from '../../rados/cluster.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { CONFIG_KEY_PEER_PREFIX } from '../names.ts'
import { Refusal } from './refusal.ts'

/**
 * How to reach a peer, as the monitors' config-key store keeps it: `mon_host`, `key`. The values are secrets
 * (librbd/api/Mirror.cc, peer_site_{get,set}_attributes).
 */
export type PeerAttributes = ReadonlyMap<string, string>

function keyOf(poolId: bigint, uuid: string): string {
  return `${CONFIG_KEY_PEER_PREFIX}${poolId}/${uuid}`
}

/** undefined when there are none. Rejects with EINVAL for what is no such thing. */
export async function getPeerAttributes(cluster: Cluster, io: IoCtx, uuid: string): Promise<Map<string, string> | undefined> {
  const text = await cluster.configKeyGet(keyOf(io.poolId, uuid))
  if (text === undefined || text === '') return undefined
  const attributes = parse(text)
  if (!attributes) throw new Refusal(Errno.EINVAL, ['librbd::api::Mirror: peer_site_get_attributes: invalid peer attributes JSON received'], { io })
  return attributes
}

function parse(text: string): Map<string, string> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
    return entries.every((entry): entry is [string, string] => typeof entry[1] === 'string') ? new Map(entries) : undefined
  } catch {
    return undefined // no JSON
  }
}

/** Rejects with ENOENT for a peer that is not there: `uuids` are those that are. */
export async function setPeerAttributes(cluster: Cluster, io: IoCtx, uuid: string, attributes: PeerAttributes, uuids: readonly string[]): Promise<void> {
  if (!uuids.includes(uuid)) throw new Refusal(Errno.ENOENT, [], { io })
  const members = [...attributes].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`)
  await cluster.configKeySet(keyOf(io.poolId, uuid), `{${members.join(', ')}}`)
}

/** A client that may not is no failure: the peer goes nevertheless. */
export async function removePeerAttributes(cluster: Cluster, poolId: bigint, uuid: string): Promise<void> {
  try {
    await cluster.configKeyRemove(keyOf(poolId, uuid))
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT, Errno.EPERM, Errno.EACCES)) throw error
  }
}
