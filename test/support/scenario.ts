import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect } from 'vitest'
import { getId } from '../../src/cls/rbd/client.ts'
import { mirrorImageGet, mirrorImageStatusGet } from '../../src/cls/rbd/mirror-client.ts'
import { idObjectName, RBD_MIRRORING } from '../../src/rbd/names.ts'
import type { CephCluster } from './ceph-cluster.ts'
import type { MirrorDaemon } from './daemon.ts'
import { MIB, mirrorAndCompare, scribble, startDaemon } from './e2e.ts'
import type { LibrbdImage } from './librbd.ts'
import { createMirroredPool, waitForState } from './mirroring.ts'
import type { ClusterPair } from './pair.ts'
import { RbdClient } from './rbd.ts'
import { waitFor } from './wait.ts'

/** The daemon that the cases of one file share. A case that ends it puts another in its place. */
export interface Scenario {
  daemon: MirrorDaemon
}

/** Mirrors pools of these names and has a daemon run during all cases of the `describe` that this is called in. */
export function mirroring(pair: () => ClusterPair, pools: readonly string[], args: readonly string[] = []): Scenario {
  const scenario = {} as Scenario
  beforeAll(async () => {
    const { a, b } = pair()
    for (const pool of pools) await createMirroredPool(a, b, pool)
    scenario.daemon = startDaemon(pair(), { args })
    await scenario.daemon.waitUntilUp()
  })
  afterAll(async () => {
    if (scenario.daemon?.running) await scenario.daemon.stop()
  })
  return scenario
}

/** Makes an image with some contents on site `a` and enables mirroring in snapshot mode. Gives back its spec. */
export async function snapshotImage(
  pair: ClusterPair,
  spec: string,
  options: { size?: string; create?: readonly string[]; fill?: (image: LibrbdImage) => Promise<void> } = {},
): Promise<string> {
  const { size = '16M', create = [], fill = scribble } = options
  const { a } = await pair.connect()
  await pair.a.rbd('create', spec, '--size', size, ...create)
  await a.with(spec, 'write', async (image) => {
    await fill(image)
    await image.enableMirroring('snapshot')
  })
  return spec
}

/** Makes an image in journal mode on site `a` and waits until the daemon replays it. Gives back its spec. */
export async function journalImage(pair: ClusterPair, spec: string, options: { size?: string; features?: string } = {}): Promise<string> {
  const { size = '16M', features = 'layering,exclusive-lock,object-map,fast-diff,journaling' } = options
  await pair.a.rbd('create', spec, '--size', size, '--image-feature', features, '--journal-object-size', '1M')
  await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
  await waitForState(pair.b, spec, 'up+replaying')
  return spec
}

interface Split {
  writeAt: number
  then?: (image: LibrbdImage) => Promise<unknown>
  promoted?: () => Promise<unknown>
}

/**
 * Both sites write to an image, B as one that was promoted by force, and demoted afterwards: it gives up a snapshot `given-up` and some
 * data below 18 MiB, A makes a snapshot `later`.
 *
 * @param options.writeAt where A writes
 * @param options.then done on A at last
 * @param options.promoted done to B once it is primary
 */
export async function split(pair: ClusterPair, spec: string, { writeAt, then, promoted }: Split): Promise<void> {
  const { a, b } = await pair.connect()
  await pair.b.rbd('mirror', 'image', 'promote', '--force', spec)
  await promoted?.()
  await b.with(spec, 'write', async (image) => {
    await image.write(9 * MIB + 5000, randomBytes(100_000))
    await image.discard(12 * MIB, 4 * MIB)
    await image.createSnapshot('given-up')
    await image.write(17 * MIB, randomBytes(100_000))
    await image.flush()
  })
  await a.with(spec, 'write', async (image) => {
    await image.write(writeAt, randomBytes(100_000))
    await image.createSnapshot('later')
    await image.write(writeAt + 3 * MIB, randomBytes(50_000))
    await image.flush()
    await then?.(image)
  })
  await pair.b.rbd('mirror', 'image', 'demote', spec)
}

/** Whatever goes on elsewhere: this image is synced now, and the daemon lives. */
export async function expectOthersGoOn(pair: ClusterPair, { daemon }: Scenario, witness: string, timeout = 15_000): Promise<void> {
  const { a } = await pair.connect()
  await a.with(witness, 'write', (image) => scribble(image, { count: 3 }))
  await mirrorAndCompare(pair, witness, { timeout })
  expect(daemon.running).toBe(true)
}

export const imageIdOf = async (cluster: CephCluster, spec: string): Promise<string> => (await cluster.rbdJson<{ id: string }>('info', spec)).id

/**
 * Waits for a status as it is stored on site `b`: the `rbd` command opens the image first, which a full pool or a broken image may not
 * let it.
 */
export async function waitForStoredStatus(pair: ClusterPair, spec: string, state: string, description: RegExp, timeout = 20_000): Promise<void> {
  const [pool = '', name = ''] = spec.split('/')
  await using client = await RbdClient.connect(pair.b)
  const io = await client.pool(pool)
  const { globalImageId } = await mirrorImageGet.call(io, RBD_MIRRORING, { imageId: await getId.call(io, idObjectName(name)) })
  let seen: unknown
  await waitFor(
    `${spec} to be ${state} with ${String(description)}`,
    async () => {
      const { local } = await mirrorImageStatusGet.call(io, RBD_MIRRORING, { globalImageId })
      seen = local
      return local?.up && local.state === state && description.test(local.description)
    },
    { timeout, interval: 50, detail: () => seen },
  )
}

/** What the daemons of site `b` say of a pool in the service map: `rbd mirror pool status` fails where the pool is broken. */
async function serviceRecords(cluster: CephCluster, pool: string): Promise<string> {
  const services = await cluster.cephJson<Record<string, Record<string, { status?: { json?: string } }>>>('service', 'status')
  const records = Object.values(services['rbd-mirror'] ?? {}).flatMap(({ status }) =>
    Object.values(JSON.parse(status?.json ?? '{}') as Record<string, { name: string }>),
  )
  return JSON.stringify(records.filter(({ name }) => name === pool))
}

/** Waits until a pool's callouts hold such a text, or no longer do. */
export function waitForCallout(pair: ClusterPair, pool: string, text: RegExp, there = true): Promise<true> {
  let seen = ''
  return waitFor(
    `the callouts of ${pool} to be ${there ? 'with' : 'without'} ${String(text)}`,
    async () => text.test((seen = await serviceRecords(pair.b, pool))) === there,
    { timeout: 40_000, interval: 200, detail: () => seen },
  )
}

/** The pool's instance id of the daemon's connection; undefined when it does not replay the pool. */
export async function instanceOf({ daemon }: Scenario, pool: string): Promise<bigint | undefined> {
  const { pool_replayers: pools } = JSON.parse(await daemon.admin('rbd mirror status')) as { pool_replayers: { pool: string; instance_id?: string }[] }
  const found = pools.find((status) => status.pool === pool)?.instance_id
  return found === undefined ? undefined : BigInt(found)
}

/** Addresses of the clients that watch an object. */
export async function watchersOf(cluster: CephCluster, pool: string, oid: string): Promise<string[]> {
  const listed = await cluster.rados('-p', pool, 'listwatchers', oid)
  return [...listed.matchAll(/watcher=(\S+)/g)].map(([, address]) => address!)
}

/** Shuts out whoever watches an object. */
export async function blocklistWatchers(cluster: CephCluster, pool: string, oid: string): Promise<void> {
  const addresses = await watchersOf(cluster, pool, oid)
  expect(addresses.length).toBeGreaterThan(0)
  for (const address of addresses) await cluster.ceph('osd', 'blocklist', 'add', address, '60')
}
