import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { expectSameContent } from '../support/compare.ts'
import type { MirrorDaemon } from '../support/daemon.ts'
import { expectSameUserSnapshots, MIB, mirrorAndCompare, scribble, startDaemon } from '../support/e2e.ts'
import { createMirroredPool, imageStatus, mirrorPool, waitForState, waitForSync } from '../support/mirroring.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'snap'

interface ImageInfo {
  readonly id: string
  readonly size: number
  readonly order: number
  readonly features: readonly string[]
  readonly data_pool?: string
  readonly stripe_unit?: number
  readonly stripe_count?: number
  readonly mirroring?: { readonly mode: string; readonly global_id: string; readonly primary: boolean }
}

describeCeph('snapshot mode', (pair) => {
  let daemon: MirrorDaemon

  beforeAll(async () => {
    await Promise.all([pair.a.createPool('snap-data'), pair.b.createPool('snap-data')])
    await createMirroredPool(pair.a, pair.b, POOL)
    daemon = startDaemon(pair)
    await daemon.waitUntilUp()
  })

  afterAll(async () => {
    if (daemon.running) await daemon.stop()
  })

  /** Creates, scribbles on, and mirrors an image. */
  async function mirroredImage(name: string, size: string, ...createOptions: string[]): Promise<string> {
    const spec = `${POOL}/${name}`
    const { a } = await pair.connect()
    await pair.a.rbd('create', spec, '--size', size, ...createOptions)
    await a.with(spec, 'write', async (image) => {
      await scribble(image)
      await image.enableMirroring('snapshot')
    })
    return spec
  }

  async function change(spec: string): Promise<void> {
    const { a } = await pair.connect()
    await a.with(spec, 'write', (image) => scribble(image))
  }

  const infoOf = (site: 'a' | 'b', spec: string) => pair[site].rbdJson<ImageInfo>('info', spec)

  async function gone(spec: string): Promise<void> {
    await waitFor(`${spec} to be gone from the secondary`, async () => (await pair.b.tryRbd(['info', spec])).code === 2, { timeout: 30_000 })
  }

  it('is seen as a service by the cluster and by `rbd mirror pool status`', async () => {
    const status = await waitFor(
      'a healthy daemon in the pool status',
      async () => {
        const found = await pair.b.rbdJson<{ daemons: { health: string; client_id: string; leader?: boolean }[] }>('mirror', 'pool', 'status', POOL, '--verbose')
        return found.daemons.some(({ health }) => health === 'OK') ? found : undefined
      },
      { timeout: 60_000, interval: 500 },
    )
    expect(status.daemons).toEqual([expect.objectContaining({ client_id: 'b', health: 'OK', leader: true })])
    // The instance that wrote the status is one that the service map knows.
    const spec = await mirroredImage('served', '16M')
    const service = await waitFor('the service in the image status', async () => (await imageStatus(pair.b, spec))?.daemon_service)
    expect(service.daemon_id).toBe('b')
    const services = await pair.b.cephJson<{ servicemap: { services: Record<string, { daemons: Record<string, unknown> }> } }>('-s')
    expect(Object.keys(services.servicemap.services)).toContain('rbd-mirror')
  })

  it('replicates an image enabled while it runs, within seconds, with its properties', async () => {
    const spec = await mirroredImage('enabled', '32M', '--object-size', '1M', '--image-feature', 'layering,exclusive-lock,object-map,fast-diff')
    await pair.a.rbd('image-meta', 'set', spec, 'owner', 'somebody')
    await mirrorAndCompare(pair, spec, { timeout: 10_000 })
    const [source, copy] = [await infoOf('a', spec), await infoOf('b', spec)]
    expect(copy).toMatchObject({ size: source.size, order: source.order, features: [...source.features, 'non-primary'] })
    expect(copy.mirroring).toMatchObject({ mode: 'snapshot', global_id: source.mirroring!.global_id, primary: false })
    expect(await pair.b.rbd('image-meta', 'get', spec, 'owner')).toBe('somebody\n')
    const status = await waitForState(pair.b, spec, 'up+replaying', /^replaying, \{.*"replay_state":"idle"/)
    const described = JSON.parse(status.description.slice('replaying, '.length)) as Record<string, unknown>
    expect(described['local_snapshot_timestamp']).toBe(described['remote_snapshot_timestamp'])
  })

  it('copies deltas exactly: writes, discards, growing and shrinking', async () => {
    const { a } = await pair.connect()
    const spec = await mirroredImage('deltas', '48M')
    await mirrorAndCompare(pair, spec)
    const steps: ((image: Awaited<ReturnType<typeof a.open>>) => Promise<void>)[] = [
      (image) => scribble(image),
      (image) => image.discard(4 * MIB, 12 * MIB),
      (image) => image.discard(20 * MIB + 4096, 8192),
      (image) => image.resize(80 * MIB),
      (image) => scribble(image),
      (image) => image.resize(21 * MIB + 512 * 1024),
      (image) => image.resize(40 * MIB),
      (image) => scribble(image, { count: 3, maxLength: 512 }),
      async () => undefined,
    ]
    for (const step of steps) {
      await a.with(spec, 'write', step)
      await mirrorAndCompare(pair, spec)
    }
  })

  it('keeps thin images thin, also such as a terabyte and a half with little in it', async () => {
    const { a } = await pair.connect()
    const spec = `${POOL}/thin`
    await pair.a.rbd('create', spec, '--size', '1536G')
    await a.with(spec, 'write', async (image) => {
      await image.write(1000 * 1024 * MIB, Buffer.alloc(5000, 'far'))
      await image.write(8 * MIB, Buffer.alloc(4 * MIB)) // zeros
      await image.enableMirroring('snapshot')
    })
    await mirrorAndCompare(pair, spec, { timeout: 60_000 })
    const used = async (site: 'a' | 'b') => (await pair[site].rbdJson<{ images: { used_size: number }[] }>('du', spec)).images[0]!.used_size
    expect(await used('b')).toBeLessThanOrEqual(await used('a'))
  })

  it.each([
    ['without object map', ['--image-feature', 'layering,exclusive-lock']],
    ['without any feature but layering', ['--image-feature', 'layering']],
    ['with fancy striping', ['--stripe-unit', '65536', '--stripe-count', '4', '--object-size', '1M']],
    ['with small objects', ['--object-size', '64K']],
    ['with large objects', ['--object-size', '16M']],
    ['with a data pool', ['--data-pool', 'snap-data']],
  ])('replicates images %s', async (name, options) => {
    const spec = await mirroredImage(name.replaceAll(' ', '-'), '24M', ...options)
    await mirrorAndCompare(pair, spec)
    await change(spec)
    await mirrorAndCompare(pair, spec)
    const [source, copy] = [await infoOf('a', spec), await infoOf('b', spec)]
    const layout = ({ order, features, data_pool, stripe_unit, stripe_count }: ImageInfo) => ({ order, features, data_pool, stripe_unit, stripe_count })
    expect(layout(copy)).toEqual({ ...layout(source), features: [...source.features, 'non-primary'] })
  })

  it('does not trust an object map that is flagged invalid', async () => {
    const spec = await mirroredImage('invalid-map', '24M')
    await mirrorAndCompare(pair, spec)
    await change(spec)
    const { id } = await infoOf('a', spec)
    await pair.a.rados('-p', POOL, 'rm', `rbd_object_map.${id}`)
    await pair.a.tryRbd(['object-map', 'check', spec])
    await change(spec)
    await mirrorAndCompare(pair, spec)
  })

  it('nor that of the replica, which was switched on with the primary\'s', async () => {
    const spec = await mirroredImage('switched-map', '24M', '--image-feature', 'layering,exclusive-lock')
    const { a } = await pair.connect()
    await a.with(spec, 'write', (image) => image.write(0, randomBytes(24 * MIB)))
    await mirrorAndCompare(pair, spec)
    await pair.a.rbd('feature', 'enable', spec, 'object-map', 'fast-diff')
    await mirrorAndCompare(pair, spec)
    await a.with(spec, 'write', async (image) => {
      await image.write(4 * MIB, Buffer.alloc(4 * MIB))
      await image.discard(8 * MIB, 4 * MIB)
      await image.discard(13 * MIB, 65_536)
    })
    await mirrorAndCompare(pair, spec)
  })

  it('carries user snapshots with names, protection, order and contents', async () => {
    const { a } = await pair.connect()
    const spec = await mirroredImage('snapshots', '24M')
    for (const name of ['one', 'two', 'three']) {
      await a.with(spec, 'write', async (image) => {
        await image.createSnapshot(name)
        await scribble(image)
      })
    }
    await pair.a.rbd('snap', 'protect', `${spec}@two`)
    await mirrorAndCompare(pair, spec)
    await expectSameUserSnapshots(pair, spec)
    const listed = await pair.b.rbdJson<{ name: string; protected: string | boolean }[]>('snap', 'ls', spec)
    expect(listed.map(({ name, protected: kept }) => [name, String(kept)])).toEqual([
      ['one', 'false'],
      ['two', 'true'],
      ['three', 'false'],
    ])
    await pair.a.rbd('snap', 'rename', `${spec}@one`, `${spec}@first`)
    await pair.a.rbd('snap', 'rm', `${spec}@three`)
    await pair.a.rbd('snap', 'unprotect', `${spec}@two`)
    await change(spec)
    await pair.a.rbd('snap', 'create', `${spec}@four`)
    await mirrorAndCompare(pair, spec)
    await expectSameUserSnapshots(pair, spec)
  })

  it('follows a renamed image, changed metadata and features', async () => {
    const spec = await mirroredImage('before', '16M')
    await mirrorAndCompare(pair, spec)
    const renamed = `${POOL}/after`
    await pair.a.rbd('image-meta', 'set', spec, 'colour', 'green')
    await pair.a.rbd('feature', 'disable', spec, 'fast-diff', 'object-map')
    await pair.a.rbd('rename', spec, renamed)
    const { a, b } = await pair.connect()
    const id = await a.with(renamed, 'write', (image) => image.mirrorSnapshot())
    await waitForSync(a, b, renamed, { primarySnapId: id })
    await expectSameContent(a, b, renamed, { snapshot: id })
    expect(await pair.b.rbd('image-meta', 'get', renamed, 'colour')).toBe('green\n')
    expect((await infoOf('b', renamed)).features).toEqual([...(await infoOf('a', renamed)).features, 'non-primary'])
    expect((await pair.b.tryRbd(['info', spec])).code).toBe(2)
  })

  it('is right after snapshots in such haste that the primary removes some while they are copied', async () => {
    const { a, b } = await pair.connect()
    for (const name of ['haste-1', 'haste-2', 'haste-3']) {
      const spec = await mirroredImage(name, '64M')
      let id = 0n
      for (let round = 0; round < 10; round++) {
        id = await a.with(spec, 'write', async (image) => {
          await scribble(image, { count: 6, maxLength: 2 * MIB })
          return image.mirrorSnapshot()
        })
      }
      await waitForSync(a, b, spec, { primarySnapId: id })
      await expectSameContent(a, b, spec, { snapshot: id })
    }
  })

  it('leaves few mirror-snapshots behind on either side', async () => {
    const { a, b } = await pair.connect()
    const spec = await mirroredImage('housekeeping', '16M')
    for (let round = 0; round < 12; round++) {
      await a.with(spec, 'write', (image) => scribble(image, { count: 2 }))
      await mirrorAndCompare(pair, spec)
    }
    for (const client of [a, b])
      await waitFor(
        'old mirror-snapshots to be pruned',
        async () => (await client.with(spec, 'read-only', (image) => image.snapshots())).filter(({ mirror }) => mirror).length <= 3,
        { timeout: 15_000 },
      )
  })

  it('deletes the replica of an image that is no longer mirrored, protected snapshots included', async () => {
    const spec = await mirroredImage('doomed', '16M')
    await pair.a.rbd('snap', 'create', `${spec}@kept`)
    await pair.a.rbd('snap', 'protect', `${spec}@kept`)
    await mirrorAndCompare(pair, spec)
    await pair.a.rbd('mirror', 'image', 'disable', spec)
    await gone(spec)
    expect(await imageStatus(pair.b, spec)).toBeUndefined()
  })

  it('serves namespaces of a pool', async () => {
    const namespace = `${POOL}/team`
    for (const cluster of [pair.a, pair.b]) {
      await cluster.rbd('namespace', 'create', namespace)
      await cluster.rbd('mirror', 'pool', 'enable', namespace, 'image')
    }
    const { a } = await pair.connect()
    const spec = `${namespace}/image`
    await pair.a.rbd('create', spec, '--size', '16M')
    await a.with(spec, 'write', async (image) => {
      await scribble(image)
      await image.enableMirroring('snapshot')
    })
    await mirrorAndCompare(pair, spec)
  })

  it('takes up a pool whose mirroring is enabled while it runs', async () => {
    await Promise.all([pair.a.createPool('snap-later'), pair.b.createPool('snap-later')])
    await mirrorPool(pair.a, pair.b, 'snap-later')
    const { a } = await pair.connect()
    await pair.a.rbd('create', 'snap-later/image', '--size', '16M')
    await a.with('snap-later/image', 'write', async (image) => {
      await scribble(image)
      await image.enableMirroring('snapshot')
    })
    await mirrorAndCompare(pair, 'snap-later/image')
  })
})
