import { afterAll, beforeAll, expect, it } from 'vitest'
import { featureNames } from '../../src/rbd/features.ts'
import type { ImageHeader } from '../../src/rbd/header.ts'
import { FEATURE_FAST_DIFF, FEATURE_OBJECT_MAP } from '../../src/rbd/features.ts'
import { updateFeatures } from '../../src/rbd/operations/features.ts'
import { listMetadata, removeMetadata, setMetadata } from '../../src/rbd/operations/metadata.ts'
import { renameImage } from '../../src/rbd/operations/rename-image.ts'
import { resizeImage } from '../../src/rbd/operations/resize.ts'
import { createSnapshot } from '../../src/rbd/operations/snapshot-create.ts'
import { getSnapshotLimit, protectSnapshot, renameSnapshot, setSnapshotLimit, unprotectSnapshot } from '../../src/rbd/operations/snapshot-edit.ts'
import { removeSnapshot } from '../../src/rbd/operations/snapshot-remove.ts'
import { describeCeph } from '../support/ceph.ts'
import { RbdClient, type RbdInfo, type RbdSnapshot } from '../support/rbd.ts'

const pool = 'rbd-image'
const dataPool = 'rbd-image-data'
const user = { type: 'user' } as const

/** What `rbd info` prints, from our reading of the header. */
function asInfo(header: ImageHeader): Partial<RbdInfo> {
  const striped = header.stripeCount !== 1 || header.stripeUnit !== 2 ** header.order
  return {
    name: header.name,
    id: header.id,
    size: header.size,
    order: header.order,
    object_size: 2 ** header.order,
    snapshot_count: header.snapshots.length,
    block_name_prefix: header.objectPrefix,
    features: featureNames(header.features),
    ...(striped && { stripe_unit: header.stripeUnit, stripe_count: header.stripeCount }),
  }
}

describeCeph('images, read and changed by us, seen by the stock rbd', (pair) => {
  let client: RbdClient
  const { a } = pair ?? {}
  const info = (image: string) => a.rbdJson<RbdInfo>('info', `${pool}/${image}`)
  const snapshots = (image: string) => a.rbdJson<RbdSnapshot[]>('snap', 'ls', '--all', `${pool}/${image}`)
  const checkMaps = async (...specs: string[]) => {
    for (const spec of specs) {
      const checked = await a.tryRbd(['object-map', 'check', '--no-progress', `${pool}/${spec}`])
      expect(checked, spec).toMatchObject({ code: 0, stderr: '' })
    }
    for (const spec of specs) expect((await info(spec)).flags, spec).toEqual([])
  }

  beforeAll(async () => {
    await Promise.all([a.createPool(pool), a.createPool(dataPool)])
    client = await RbdClient.connect(a)
  })
  afterAll(() => client?.close())

  const shapes: [name: string, ...options: string[]][] = [
    ['plain', '--size', '64M'],
    ['bare', '--size', '10M', '--image-feature', 'layering'],
    ['small-objects', '--size', '3M', '--order', '16'],
    ['striped', '--size', '64M', '--stripe-unit', '65536', '--stripe-count', '4'],
    ['data-pool', '--size', '64M', '--data-pool', dataPool],
    ['journaled', '--size', '8M', '--image-feature', 'exclusive-lock,journaling'],
    ['terabytes', '--size', '5T'],
  ]
  it.each(shapes)('reads the header of an image made by rbd: %s', async (name, ...options) => {
    await a.rbd('create', `${pool}/${name}`, ...options)
    const image = await client.open(pool, name, { access: 'read-only' })
    const expected = await info(name)
    expect(expected).toMatchObject(asInfo(image.header))
    if (name === 'data-pool') expect(image.data().poolName).toBe(dataPool)
    expect(image.watcher).toBeUndefined()
  })

  it('reads snapshots and the parent of a clone', async () => {
    await a.rbd('create', `${pool}/parent`, '--size', '16M')
    await a.rbd('snap', 'create', '--no-progress', `${pool}/parent@base`)
    await a.rbd('snap', 'protect', `${pool}/parent@base`)
    await a.rbd('clone', `${pool}/parent@base`, `${pool}/child`)
    const parent = await client.open(pool, 'parent', { access: 'read-only' })
    expect(parent.header.snapshots).toMatchObject([{ name: 'base', size: 16 * 2 ** 20, protection: 'protected', namespace: user }])
    const child = await client.open(pool, 'child', { access: 'read-only' })
    const { parent: expected } = await info('child')
    expect(child.header.parent).toMatchObject({
      imageId: parent.id,
      snapId: parent.header.snapshots[0]!.id,
      overlap: expected!.overlap,
      poolNamespace: '',
    })
  })

  it('makes and removes snapshots, keeping object maps right', async () => {
    const name = 'snapshots'
    await a.rbd('create', `${pool}/${name}`, '--size', '64M')
    const write = (pattern: string) =>
      a.rbd('bench', `${pool}/${name}`, '--io-type', 'write', '--io-size', '64K', '--io-total', '1M', '--io-pattern', pattern)
    await write('seq')
    const image = await client.open(pool, name)
    for (const snapshot of ['one', 'two', 'three']) {
      await createSnapshot(image, { name: snapshot, namespace: user })
      await write('rand')
    }
    expect((await snapshots(name)).map((snapshot) => snapshot.name)).toEqual(['one', 'two', 'three'])
    await checkMaps(name, `${name}@one`, `${name}@two`, `${name}@three`)

    const diff = () => a.rbd('diff', '--whole-object', '--from-snap', 'one', `${pool}/${name}@three`)
    const before = await diff()
    await image.refresh()
    await removeSnapshot(image, image.header.snapshots.find((snapshot) => snapshot.name === 'two')!.id)
    expect(await diff()).toBe(before)
    await checkMaps(name, `${name}@one`, `${name}@three`)
    for (const { id } of [...image.header.snapshots]) await removeSnapshot(image, id)
    expect(await snapshots(name)).toEqual([])
    expect((await a.rados('-p', pool, 'ls')).split('\n').filter((oid) => oid.startsWith(`rbd_object_map.${image.id}.`))).toEqual([])
    await checkMaps(name)
  })

  it('loses no change when snapshots are removed after a removal that was interrupted', async () => {
    const name = 'interrupted'
    await a.rbd('create', `${pool}/${name}`, '--size', '64M')
    const image = await client.open(pool, name)
    const stock = (await pair.connect()).a
    for (let snapshot = 0; snapshot <= 3; snapshot++) {
      await stock.with(`${pool}/${name}`, 'write', (opened) => opened.write(snapshot * 4 * 2 ** 20, Buffer.from(`before ${snapshot}`)))
      await createSnapshot(image, { name: String(snapshot), namespace: user })
    }
    const [three, two, one] = (await image.refresh()).snapshots
    const diff = () => a.rbd('diff', '--whole-object', '--from-snap', '0', `${pool}/${name}@3`)
    const before = await diff()
    expect(before.trim().split('\n')).toHaveLength(4)
    // as if it had died between the object map and the header
    await image.lock!.acquire()
    await image.objectMap!.removeSnapshot(two!.id)
    await image.lock!.release()
    await removeSnapshot(image, one!.id)
    await removeSnapshot(image, two!.id)
    expect((await snapshots(name)).map(({ id }) => BigInt(id))).toContain(three!.id)
    expect(await diff()).toBe(before)
    await checkMaps(name, `${name}@0`, `${name}@3`)
  })

  it('uses a snapshot id allocated ahead, and takes another when it has become too old', async () => {
    await a.rbd('create', `${pool}/ahead`, '--size', '4M')
    const image = await client.open(pool, 'ahead')
    const [old, fresh] = [await image.data().createSelfManagedSnap(), await image.data().createSelfManagedSnap()]
    await createSnapshot(image, { name: 'fresh', namespace: user, snapId: fresh })
    await createSnapshot(image, { name: 'stale', namespace: user, snapId: old })
    const ids = (await snapshots('ahead')).map(({ id }) => BigInt(id))
    expect(ids[0]).toBe(fresh)
    expect(ids[1]).toBeGreaterThan(fresh)
    await expect(createSnapshot(image, { name: 'fresh', namespace: user })).rejects.toMatchObject({ code: 'EEXIST' })
  })

  it('protects, renames and limits snapshots', async () => {
    await a.rbd('create', `${pool}/edits`, '--size', '4M')
    const image = await client.open(pool, 'edits')
    await createSnapshot(image, { name: 's', namespace: user })
    const { id } = image.header.snapshots[0]!
    await protectSnapshot(image, id)
    await renameSnapshot(image, id, 'renamed')
    expect(await snapshots('edits')).toMatchObject([{ name: 'renamed', protected: 'true' }])
    await expect(removeSnapshot(image, id)).rejects.toMatchObject({ code: 'EBUSY' })

    await a.rbd('clone', '--rbd-default-clone-format', '1', `${pool}/edits@renamed`, `${pool}/edits-child`)
    await expect(unprotectSnapshot(image, id)).rejects.toMatchObject({ code: 'EBUSY' })
    expect(await snapshots('edits')).toMatchObject([{ protected: 'true' }])
    await a.rbd('rm', '--no-progress', `${pool}/edits-child`)
    await unprotectSnapshot(image, id)
    expect(await snapshots('edits')).toMatchObject([{ protected: 'false' }])

    await setSnapshotLimit(image, 1n)
    expect(await getSnapshotLimit(image)).toBe(1n)
    await expect(createSnapshot(image, { name: 'too many', namespace: user })).rejects.toMatchObject({ code: 'EDQUOT' })
    await removeSnapshot(image, id)
    expect(await snapshots('edits')).toEqual([])
  })

  it('moves a snapshot with children of format v2 to the trash, from where it goes with the last child', async () => {
    await a.rbd('create', `${pool}/v2`, '--size', '4M')
    await a.rbd('snap', 'create', '--no-progress', `${pool}/v2@s`)
    await a.rbd('clone', '--rbd-default-clone-format', '2', `${pool}/v2@s`, `${pool}/v2-child`)
    const image = await client.open(pool, 'v2')
    const { id } = image.header.snapshots[0]!
    await removeSnapshot(image, id)
    expect(await snapshots('v2')).toMatchObject([{ id: Number(id), namespace: { type: 'trash' } }])
    await expect(removeSnapshot(image, id)).rejects.toMatchObject({ code: 'EBUSY' })
    await a.rbd('rm', '--no-progress', `${pool}/v2-child`)
    expect(await snapshots('v2')).toEqual([])
  })

  it('sets metadata, renames the image', async () => {
    await a.rbd('create', `${pool}/named`, '--size', '4M')
    const image = await client.open(pool, 'named')
    await setMetadata(image, 'key', 'välue')
    expect(await a.rbd('image-meta', 'get', `${pool}/named`, 'key')).toBe('välue\n')
    await a.rbd('image-meta', 'set', `${pool}/named`, 'other', 'x')
    expect(await listMetadata(image.io, image.id)).toEqual(new Map([['key', Buffer.from('välue')], ['other', Buffer.from('x')]]))
    await removeMetadata(image, 'key')
    await removeMetadata(image, 'key')
    expect((await a.tryRbd(['image-meta', 'get', `${pool}/named`, 'key'])).code).not.toBe(0)

    await renameImage(image, 'other-name')
    expect(image.header.name).toBe('other-name')
    expect((await info('other-name')).id).toBe(image.id)
    expect((await a.tryRbd(['info', `${pool}/named`])).code).toBe(2)
    await expect(renameImage(image, 'plain')).rejects.toMatchObject({ code: 'EEXIST' })
  })

  it.each([
    ['plain', []],
    ['striped', ['--stripe-unit', '65536', '--stripe-count', '4']],
  ])('grows and shrinks, removing what is cut off: %s', async (kind, options) => {
    const name = `resized-${kind}`
    await a.rbd('create', `${pool}/${name}`, '--size', '48M', ...options)
    await a.rbd('bench', `${pool}/${name}`, '--io-type', 'write', '--io-size', '1M', '--io-total', '48M')
    const image = await client.open(pool, name)
    await createSnapshot(image, { name: 'whole', namespace: user })
    await resizeImage(image, { size: 80 * 2 ** 20, allowShrink: false })
    expect((await info(name)).size).toBe(80 * 2 ** 20)
    await checkMaps(name)
    await expect(resizeImage(image, { size: 2 ** 20, allowShrink: false })).rejects.toMatchObject({ code: 'EINVAL' })

    const kept = 9 * 2 ** 20 + 4096
    await resizeImage(image, { size: kept, allowShrink: true })
    await checkMaps(name, `${name}@whole`)
    const allocated = (await a.rbdJson<{ offset: number; length: number }[]>('diff', `${pool}/${name}`)).reduce((sum, { length }) => sum + length, 0)
    expect(allocated).toBe(kept)
    await resizeImage(image, { size: 48 * 2 ** 20, allowShrink: true })
    const contents = Buffer.alloc(48 * 2 ** 20)
    const stock = (await pair.connect()).a
    await stock.with(`${pool}/${name}`, 'read-only', (opened) => opened.read(0, contents))
    expect(contents.subarray(0, kept).includes(0)).toBe(false)
    expect(contents.subarray(kept).every((byte) => byte === 0)).toBe(true)
    await checkMaps(name)
  })

  it('switches object-map and fast-diff off and on', async () => {
    await a.rbd('create', `${pool}/features`, '--size', '16M')
    const image = await client.open(pool, 'features')
    await createSnapshot(image, { name: 's', namespace: user })
    await updateFeatures(image, { features: FEATURE_OBJECT_MAP, enabled: false })
    expect((await info('features')).features).toEqual(['layering', 'exclusive-lock', 'deep-flatten'])
    await updateFeatures(image, { features: FEATURE_FAST_DIFF, enabled: true })
    expect(await info('features')).toMatchObject({
      features: ['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'deep-flatten'],
      flags: ['object map invalid', 'fast diff invalid'],
    })
    await a.rbd('object-map', 'rebuild', '--no-progress', `${pool}/features`)
    await a.rbd('object-map', 'rebuild', '--no-progress', `${pool}/features@s`)
    await checkMaps('features', 'features@s')
  })
})
