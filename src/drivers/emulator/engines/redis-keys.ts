import type { OmapId, Shard } from '../engine.ts'

/*
 * Keys of the database. The part in braces decides where a Redis Cluster keeps a key: each shard, the cluster's table and each
 * process' mail lie in one place, and no script touches two.
 *
 *     rbd-mirror:{table}:values          hash     the cluster's table
 *     rbd-mirror:{table}:names           zset     its keys, in order
 *     rbd-mirror:{table}:commits         hash     changes of the table whose senders may not have heard of them: token → result, time
 *     rbd-mirror:{POOL.SHARD}:meta       hash     the newest version, the newest revision
 *     rbd-mirror:{POOL.SHARD}:fences     hash     address → until when it is shut out, by the server's clock
 *     rbd-mirror:{POOL.SHARD}:commits    hash     as of the table
 *     rbd-mirror:{POOL.SHARD}:objects    set      names of the objects
 *     rbd-mirror:{POOL.SHARD}:index      zset     the shard's index
 *     rbd-mirror:{POOL.SHARD}:o:NAME     hash     an object: r revision, v version, h head, cID a chunk, mOMAP/KEY an omap's value
 *     rbd-mirror:{POOL.SHARD}:m:NAME     zset     OMAP/KEY: the omap's keys, in order
 *     rbd-mirror:{ENDPOINT}:alive        string   of a process that has the cluster open
 *     rbd-mirror:{ENDPOINT}:mail         list     messages for it; a message on the channel rbd-mirror:{ENDPOINT} says that there are some
 *
 * The scores of all zsets are 0, so that they are in the order of their members' bytes.
 */

const ROOT = 'rbd-mirror:'

export const TABLE = { values: `${ROOT}{table}:values`, names: `${ROOT}{table}:names`, commits: `${ROOT}{table}:commits` } as const

export const shardTag = ({ pool, shard }: Shard) => `${ROOT}{${pool}.${shard}}:`
export const objectKeys = (tag: string, name: string): [object: string, omap: string] => [`${tag}o:${name}`, `${tag}m:${name}`]
/** Of a shard, all but its objects' keys. */
export const shardKeys = (tag: string) => ['meta', 'fences', 'index', 'objects', 'commits'].map((part) => tag + part)

export const mailChannel = (endpoint: string) => `${ROOT}{${endpoint}}`
export const aliveKey = (endpoint: string) => `${ROOT}{${endpoint}}:alive`
export const mailKey = (endpoint: string) => `${ROOT}{${endpoint}}:mail`

export const chunkField = (id: number) => `c${id}`
/** What an omap's members of the object's zset begin with; with an `m` before it, its fields of the object's hash. */
export const omapBase = (omap: OmapId) => `${omap}/`

const INCLUDED = Buffer.from('[')
const EXCLUDED = Buffer.from('(')

/** ZRANGEBYLEX' limits for members that begin with `base` and `prefix` and come after `base` and `after`. */
export function lexRange(base: string, prefix: string, after: string | undefined): [from: Buffer | string, to: Buffer | string] {
  const first = Buffer.from(base + prefix)
  const behind = after === undefined ? undefined : Buffer.from(base + after)
  const from = behind && Buffer.compare(behind, first) >= 0 ? Buffer.concat([EXCLUDED, behind]) : Buffer.concat([INCLUDED, first])
  if (first.length === 0) return [from, '+']
  const end = Buffer.from(first)
  end[end.length - 1]!++ // UTF-8 has no byte 255
  return [from, Buffer.concat([EXCLUDED, end])]
}
