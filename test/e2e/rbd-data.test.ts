import { randomBytes, randomInt } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Semaphore } from '../../src/base/semaphore.ts'
import { WindowWriter } from '../../src/mirror/journal/window-writer.ts'
import { WriteWindow } from '../../src/mirror/journal/write-window.ts'
import { layoutOf } from '../../src/rbd/data/striping.ts'
import type { Image } from '../../src/rbd/image.ts'
import { flattenImage } from '../../src/rbd/operations/flatten.ts'
import { createSnapshot } from '../../src/rbd/operations/snapshot-create.ts'
import { readImage } from '../../src/rbd/read-image.ts'
import { discardImage, writeImage } from '../../src/rbd/write-image.ts'
import { describeCeph } from '../support/ceph.ts'
import { RbdClient, type RbdInfo } from '../support/rbd.ts'

const pool = 'rbd-data'
const MiB = 2 ** 20
const size = 16 * MiB

describeCeph('data read and written by us and by stock clients', (pair) => {
  let client: RbdClient
  const { a } = pair ?? {}
  /** A discard of what an object does not have leaves it as it is, but not its state: changed (1) where clean (3) would do is no error. */
  const checkMap = async (spec: string) => {
    const { code, stderr } = await a.tryRbd(['object-map', 'check', '--no-progress', `${pool}/${spec}`])
    const errors = stderr.split('\n').filter((line) => line.includes('object map error') && !line.endsWith('marked as 1, but should be 3'))
    expect({ code, errors }, spec).toEqual({ code: 0, errors: [] })
  }
  const stockRead = async (image: string, snapshot?: bigint) => {
    const buffer = Buffer.alloc(size)
    const stock = (await pair.connect()).a
    await stock.with(`${pool}/${image}`, 'read-only', async (opened) => {
      if (snapshot !== undefined) await opened.setSnapshot(snapshot)
      await opened.read(0, buffer)
    })
    return buffer
  }
  /** Random writes and discards of all sizes, on the image and on what it should be. */
  const scribble = async (image: Image, model: Buffer, changes: number) => {
    for (let change = 0; change < changes; change++) {
      const length = 1 + randomInt(change % 3 === 0 ? 6 * MiB : 70_000)
      const offset = randomInt(size - length)
      if (change % 4 === 3) {
        await discardImage(image, offset, length)
        model.fill(0, offset, offset + length)
      } else {
        const data = randomBytes(length)
        await writeImage(image, offset, data)
        data.copy(model, offset)
      }
    }
  }

  beforeAll(async () => {
    await a.createPool(pool)
    client = await RbdClient.connect(a)
  })
  afterAll(() => client?.close())

  it.each([
    ['plain', []],
    ['striped', ['--stripe-unit', '16384', '--stripe-count', '3', '--object-size', '1M']],
    ['bare', ['--image-feature', 'layering']],
  ])('is the same on both sides, at the head and in snapshots: %s', async (name, options) => {
    await a.rbd('create', `${pool}/${name}`, '--size', '16M', ...options)
    const image = await client.open(pool, name)
    if (image.usesLock) await image.lock!.acquire()
    const model = Buffer.alloc(size)
    const kept: [bigint, Buffer][] = []
    for (let round = 0; round < 3; round++) {
      await scribble(image, model, 12)
      await createSnapshot(image, { name: `s${round}`, namespace: { type: 'user' } })
      kept.push([image.header.snapshots[0]!.id, Buffer.from(model)])
    }
    await scribble(image, model, 6)
    for (const [snap, contents] of kept) {
      expect((await stockRead(name, snap)).equals(contents)).toBe(true)
      expect((await readImage(image, { offset: 0, length: size, snap })).equals(contents)).toBe(true)
    }
    expect((await stockRead(name)).equals(model)).toBe(true)
    expect((await readImage(image, { offset: 5, length: size - 5 })).equals(model.subarray(5))).toBe(true)
    await image.lock?.release()
    if (image.usesLock) for (const spec of [name, `${name}@s0`, `${name}@s1`, `${name}@s2`]) await checkMap(spec)
    await expect(writeImage(image, size, Buffer.from('x'))).rejects.toMatchObject({ code: 'EINVAL' })
  })

  it.each([
    { kind: 'plain', options: [], parentSize: 12, zeros: [4, 8] },
    { kind: 'striped', options: ['--stripe-unit', '16384', '--stripe-count', '3', '--object-size', '1M'], parentSize: 12, zeros: [3, 6] },
    { kind: 'partial', options: [], parentSize: 11, zeros: [5, 6] },
  ] as const)('of a clone comes from its parent until it is written, in snapshots too, and stays after it was flattened: $kind', async (variant) => {
    const { kind, options, parentSize, zeros } = variant
    const name = `clone-${kind}`
    await a.rbd('create', `${pool}/parent-${kind}`, '--size', `${parentSize}M`)
    const parent = await client.open(pool, `parent-${kind}`)
    await parent.lock!.acquire()
    const model = Buffer.alloc(size)
    await writeImage(parent, 0, randomBytes(parentSize * MiB).fill(0, zeros[0] * MiB, zeros[1] * MiB))
    await createSnapshot(parent, { name: 's', namespace: { type: 'user' } })
    ;(await readImage(parent, { offset: 0, length: parentSize * MiB })).copy(model)
    await parent.lock!.release()
    await a.rbd('clone', `${pool}/parent-${kind}@s`, `${pool}/${name}`, '--rbd-default-clone-format', '2', ...options)
    await a.rbd('resize', '--no-progress', '--size', '16M', `${pool}/${name}`)

    const image = await client.open(pool, name)
    await image.lock!.acquire()
    const writer = new WindowWriter(image, new Semaphore(64 * MiB))
    const layout = layoutOf(image.header)
    const kept: [bigint, Buffer][] = []
    for (let round = 0; round < 2; round++) {
      await createSnapshot(image, { name: `s${round}`, namespace: { type: 'user' } })
      kept.push([image.header.snapshots[0]!.id, Buffer.from(model)])
      if (round === 0) {
        // whole objects that nobody but the snapshot still needs of the parent
        await discardImage(image, 8 * MiB, 4 * MiB)
        const window = new WriteWindow(layout)
        window.discard(0, 4 * MiB, 0)
        await writer.apply(window.objects)
        model.fill(0, 0, 4 * MiB).fill(0, 8 * MiB, 12 * MiB)
      }
      await scribble(image, model, 5)
    }
    const check = async () => {
      expect((await readImage(image, { offset: 0, length: size })).equals(model)).toBe(true)
      expect((await stockRead(name)).equals(model)).toBe(true)
      for (const [snap, contents] of kept) {
        expect((await readImage(image, { offset: 0, length: size, snap })).equals(contents)).toBe(true)
        expect((await stockRead(name, snap)).equals(contents)).toBe(true)
      }
    }
    const checkMaps = async () => {
      for (const spec of [name, `${name}@s0`, `${name}@s1`]) await checkMap(spec)
    }
    await check()
    await checkMaps()

    await image.lock!.acquire() // the check has taken it away
    for (let round = 0; round < 3; round++) {
      const window = new WriteWindow(layout)
      for (let change = 0; change < 8; change++) {
        const length = 1 + randomInt(change % 2 === 0 ? 5 * MiB : 70_000)
        const offset = randomInt(size - length)
        const data = randomBytes(length)
        if (change % 4 === 0) window.discard(offset, length, 0)
        else window.write(offset, data)
        if (change % 4 === 0) model.fill(0, offset, offset + length)
        else data.copy(model, offset)
      }
      await writer.apply(window.objects)
      await writer.apply(window.objects)
    }
    await check()
    await checkMaps()

    await flattenImage(image)
    expect(image.header.parent).toBeUndefined()
    expect((await a.rbdJson<RbdInfo>('info', `${pool}/${name}`)).parent).toBeUndefined()
    await check()
    await checkMaps()
    await image.lock!.release()
    await a.rbd('snap', 'rm', '--no-progress', `${pool}/parent-${kind}@s`)
    expect(await a.rbdJson<object[]>('snap', 'ls', '--all', `${pool}/parent-${kind}`)).toEqual([])
  })
})
