import type { CephCluster } from './ceph-cluster.ts'
import type { LibrbdClient, SnapshotEntry } from './librbd.ts'
import { waitFor } from './wait.ts'

export type MirrorMode = 'image' | 'pool'
export type Direction = 'rx-only' | 'rx-tx'

/** Enables mirroring of a pool (or `POOL/NAMESPACE`) on both clusters, as the manual says: `secondary` gets the peer by a bootstrap token. */
export async function mirrorPool(
  primary: CephCluster,
  secondary: CephCluster,
  pool: string,
  options: { mode?: MirrorMode; direction?: Direction } = {},
): Promise<void> {
  const { mode = 'image', direction = 'rx-tx' } = options
  await Promise.all([primary, secondary].map((cluster) => cluster.rbdAgain(['mirror', 'pool', 'enable', pool, mode])))
  const token = await primary.rbdAgain(['mirror', 'pool', 'peer', 'bootstrap', 'create', '--site-name', primary.name, pool])
  await secondary.rbdAgain(
    ['mirror', 'pool', 'peer', 'bootstrap', 'import', '--site-name', secondary.name, '--direction', direction, pool, '-'],
    { input: token.trim() },
  )
}

/** Makes a pool of the same name on both clusters and mirrors it. */
export async function createMirroredPool(
  primary: CephCluster,
  secondary: CephCluster,
  pool: string,
  options: { mode?: MirrorMode; direction?: Direction } = {},
): Promise<void> {
  await Promise.all([primary.createPool(pool), secondary.createPool(pool)])
  await mirrorPool(primary, secondary, pool, options)
}

export interface ImageStatus {
  readonly state: string
  readonly description: string
  readonly daemon_service?: { daemon_id: string; hostname: string }
  readonly last_update?: string
  readonly peer_sites?: readonly { site_name: string; state: string; description: string }[]
}

/** `rbd mirror image status`; undefined while the image is not mirrored there. */
export async function imageStatus(cluster: CephCluster, image: string): Promise<ImageStatus | undefined> {
  const result = await cluster.tryRbd(['mirror', 'image', 'status', image, '--format', 'json'])
  return result.code === 0 ? (JSON.parse(result.stdout) as ImageStatus) : undefined
}

/** Waits until the image's status has this state (and a description that matches). */
export function waitForState(
  cluster: CephCluster,
  image: string,
  state: string,
  description: RegExp = /^/,
  timeout = 60_000,
): Promise<ImageStatus> {
  let seen: ImageStatus | undefined
  return waitFor(
    `${image} on ${cluster.name} to be ${state}${description.source === '^' ? '' : ` with ${String(description)}`}`,
    async () => {
      seen = await imageStatus(cluster, image)
      return seen?.state === state && description.test(seen.description) ? seen : undefined
    },
    { timeout, interval: 200, detail: () => seen ?? 'not mirrored' },
  )
}

export const isPrimarySnapshot = (snapshot: SnapshotEntry): boolean => snapshot.mirror?.state.startsWith('primary') ?? false

/** The newest primary mirror-snapshot of an image. */
export async function latestPrimarySnapshot(client: LibrbdClient, image: string): Promise<SnapshotEntry> {
  const snapshots = await client.with(image, 'read-only', (opened) => opened.snapshots())
  const latest = snapshots.filter(isPrimarySnapshot).at(-1)
  if (!latest) throw new Error(`${image} has no primary mirror-snapshot`)
  return latest
}

/** The replica's record of the primary's snapshot `primarySnapId`, complete or not. */
export async function replicaSnapshot(client: LibrbdClient, image: string, primarySnapId: bigint): Promise<SnapshotEntry | undefined> {
  const snapshots = await client.with(image, 'read-only', (opened) => opened.snapshots())
  return snapshots.find(({ mirror }) => mirror && !mirror.state.startsWith('primary') && mirror.primarySnapId === primarySnapId)
}

/** Waits until the replica says that it holds the primary's snapshot `primarySnapId` (default: the newest one). */
export async function waitForSync(
  primary: LibrbdClient,
  secondary: LibrbdClient,
  image: string,
  options: { primarySnapId?: bigint; timeout?: number; interval?: number } = {},
): Promise<SnapshotEntry> {
  const id = options.primarySnapId ?? (await latestPrimarySnapshot(primary, image)).id
  let seen: unknown
  return waitFor(
    `${image} to be in sync with the primary's snapshot ${id}`,
    async () => {
      const replica = await replicaSnapshot(secondary, image, id)
      seen = replica ? `lastCopiedObject=${replica.mirror?.lastCopiedObject} complete=${replica.mirror?.complete}` : 'no such non-primary snapshot'
      return replica?.mirror?.complete ? replica : undefined
    },
    { timeout: options.timeout ?? 60_000, interval: options.interval ?? 20, detail: () => seen },
  )
}
