import { randomBytes } from 'node:crypto'
import { beforeAll, expect, it } from 'vitest'
import { SnapshotNamespace, StoredSnapshot } from '../../src/cls/rbd/types.ts'
import { decode, encode } from '../../src/encoding/codec.ts'
import { WriteOperation } from '../../src/rados/operation.ts'
import { headerName } from '../../src/rbd/names.ts'
import type { CephCluster } from '../support/ceph-cluster.ts'
import { describeCeph } from '../support/ceph.ts'
import { expectSameUserSnapshots, MIB, mirrorAndCompare, scribble, startDaemon } from '../support/e2e.ts'
import { createMirroredPool, imageStatus } from '../support/mirroring.ts'
import { tracesIn } from '../support/pool-traces.ts'
import { RbdClient } from '../support/rbd.ts'
import { expectOthersGoOn, imageIdOf, journalImage, mirroring, snapshotImage } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'worst-days'
/** of the clones' parents */
const OTHER = 'worst-days-parents'
const SPACES = ['tenant', 'lodger']
const USUAL = 40
/** as many as WORST_DAYS_SNAPSHOTS says */
const SNAPSHOTS = Number(process.env['WORST_DAYS_SNAPSHOTS'] ?? USUAL)

describeCeph('the worst days of a pool', (pair) => {
  const scenario = mirroring(() => pair, [POOL, OTHER])

  beforeAll(async () => {
    for (const space of SPACES) {
      for (const pool of [POOL, OTHER]) {
        for (const cluster of [pair.a, pair.b]) await cluster.rbd('namespace', 'create', `${pool}/${space}`)
      }
      // the parents' are mirrored on the replicas' site when a test says so
      const sites: [CephCluster, string][] = [[pair.a, POOL], [pair.b, POOL], [pair.a, OTHER]]
      for (const [cluster, pool] of sites) await cluster.rbd('mirror', 'pool', 'enable', `${pool}/${space}`, 'image')
    }
  })

  /** What the primary's site shows of the replica's. */
  async function expectTold(spec: string, description: RegExp): Promise<void> {
    let seen: unknown
    await waitFor(
      `${spec} to be told`,
      async () => {
        const [peer] = (await imageStatus(pair.a, spec))?.peer_sites ?? []
        seen = peer
        return peer?.state === 'up+error' && description.test(peer.description)
      },
      { timeout: 20_000, interval: 100, detail: () => seen },
    )
  }

  it('snapshots of a kind and mirror-snapshots of a state that no release knows are named, with their cure', async () => {
    const witness = await snapshotImage(pair, `${POOL}/witness`, { size: '4M' })
    const spec = await snapshotImage(pair, `${POOL}/future`, { size: '4M' })
    await mirrorAndCompare(pair, spec)
    const header = headerName(await imageIdOf(pair.a, spec))
    await using client = await RbdClient.connect(pair.a)
    const io = await client.pool(POOL)
    const stored = async (prefix: string) => {
      const { entries } = await io.omapGet(header, '', 'snapshot_', 100)
      return [...entries].map(([key, value]) => ({ key, snapshot: decode(StoredSnapshot, value, key) })).findLast(({ snapshot }) => snapshot.name.startsWith(prefix))!
    }
    const write = (key: string, value: Buffer) => io.write(header, new WriteOperation().omapSet(new Map([[key, value]])))
    for (const kind of ['type', 'state'] as const) {
      const { a } = await pair.connect()
      await a.with(spec, 'write', async (image) => {
        await image.createSnapshot(`odd-${kind}`)
        await image.mirrorSnapshot()
      })
      const { key, snapshot } = await stored(kind === 'type' ? 'odd-type' : '.mirror.primary')
      // its own bytes behind the versions, and the number of its type
      const raw = Buffer.from(encode(SnapshotNamespace, snapshot.namespace).subarray(10))
      if (kind === 'state') raw[0] = 77
      const namespace: SnapshotNamespace = { type: 'unknown', tag: kind === 'state' ? 3 : 77, raw }
      await write(key, encode(StoredSnapshot, { ...snapshot, namespace }))
      await a.with(spec, 'write', (image) => image.mirrorSnapshot())
      if (kind === 'type') await mirrorAndCompare(pair, spec)
      else await expectTold(spec, new RegExp(`its snapshots can't be read \\(malformed snapshot ${snapshot.id}: 77 .*on the remote cluster: rbd snap rm --snap-id ${snapshot.id}$`))
      await expectOthersGoOn(pair, scenario, witness)
      await pair.a.rbd('snap', 'rm', '--snap-id', String(snapshot.id), spec)
      await mirrorAndCompare(pair, spec)
      await expectSameUserSnapshots(pair, spec)
    }
  })

  it.each([
    // of this format, Ceph makes none whose parent is in another namespace
    [1, 'tenant', `${POOL}/tenant/child`],
    [2, 'lodger', `${POOL}/child`],
  ])('a clone of format %i waits for its parent in pool and namespace %s', async (format, space, spec) => {
    const origin = `${OTHER}/${space}/parent`
    const { a } = await pair.connect()
    await pair.a.rbd('create', origin, '--size', '8M')
    await a.with(origin, 'write', async (image) => {
      await scribble(image)
      await image.createSnapshot('base')
      await image.enableMirroring('snapshot')
    })
    if (format === 1) await pair.a.rbd('snap', 'protect', `${origin}@base`)
    await pair.a.rbd('clone', '--rbd-default-clone-format', String(format), `${origin}@base`, spec)
    await a.with(spec, 'write', async (image) => {
      await scribble(image, { count: 3 })
      await image.enableMirroring('snapshot')
    })
    await expectTold(spec, new RegExp(`parent image ${origin} is not mirrored to here yet`))
    await pair.b.rbd('mirror', 'pool', 'enable', `${OTHER}/${space}`, 'image')
    if (format === 1) {
      // it was protected after its mirror-snapshot was made
      await expectTold(spec, new RegExp(`snapshot base of parent image ${origin} is not protected here yet; on the remote cluster: rbd mirror image snapshot ${origin}`))
      await pair.a.rbd('mirror', 'image', 'snapshot', origin)
    }
    await mirrorAndCompare(pair, spec)
    const parentOf = async (site: 'a' | 'b') => (await pair[site].rbdJson<{ parent?: { pool: string; pool_namespace: string; image: string; snapshot: string } }>('info', spec)).parent
    const shown = ({ pool, pool_namespace, image, snapshot }: NonNullable<Awaited<ReturnType<typeof parentOf>>>) => ({ pool, pool_namespace, image, snapshot })
    expect(shown((await parentOf('b'))!)).toEqual(shown((await parentOf('a'))!))
    await pair.a.rbd('flatten', '--no-progress', spec)
    await a.with(spec, 'write', (image) => scribble(image, { count: 3 }))
    await mirrorAndCompare(pair, spec)
    expect(await parentOf('b')).toBeUndefined()
  })

  it(`${SNAPSHOTS} snapshots of users`, async () => {
    const { a } = await pair.connect()
    const spec = await snapshotImage(pair, `${POOL}/many`, { size: '4M' })
    await mirrorAndCompare(pair, spec)
    await a.with(spec, 'write', async (image) => {
      for (let number = 0; number < SNAPSHOTS; number++) {
        await image.write((number * 24_576) % (4 * MIB - 4096), randomBytes(4096))
        await image.createSnapshot(`user-${number}`)
      }
    })
    const startedAt = Date.now()
    await mirrorAndCompare(pair, spec, { timeout: 600_000 })
    if (SNAPSHOTS > USUAL) console.log(`${SNAPSHOTS} snapshots: ${Date.now() - startedAt} ms with ${scenario.daemon.kind}`)
    await expectSameUserSnapshots(pair, spec)
  })
})

describeCeph('a pool that is taken out of mirroring', (pair) => {
  it.each(['primary', 'replica'] as const)('on the site of the %s', async (which) => {
    const pool = `${POOL}-${which}`
    await createMirroredPool(pair.a, pair.b, pool)
    const before = { a: await tracesIn(pair.a, pool), b: await tracesIn(pair.b, pool) }
    await using daemon = startDaemon(pair)
    await daemon.waitUntilUp()
    const images = [await snapshotImage(pair, `${pool}/snapshot`, { size: '4M' }), await journalImage(pair, `${pool}/journal`, { size: '4M' })]
    await mirrorAndCompare(pair, images[0]!)
    const site = which === 'primary' ? pair.a : pair.b
    const { peers } = await site.rbdJson<{ peers: { uuid: string }[] }>('mirror', 'pool', 'info', pool)
    expect((await site.tryRbd(['mirror', 'pool', 'disable', pool])).code).toBe(16) // a peer is still there
    await site.rbd('mirror', 'pool', 'peer', 'remove', pool, peers[0]!.uuid)
    expect((await site.tryRbd(['mirror', 'pool', 'disable', pool])).code).toBe(22) // mirrored images are still there
    await site.rbd('mirror', 'pool', 'enable', pool, 'pool')
    if (which === 'replica') {
      expect((await site.tryRbd(['mirror', 'pool', 'disable', pool])).code).toBe(22) // it is not primary
      for (const spec of images) await site.rbd('mirror', 'image', 'disable', '--force', spec)
    }
    await site.rbd('mirror', 'pool', 'disable', pool)
    if (which === 'primary') {
      // those that were taken out one by one before the pool was out of mirroring are gone, the others are kept and say so
      for (const spec of images) {
        await waitFor(`${spec} to be gone or named`, async () => {
          const status = await imageStatus(pair.b, spec)
          if (status) return /replica is kept: mirroring of the remote pool is disabled; to give it up/.test(status.description)
          return (await pair.b.tryRbd(['info', spec])).code === 2
        })
        if ((await pair.b.tryRbd(['info', spec])).code === 0) await pair.b.rbd('mirror', 'image', 'disable', '--force', spec)
      }
    }
    await daemon.stop()
    for (const cluster of [pair.a, pair.b]) {
      for (const spec of images) {
        if ((await cluster.tryRbd(['info', spec])).code !== 0) continue
        await cluster.tryRbd(['mirror', 'image', 'disable', spec])
        await cluster.rbd('rm', '--no-progress', spec)
      }
    }
    for (const name of ['a', 'b'] as const) {
      // the leader's map is tidied up by whoever leads next
      const left = (await tracesIn(pair[name], pool)).filter((trace) => !before[name].includes(trace) && !trace.startsWith('rbd_mirror_leader'))
      expect(left).toEqual([])
    }
  })
})
