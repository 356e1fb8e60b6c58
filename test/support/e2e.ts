import { randomBytes } from 'node:crypto'
import { MirrorDaemon, type DaemonKind } from './daemon.ts'
import { compareImages, expectSameContent } from './compare.ts'
import type { LibrbdImage, SnapshotEntry } from './librbd.ts'
import { waitForSync } from './mirroring.ts'
import type { ClusterPair } from './pair.ts'

export const MIB = 2 ** 20

/**
 * The daemon that the end-to-end tests try: ours from the sources, or what RBD_MIRROR_TEST_DAEMON says (`dist`, `stock`). With
 * `stock` the tests are tried themselves: what fails there expects too much, or is an improvement on purpose.
 */
export const TESTED_DAEMON = (process.env['RBD_MIRROR_TEST_DAEMON'] ?? 'source') as DaemonKind

/** Intervals that keep a test from waiting for a timer; both daemons know them. */
const QUICK_TIMERS = ['--rbd-mirror-pool-replayers-refresh-interval=2', '--rbd-mirror-image-state-check-interval=2', '--rbd-mirror-delete-retry-interval=1']

/** Starts the tested daemon of site `b` (mirroring from `a`), or of the other site. */
export function startDaemon(pair: ClusterPair, options: { site?: 'a' | 'b'; kind?: DaemonKind; args?: readonly string[] } = {}): MirrorDaemon {
  const { site = 'b', kind = TESTED_DAEMON, args = [] } = options
  // Metrics at a free port: daemons of both sites run on this machine.
  const own = kind === 'stock' ? [] : ['--rbd-mirror-metrics-port=0']
  return MirrorDaemon.start({ kind, folder: pair.folder, cluster: pair[site].name, id: `rbd-mirror.${site}`, args: [...QUICK_TIMERS, ...own, ...args] })
}

/** Writes random bytes at random places. */
export async function scribble(image: LibrbdImage, options: { count?: number; maxLength?: number } = {}): Promise<void> {
  const { count = 20, maxLength = 200_000 } = options
  const size = await image.size()
  for (let index = 0; index < count; index++) {
    const length = 1 + Math.floor(Math.random() * Math.min(maxLength, size))
    await image.write(Math.floor(Math.random() * (size - length + 1)), randomBytes(length))
  }
  await image.flush()
}

/** Makes a mirror-snapshot on the primary (site `a`, unless told otherwise), waits until the other site has it, and compares byte for byte. */
export async function mirrorAndCompare(
  pair: ClusterPair,
  image: string,
  options: { from?: 'a' | 'b'; timeout?: number } = {},
): Promise<SnapshotEntry> {
  const clients = await pair.connect()
  const [primary, secondary] = options.from === 'b' ? [clients.b, clients.a] : [clients.a, clients.b]
  const id = await primary.with(image, 'write', (opened) => opened.mirrorSnapshot())
  const replica = await waitForSync(primary, secondary, image, { primarySnapId: id, ...(options.timeout ? { timeout: options.timeout } : {}) })
  await expectSameContent(primary, secondary, image, { snapshot: id })
  return replica
}

/** Compares the user snapshots of both sides: names, sizes, order and contents. */
export async function expectSameUserSnapshots(pair: ClusterPair, image: string, replica = image): Promise<void> {
  const { a, b } = await pair.connect()
  await a.with(image, 'read-only', (source) =>
    b.with(replica, 'read-only', async (copy) => {
      const [left, right] = [userSnapshots(await source.snapshots()), userSnapshots(await copy.snapshots())]
      const names = (snapshots: readonly SnapshotEntry[]) => snapshots.map(({ name, size }) => `${name} (${size})`).join(', ')
      if (names(left) !== names(right)) throw new Error(`user snapshots differ: ${names(left)} on the primary, ${names(right)} on the replica`)
      for (const [index, snapshot] of left.entries()) {
        await source.setSnapshot(snapshot.id)
        await copy.setSnapshot(right[index]!.id)
        const differences = await compareImages(source, copy)
        if (differences.length > 0) throw new Error(`${image}@${snapshot.name} differs at ${differences[0]!.offset} (${differences.length} places)`)
      }
    }),
  )
}

/** A snapshot of whatever kind is in the trash while it is removed, under a uuid. */
const TRASHED = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const userSnapshots = (snapshots: readonly SnapshotEntry[]) => snapshots.filter(({ mirror, name }) => !mirror && !name.startsWith('.') && !TRASHED.test(name))
