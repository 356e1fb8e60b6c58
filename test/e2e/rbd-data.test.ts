import { randomBytes, randomInt } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
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
  const checkMap = async (spec: string) =>
    expect(await a.tryRbd(['object-map', 'check', '--no-progress', `${pool}/${spec}`]), spec).toMatchObject({ code: 0, stderr: '' })
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
    ['plain', []],
    ['striped', ['--stripe-unit', '16384', '--stripe-count', '3', '--object-size', '1M']],
  ])('of a clone comes from its parent until it is written, in snapshots too, and stays after it was flattened: %s', async (kind, options) => {
    const name = `clone-${kind}`
    await a.rbd('create', `${pool}/parent-${kind}`, '--size', '11M')
    const parent = await client.open(pool, `parent-${kind}`)
    await parent.lock!.acquire()
    const model = Buffer.alloc(size)
    await writeImage(parent, 0, randomBytes(10 * MiB).fill(0, 5 * MiB, 6 * MiB))
    await createSnapshot(parent, { name: 's', namespace: { type: 'user' } })
    ;(await readImage(parent, { offset: 0, length: 11 * MiB })).copy(model)
    await parent.lock!.release()
    await a.rbd('clone', `${pool}/parent-${kind}@s`, `${pool}/${name}`, '--rbd-default-clone-format', '2', ...options)
    await a.rbd('resize', '--no-progress', '--size', '16M', `${pool}/${name}`)

    const image = await client.open(pool, name)
    await image.lock!.acquire()
    const kept: [bigint, Buffer][] = []
    for (let round = 0; round < 2; round++) {
      await createSnapshot(image, { name: `s${round}`, namespace: { type: 'user' } })
      kept.push([image.header.snapshots[0]!.id, Buffer.from(model)])
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
    await check()
    for (const spec of [name, `${name}@s0`, `${name}@s1`]) await checkMap(spec)

    await flattenImage(image)
    expect(image.header.parent).toBeUndefined()
    expect((await a.rbdJson<RbdInfo>('info', `${pool}/${name}`)).parent).toBeUndefined()
    await check()
    for (const spec of [name, `${name}@s0`, `${name}@s1`]) await checkMap(spec)
    await image.lock!.release()
    await a.rbd('snap', 'rm', '--no-progress', `${pool}/parent-${kind}@s`)
    expect(await a.rbdJson<object[]>('snap', 'ls', '--all', `${pool}/parent-${kind}`)).toEqual([])
  })
})
