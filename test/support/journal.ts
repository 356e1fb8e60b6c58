import { clientList } from '../../src/cls/journal/client.ts'
import { dirGetId } from '../../src/cls/rbd/client.ts'
import { decode } from '../../src/encoding/codec.ts'
import { journalHeaderName } from '../../src/journal/names.ts'
import { ClientData } from '../../src/rbd/journal/client-data.ts'
import { RBD_DIRECTORY } from '../../src/rbd/names.ts'
import type { CephCluster } from './ceph-cluster.ts'
import { compareImages } from './compare.ts'
import type { ClusterPair } from './pair.ts'
import { RbdClient } from './rbd.ts'
import { waitFor } from './wait.ts'

interface Position {
  readonly object_number: number
  readonly tag_tid: number
  readonly entry_tid: number
}

export interface JournalStatus {
  readonly minimum_set: number
  readonly active_set: number
  readonly registered_clients: readonly {
    readonly id: string
    readonly state: 'connected' | 'disconnected'
    readonly commit_position: { readonly object_positions: readonly Position[] }
  }[]
}

/** `rbd journal status` of an image `POOL/NAME`. */
export function journalStatus(cluster: CephCluster, spec: string): Promise<JournalStatus> {
  const [pool, image] = spec.split('/') as [string, string]
  return cluster.rbdJson<JournalStatus>('journal', 'status', '--pool', pool, '--image', image)
}

/** A client whose image is still being copied has a position as well. */
async function isReplaying(primary: CephCluster, spec: string): Promise<boolean> {
  const [pool, name] = spec.split('/') as [string, string]
  await using client = await RbdClient.connect(primary)
  const io = await client.pool(pool)
  const id = await dirGetId.call(io, RBD_DIRECTORY, { name })
  const clients = await clientList.call(io, journalHeaderName(id), { startAfter: '', max: 100 })
  const mirrors = clients.map(({ data }) => decode(ClientData, data, 'client data')).filter((meta) => meta.type === 'mirrorPeer')
  return mirrors.length > 0 && mirrors.every(({ state }) => state === 'replaying')
}

/** Waits until the mirror's client of the primary's journal has committed all that the image's own client has. */
export async function waitForReplay(primary: CephCluster, spec: string, timeout = 60_000): Promise<JournalStatus> {
  let seen: JournalStatus | undefined
  return waitFor(
    `the journal of ${spec} to be replayed`,
    async () => {
      seen = await journalStatus(primary, spec)
      const [own, ...mirrors] = seen.registered_clients.map(({ commit_position }) => JSON.stringify(commit_position.object_positions[0] ?? null))
      const level = mirrors.length > 0 && mirrors.every((position) => position === own)
      return level && (await isReplaying(primary, spec)) ? seen : undefined
    },
    { timeout, interval: 100, detail: () => JSON.stringify(seen?.registered_clients) },
  )
}

/** Waits for the replay and compares the heads of primary and replica byte for byte. */
export async function expectReplayed(pair: ClusterPair, spec: string, options: { from?: 'a' | 'b'; timeout?: number } = {}): Promise<void> {
  const { from = 'a', timeout } = options
  const clients = await pair.connect()
  const [primary, secondary] = from === 'a' ? [clients.a, clients.b] : [clients.b, clients.a]
  await waitForReplay(pair[from], spec, timeout)
  await primary.with(spec, 'read-only', (source) =>
    secondary.with(spec, 'read-only', async (copy) => {
      const differences = await compareImages(source, copy)
      if (differences.length > 0) {
        const places = differences.slice(0, 8).map(({ offset, length }) => `${offset}+${length}`)
        throw new Error(`the replica of ${spec} differs in ${differences.length} places, first: ${places.join(', ')}`)
      }
    }),
  )
}
