import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemRandom } from '../../src/base/random.ts'
import { dirAddImage } from '../../src/cls/rbd/client.ts'
import { zeroTime } from '../../src/encoding/codec.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import type { WriteOperation } from '../../src/rados/operation.ts'
import { createImage, generateImageId, type ImageToCreate } from '../../src/rbd/create-image.ts'
import { findImageId, findImageName, listImages } from '../../src/rbd/directory.ts'
import {
  FEATURE_DEEP_FLATTEN,
  FEATURE_EXCLUSIVE_LOCK,
  FEATURE_FAST_DIFF,
  FEATURE_LAYERING,
  FEATURE_OBJECT_MAP,
} from '../../src/rbd/features.ts'
import { RBD_DIRECTORY } from '../../src/rbd/names.ts'
import { removeImage, type RemoveOptions } from '../../src/rbd/remove-image.ts'
import { findInTrash, listTrash, moveToTrash, removeTrashEntry, setTrashState } from '../../src/rbd/trash.ts'
import { describeCeph } from '../support/ceph.ts'
import { RbdClient, type RbdInfo, type RbdSnapshot } from '../support/rbd.ts'

const pool = 'rbd-create'
const dataPool = 'rbd-create-data'
const MiB = 2 ** 20
const lockFeatures = FEATURE_LAYERING | FEATURE_EXCLUSIVE_LOCK
const usual = lockFeatures | FEATURE_OBJECT_MAP | FEATURE_FAST_DIFF | FEATURE_DEEP_FLATTEN

describeCeph('images made and removed by us', (pair) => {
  let client: RbdClient
  let io: IoCtx
  const { a } = pair ?? {}
  const info = (image: string) => a.rbdJson<RbdInfo>('info', `${pool}/${image}`)
  const objects = async (from = pool) => (await a.rados('-p', from, 'ls', '--all')).split('\n').map((line) => line.trim()).filter(Boolean)
  const newImage = (name: string, rest: Partial<ImageToCreate> = {}): ImageToCreate => ({
    id: generateImageId(client.cluster.instanceId, systemRandom),
    name,
    size: 64 * MiB,
    order: 22,
    features: usual,
    ...rest,
  })
  const removal = (): RemoveOptions => ({ ...client.options, snapshots: 'all' })

  beforeAll(async () => {
    await Promise.all([a.createPool(pool), a.createPool(dataPool)])
    await a.rbd('namespace', 'create', `${pool}/ns`)
    client = await RbdClient.connect(a)
    io = await client.pool(pool)
  })
  afterAll(() => client?.close())

  it('makes images that rbd knows as its own', async () => {
    const plain = newImage('plain')
    await createImage(io, plain)
    await a.rbd('create', `${pool}/stock`, '--size', '64M')
    const { id, name, block_name_prefix: prefix, ...ours } = await info('plain')
    const { id: _, name: __, block_name_prefix: ___, ...theirs } = await info('stock')
    const untimed = (value: object) => Object.fromEntries(Object.entries(value).filter(([key]) => !key.endsWith('timestamp')))
    expect(untimed(ours)).toEqual(untimed(theirs))
    expect({ id, name, prefix }).toEqual({ id: plain.id, name: 'plain', prefix: `rbd_data.${plain.id}` })
    await a.rbd('bench', `${pool}/plain`, '--io-type', 'write', '--io-size', '1M', '--io-total', '8M')
    expect(await a.tryRbd(['object-map', 'check', '--no-progress', `${pool}/plain`])).toMatchObject({ code: 0, stderr: '' })
    expect(await findImageId(io, 'plain')).toBe(plain.id)
    expect(await findImageName(io, plain.id)).toBe('plain')
    expect(await findImageId(io, 'none')).toBeUndefined()
    expect(await listImages(io)).toEqual(new Map([['plain', plain.id], ['stock', (await info('stock')).id]]))
  })

  it('makes them with striping, data pool, other object sizes, few features, in a namespace', async () => {
    await createImage(io, newImage('striped', { stripeUnit: 65536, stripeCount: 8, order: 20 }))
    expect(await info('striped')).toMatchObject({ stripe_unit: 65536, stripe_count: 8, order: 20 })
    const data = await client.pool(dataPool)
    const split = newImage('split', { dataPoolId: data.poolId })
    await createImage(io, split)
    expect(await info('split')).toMatchObject({ data_pool: dataPool, block_name_prefix: `rbd_data.${io.poolId}.${split.id}` })
    await createImage(io, newImage('bare', { features: FEATURE_LAYERING, size: 5 * MiB }))
    expect(await info('bare')).toMatchObject({ features: ['layering'], size: 5 * MiB })
    await createImage(await client.pool(pool, 'ns'), newImage('spaced'))
    expect(await info('ns/spaced')).toMatchObject({ name: 'spaced' })
    for (const image of ['striped', 'split', 'ns/spaced']) {
      await a.rbd('bench', `${pool}/${image}`, '--io-type', 'write', '--io-size', '1M', '--io-total', '4M')
      expect(await a.tryRbd(['object-map', 'check', '--no-progress', `${pool}/${image}`])).toMatchObject({ code: 0, stderr: '' })
    }
  })

  it.each([1, 2] as const)('makes clones of format v%i', async (cloneFormat) => {
    await a.rbd('create', `${pool}/parent${cloneFormat}`, '--size', '16M')
    await a.rbd('bench', `${pool}/parent${cloneFormat}`, '--io-type', 'write', '--io-size', '1M', '--io-total', '16M')
    await a.rbd('snap', 'create', '--no-progress', `${pool}/parent${cloneFormat}@s`)
    const parent = await client.open(io, `parent${cloneFormat}`, { access: 'read-only' })
    const clone = newImage(`clone${cloneFormat}`, {
      size: 16 * MiB,
      parent: {
        poolId: io.poolId,
        poolNamespace: '',
        imageId: parent.id,
        snapId: parent.header.snapshots[0]!.id,
        overlap: 16 * MiB,
        cloneFormat,
        io,
      },
    })
    if (cloneFormat === 1) {
      await expect(createImage(io, clone)).rejects.toMatchObject({ code: 'EINVAL' })
      await a.rbd('snap', 'protect', `${pool}/parent1@s`)
    }
    await createImage(io, clone)
    await createImage(io, clone)
    expect(await info(clone.name)).toMatchObject({
      parent: { image: parent.header.name, snapshot: 's', overlap: 16 * MiB },
      op_features: cloneFormat === 2 ? ['clone-child'] : [],
    })
    expect((await a.rbd('children', `${pool}/parent${cloneFormat}@s`)).trim()).toBe(`${pool}/clone${cloneFormat}`)
    expect(await a.rbd('export', '--no-progress', `${pool}/${clone.name}`, '-')).toBe(
      await a.rbd('export', '--no-progress', `${pool}/parent${cloneFormat}@s`, '-'),
    )

    await removeImage(io, clone.id, removal())
    expect((await a.rbd('children', `${pool}/parent${cloneFormat}@s`)).trim()).toBe('')
    expect((await objects()).filter((oid) => oid.includes(clone.id))).toEqual([])
  })

  it('goes on with a creation that was interrupted anywhere', async () => {
    const image = newImage('interrupted', { stripeUnit: 65536, stripeCount: 2 })
    let writes = 0
    let failAt = 0
    const faulty: IoCtx = Object.assign(Object.create(io) as IoCtx, {
      write: (oid: string, operation: WriteOperation) => (++writes === failAt ? Promise.reject(new Error('interrupted')) : io.write(oid, operation)),
    })
    for (failAt = 1; ; failAt++) {
      writes = 0
      const failed = await createImage(faulty, image).then(
        () => false,
        () => true,
      )
      if (!failed) break
    }
    expect(failAt).toBeGreaterThan(4)
    expect(await info('interrupted')).toMatchObject({ id: image.id, stripe_count: 2 })
    expect(await a.tryRbd(['object-map', 'check', '--no-progress', `${pool}/interrupted`])).toMatchObject({ code: 0, stderr: '' })
  })

  it('refuses names and ids that are taken, and what can not be', async () => {
    await a.rbd('create', `${pool}/taken`, '--size', '1M')
    await expect(createImage(io, newImage('taken'))).rejects.toMatchObject({ code: 'EEXIST' })
    const { id } = await info('taken')
    await expect(createImage(io, newImage('other', { id }))).rejects.toMatchObject({ code: 'EEXIST' })
    expect(await findImageId(io, 'other')).toBeUndefined()
    expect((await info('taken')).id).toBe(id)
    await expect(createImage(io, newImage('x', { order: 30 }))).rejects.toMatchObject({ code: 'EDOM' })
    await expect(createImage(io, newImage('x', { stripeUnit: 100, stripeCount: 2 }))).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(createImage(io, newImage('x', { features: FEATURE_OBJECT_MAP }))).rejects.toMatchObject({ code: 'EINVAL' })
    expect((await objects()).filter((oid) => oid === 'rbd_id.x')).toEqual([])
  })

  it('removes images with all their snapshots and objects', async () => {
    const before = await objects()
    const beforeData = await objects(dataPool)
    const data = await client.pool(dataPool)
    for (const image of [newImage('full'), newImage('full-split', { dataPoolId: data.poolId }), newImage('full-bare', { features: FEATURE_LAYERING })]) {
      await createImage(io, image)
      for (let snapshot = 1; snapshot <= 3; snapshot++) {
        await a.rbd('bench', `${pool}/${image.name}`, '--io-type', 'write', '--io-size', '1M', '--io-total', '16M', '--io-pattern', 'rand')
        await a.rbd('snap', 'create', '--no-progress', `${pool}/${image.name}@${snapshot}`)
      }
      await a.rbd('snap', 'protect', `${pool}/${image.name}@2`)
      await expect(removeImage(io, image.id, { ...removal(), snapshots: 'mirror' })).rejects.toMatchObject({ code: 'ENOTEMPTY' })
      await removeImage(io, image.id, removal())
      await removeImage(io, image.id, removal())
      expect((await a.tryRbd(['info', `${pool}/${image.name}`])).code).toBe(2)
    }
    const trimmed = (list: string[]) => list.filter((oid) => !oid.startsWith('rbd_data')).sort()
    expect(trimmed(await objects())).toEqual(trimmed(before))
    expect(await listImages(io)).not.toContain('full')
    expect(trimmed(await objects(dataPool))).toEqual(trimmed(beforeData))
  })

  it('removes no image that somebody uses', async () => {
    const image = newImage('used')
    await createImage(io, image)
    const stock = (await pair.connect()).a
    await stock.with(`${pool}/used`, 'write', async () => {
      await expect(removeImage(io, image.id, removal())).rejects.toMatchObject({ code: 'EBUSY' })
    })
    expect((await info('used')).id).toBe(image.id)
    await removeImage(io, image.id, removal())
  })

  it('forgets what is left of an image whose header is gone', async () => {
    await dirAddImage.call(io, RBD_DIRECTORY, { name: 'ghost', id: 'ghostid' })
    await removeImage(io, 'ghostid', removal())
    expect(await listImages(io)).not.toContain('ghost')
  })

  it('throws images away, and removes them from the trash', async () => {
    const image = newImage('rubbish')
    await createImage(io, image)
    const spec = { source: 'mirroring', name: 'rubbish', deletionTime: zeroTime, defermentEndTime: zeroTime, state: 'normal' } as const
    await moveToTrash(io, image.id, spec)
    await moveToTrash(io, image.id, spec)
    expect(await a.rbdJson<object[]>('trash', 'ls', '--all', pool)).toMatchObject([{ id: image.id, name: 'rubbish' }])
    expect(await listTrash(io)).toEqual(new Map([[image.id, spec]]))
    expect((await client.open(io, 'plain')).header.inTrash).toBe(false)
    await setTrashState(io, image.id, 'removing', 'normal')
    expect(await findInTrash(io, image.id)).toMatchObject({ state: 'removing' })
    await removeImage(io, image.id, removal())
    await removeTrashEntry(io, image.id)
    expect(await a.rbdJson<RbdSnapshot[]>('trash', 'ls', '--all', pool)).toEqual([])
    expect((await objects()).filter((oid) => oid.includes(image.id))).toEqual([])
  })
})
