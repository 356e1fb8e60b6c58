import { shardsOf } from './cluster-map.ts'
import type { EngineClient, ObjectChanges, ObjectId, OmapChange } from './engine.ts'
import type { Host } from './host.ts'
import { removal, snapEntry, snapEntryPrefix, unused } from './mutation.ts'
import type { ObjectHead } from './object-head.ts'
import { trimSnap } from './snapshots.ts'

/** Objects whose clones are looked for at once. */
const PAGE = 256
const MAX_TRIES = 200

interface Trimmer {
  readonly host: Host
  readonly client: EngineClient
}

/**
 * Removes a self-managed snapshot: no new clones are made for it, and the clones that served it alone go. A process that ends in the
 * middle leaves it among the pool's `removing` ones, which the next removal finishes.
 */
export async function removeSnap(trimmer: Trimmer, poolId: number, snap: bigint): Promise<void> {
  const { host } = trimmer
  const removing = await host.map.updatePool(poolId, (pool) => {
    const all = pool.removing.includes(Number(snap)) ? pool.removing : [...pool.removing, Number(snap)]
    return { pool: { ...pool, removing: all }, result: all }
  })
  await host.mapChanged()
  const pool = host.map.pool(poolId)
  if (!pool) return
  for (const one of removing) {
    for (const shard of shardsOf(pool)) await trimShard(trimmer, { ...shard, key: '' }, BigInt(one))
  }
  await host.map.updatePool(poolId, (current) => ({
    pool: { ...current, removing: current.removing.filter((one) => !removing.includes(one)) },
    result: undefined,
  }))
}

async function trimShard(trimmer: Trimmer, shard: ObjectId, snap: bigint): Promise<void> {
  const prefix = snapEntryPrefix(snap)
  for (;;) {
    const entries = await trimmer.host.engine.scan(trimmer.client, shard, prefix, undefined, PAGE)
    for (const entry of entries) await trimObject(trimmer, { ...shard, key: entry.slice(prefix.length) }, snap)
    if (entries.length < PAGE) return
  }
}

async function trimObject({ host: { engine }, client }: Trimmer, id: ObjectId, snap: bigint): Promise<void> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const { head, revision } = await engine.open(client, id, [])
    const changes = head ? trimmed(id, head, snap) : nothingLeft(id, snap)
    if ((await engine.commit(client, id, revision, changes)) !== undefined) return
  }
  throw new Error(`${engine.place}: ${id.key} keeps changing while snapshot ${snap} is removed`)
}

function nothingLeft(id: ObjectId, snap: bigint): ObjectChanges {
  return { ...removal(id, undefined, false), removeIndex: [snapEntry(snap, id.key)] }
}

function trimmed(id: ObjectId, head: ObjectHead, snap: bigint): ObjectChanges {
  const { clones, removed } = trimSnap(head.clones, snap)
  const removeIndex = [snapEntry(snap, id.key)]
  const deleteChunks = [...new Set(removed.flatMap(({ chunks }) => unused(chunks, head.chunks, clones)))]
  const omaps: OmapChange[] = removed.filter(({ omap }) => omap).map((clone) => ({ omap: clone.id, clear: true }))
  const left = head.exists || clones.length > 0
  return { head: left ? { ...head, clones } : undefined, putChunks: [], deleteChunks, omaps, addIndex: [], removeIndex, bumpVersion: false }
}
