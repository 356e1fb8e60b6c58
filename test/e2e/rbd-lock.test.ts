import { spawn } from 'node:child_process'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Errno } from '../../src/rados/errors.ts'
import { replicaLockPolicy } from '../../src/rbd/lock-policy.ts'
import { setMetadata } from '../../src/rbd/operations/metadata.ts'
import { renameImage } from '../../src/rbd/operations/rename-image.ts'
import { resizeImage } from '../../src/rbd/operations/resize.ts'
import { createSnapshot } from '../../src/rbd/operations/snapshot-create.ts'
import { removeSnapshot } from '../../src/rbd/operations/snapshot-remove.ts'
import { describeCeph } from '../support/ceph.ts'
import { RbdClient, type RbdSnapshot } from '../support/rbd.ts'
import { waitFor } from '../support/wait.ts'

const pool = 'rbd-lock'
const user = { type: 'user' } as const

interface Locker {
  id: string
  locker: string
  address: string
}

describeCeph('exclusive locks, between us and stock clients', (pair) => {
  let client: RbdClient
  const { a } = pair ?? {}
  let images = 0
  const create = async (...options: string[]) => {
    const name = `image-${++images}`
    await a.rbd('create', `${pool}/${name}`, '--size', '16M', ...options)
    return name
  }
  const lockers = (image: string) => a.rbdJson<Locker[]>('lock', 'ls', `${pool}/${image}`)
  const watchers = async (image: string) => (await a.rbdJson<{ watchers: { client: number; cookie: number }[] }>('status', `${pool}/${image}`)).watchers
  const snapshots = (image: string) => a.rbdJson<RbdSnapshot[]>('snap', 'ls', '--all', `${pool}/${image}`)
  const checkMap = async (spec: string) =>
    expect(await a.tryRbd(['object-map', 'check', '--no-progress', `${pool}/${spec}`])).toMatchObject({ code: 0, stderr: '' })

  beforeAll(async () => {
    await a.createPool(pool)
    client = await RbdClient.connect(a)
  })
  afterAll(() => client?.close())

  it('is seen by rbd as the lock of a watcher, and gone after the release', async () => {
    const name = await create()
    const image = await client.open(pool, name)
    expect(await image.lock!.acquire()).toBe('acquired')
    const handle = image.watcher!.cookie!
    expect(await lockers(name)).toMatchObject([{ id: `auto ${handle}`, locker: `client.${client.cluster.instanceId}` }])
    expect(await watchers(name)).toMatchObject([{ client: Number(client.cluster.instanceId), cookie: Number(handle) }])
    await image.lock!.release()
    expect(await lockers(name)).toEqual([])
    await image.close()
    expect(await watchers(name)).toEqual([])
  })

  it('goes to a stock client that writes, and comes back', async () => {
    const name = await create()
    const image = await client.open(pool, name)
    await image.lock!.acquire()
    const stock = (await pair.connect()).a
    await stock.with(`${pool}/${name}`, 'write', async (other) => {
      await other.write(0, Buffer.from('theirs'))
      await other.flush()
      expect(image.lock!.owned).toBe(false)
      expect(await lockers(name)).toHaveLength(1)
      expect(await image.lock!.tryAcquire()).toBe('busy')

      expect(await image.lock!.acquire()).toBe('acquired')
      expect((await lockers(name))[0]!.locker).toBe(`client.${client.cluster.instanceId}`)
      await other.write(4096, Buffer.from('theirs again'))
      await other.flush()
      expect(image.lock!.owned).toBe(false)
    })
    await checkMap(name)
    expect((await a.ceph('osd', 'blocklist', 'ls')).trim()).toBe('')
  })

  it('is kept by a replica: stock clients can not write, nor have anything done but what a forced promotion asks for', async () => {
    const name = await create()
    const image = await client.open(pool, name, { lockPolicy: replicaLockPolicy })
    await image.lock!.acquire()
    const stock = (await pair.connect()).a
    await stock.with(`${pool}/${name}`, 'write', async (other) => {
      await expect(other.write(0, Buffer.from('theirs'))).rejects.toThrow(/errno 30/)
      await expect(other.createSnapshot('theirs')).rejects.toThrow(/errno 30/)
    })
    expect(image.lock!.owned).toBe(true)
    expect(await snapshots(name)).toEqual([])
  })

  it('does for stock clients what they ask its owner for', async () => {
    const name = await create()
    const image = await client.open(pool, name)
    await image.lock!.acquire()
    await a.rbd('snap', 'create', '--no-progress', `${pool}/${name}@theirs`)
    expect(image.lock!.owned).toBe(true)
    expect(image.header.snapshots.map((snapshot) => snapshot.name)).toEqual(['theirs'])
    await a.rbd('image-meta', 'set', `${pool}/${name}`, 'key', 'value')
    await a.rbd('resize', '--no-progress', '--size', '32M', `${pool}/${name}`)
    expect(image.header.size).toBe(32 * 2 ** 20)
    await a.rbd('resize', '--no-progress', '--allow-shrink', '--size', '8M', `${pool}/${name}`)
    await a.rbd('snap', 'protect', `${pool}/${name}@theirs`)
    await a.rbd('snap', 'unprotect', `${pool}/${name}@theirs`)
    await a.rbd('snap', 'rename', `${pool}/${name}@theirs`, `${pool}/${name}@renamed`)
    await a.rbd('snap', 'rm', '--no-progress', `${pool}/${name}@renamed`)
    await a.rbd('feature', 'disable', `${pool}/${name}`, 'object-map')
    expect(image.lock!.owned).toBe(true)
    expect(image.header).toMatchObject({ size: 8 * 2 ** 20, snapshots: [] })
    await image.close()
    expect(await snapshots(name)).toEqual([])
  })

  it('hands operations to a stock owner, which stays the owner', async () => {
    const name = await create()
    const image = await client.open(pool, name)
    const stock = (await pair.connect()).a
    await stock.with(`${pool}/${name}`, 'write', async (other) => {
      await other.write(0, Buffer.from('theirs'))
      const [owner] = await lockers(name)
      await createSnapshot(image, { name: 'ours', namespace: user })
      expect(image.header.snapshots.map((snapshot) => snapshot.name)).toEqual(['ours'])
      await expect(createSnapshot(image, { name: 'ours', namespace: user })).rejects.toMatchObject({ errno: Errno.EEXIST })
      await setMetadata(image, 'key', 'value')
      await resizeImage(image, { size: 32 * 2 ** 20, allowShrink: false })
      await renameImage(image, `${name}-renamed`)
      await removeSnapshot(image, image.header.snapshots[0]!.id)
      expect(await lockers(`${name}-renamed`)).toEqual([owner])
      expect(image.header).toMatchObject({ name: `${name}-renamed`, size: 32 * 2 ** 20, snapshots: [] })
    })
  })

  it('borrows a free lock for an operation, and gives it back', async () => {
    const name = await create()
    const image = await client.open(pool, name)
    await createSnapshot(image, { name: 's', namespace: user })
    expect(image.lock!.owned).toBe(false)
    expect(await lockers(name)).toEqual([])
    await checkMap(name)
  })

  it('is not taken from those who locked the image by other means', async () => {
    const name = await create()
    await a.rbd('lock', 'add', `${pool}/${name}`, 'an operator')
    const image = await client.open(pool, name)
    expect(await image.lock!.acquire()).toBe('refused')
    await expect(createSnapshot(image, { name: 's', namespace: user })).rejects.toMatchObject({ errno: Errno.EROFS })
  })

  it('hears of changes by others', async () => {
    const name = await create()
    const image = await client.open(pool, name)
    const heard = new Promise<void>((resolve) => image.onUpdate(resolve))
    await a.rbd('snap', 'create', '--no-progress', `${pool}/${name}@theirs`)
    await heard
    expect((await image.refreshIfNeeded()).snapshots.map((snapshot) => snapshot.name)).toEqual(['theirs'])
  })

  it('is broken when its owner has died, which is fenced off first', async () => {
    const name = await create()
    const writer = spawn('rbd', ['-c', a.conf, 'bench', `${pool}/${name}`, '--io-type', 'write', '--io-size', '4K', '--io-total', '100G'])
    const ended = new Promise((resolve) => writer.once('exit', resolve))
    const [owner] = await waitFor('a stock client to have the lock', async () => {
      const found = await lockers(name)
      return found.length > 0 ? found : undefined
    })
    const image = await client.open(pool, name)
    expect(await image.lock!.tryAcquire()).toBe('busy')
    writer.kill('SIGKILL')
    await ended
    expect(await image.lock!.acquire()).toBe('acquired')
    expect(await a.ceph('osd', 'blocklist', 'ls')).toContain(owner!.address)
    await image.close()
    await a.ceph('osd', 'blocklist', 'rm', owner!.address)
    expect(await lockers(name)).toEqual([])
  })

  it('is lost with a connection that is blocklisted', async () => {
    const name = await create()
    const doomed = await RbdClient.connect(a)
    const image = await doomed.open(pool, name)
    await image.lock!.acquire()
    const lost = new Promise<Error>((resolve) => image.lock!.onLost(resolve))
    const address = await doomed.cluster.address()
    await a.ceph('osd', 'blocklist', 'add', address)
    expect(await lost).toMatchObject({ errno: Errno.ESHUTDOWN })
    expect(image.lock!.owned).toBe(false)
    await doomed.close()
    await a.ceph('osd', 'blocklist', 'rm', address)
    const successor = await client.open(pool, name)
    expect(await successor.lock!.acquire()).toBe('acquired')
  })
})
