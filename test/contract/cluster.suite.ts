import { describe, expect, test } from 'vitest'
import { Errno, RadosError } from '../../src/rados/errors.ts'
import { WriteOperation } from '../../src/rados/operation.ts'
import { errnoOf, type ContractContext } from './rados.suite.ts'

export function clusterContract(context: ContractContext): void {
  describe('cluster', () => {
    test('says who and what it is', () => {
      const { cluster, other } = context
      expect(cluster.fsid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/)
      expect(cluster.entity).toMatch(/^client\./)
      expect(cluster.instanceId).not.toBe(other.instanceId)
      expect(cluster.fsid).toBe(other.fsid)
    })

    test('finds pools by name and id', async () => {
      const { cluster, fixture } = context
      const pools = await cluster.listPools()
      const found = pools.find(({ name }) => name === fixture.pool)!
      expect(await cluster.lookupPool(fixture.pool)).toBe(found.id)
      const byName = await cluster.openPool(fixture.pool)
      const byId = await cluster.openPoolById(found.id)
      expect(byName).toMatchObject({ poolId: found.id, poolName: fixture.pool, namespace: '', clusterName: cluster.name })
      expect(byId).toMatchObject({ poolId: found.id, poolName: fixture.pool })
      byName.close()
      byId.close()
    })

    test('ENOENT for a pool that does not exist', async () => {
      const { cluster } = context
      expect(await errnoOf(cluster.lookupPool('no-such-pool'))).toBe(Errno.ENOENT)
      expect(await errnoOf(cluster.openPool('no-such-pool'))).toBe(Errno.ENOENT)
      expect(await errnoOf(cluster.openPoolById(987654n))).toBe(Errno.ENOENT)
    })

    test('a command that fails is a result, not an exception', async () => {
      const { cluster } = context
      const failed = await cluster.monCommand({ prefix: 'config-key get', key: 'contract/none' })
      expect(failed.code).toBe(Errno.ENOENT)
      expect((await cluster.monCommand({ prefix: 'no such command' })).code).toBe(Errno.EINVAL)
      const pools = await cluster.monCommand({ prefix: 'osd lspools', format: 'json' })
      expect(pools.code).toBe(0)
      expect(JSON.parse(pools.output.toString())).toBeInstanceOf(Array)
    })

    test('config keys', async () => {
      const { cluster, other } = context
      expect(await cluster.configKeyGet('contract/key')).toBeUndefined()
      await cluster.configKeySet('contract/key', 'first')
      await cluster.configKeySet('contract/key', '{"second": "ünïcode"}')
      expect(await other.configKeyGet('contract/key')).toBe('{"second": "ünïcode"}')
      await cluster.configKeyRemove('contract/key')
      expect(await other.configKeyGet('contract/key')).toBeUndefined()
    })

    test('options', () => {
      expect(context.cluster.option('rbd_default_order')).toBe('22')
      expect(context.cluster.option('no_such_option')).toBeUndefined()
    })

    test('the address is what watchers are listed with', async () => {
      const io = await context.freshIo()
      await io.write('watched', new WriteOperation().create(false))
      const watch = await io.watch('watched', { onNotify: (notification) => notification.ack(), onError: () => undefined })
      const [watcher] = await io.listWatchers('watched')
      expect(watcher!.address).toBe(await context.cluster.address())
      await watch.close()
      io.close()
    })

    test('registers as a service once', async () => {
      const cluster = await context.fixture.connect()
      await cluster.updateServiceStatus({ json: '{"told":"before"}' })
      await cluster.registerService('rbd-mirror', `${cluster.instanceId}`, { id: 'contract', empty: '' })
      await expect.poll(async () => {
        const { output } = await cluster.monCommand({ prefix: 'service status', format: 'json' })
        return (JSON.parse(output.toString()) as Record<string, Record<string, { status: unknown }>>)['rbd-mirror']?.[String(cluster.instanceId)]?.status
      }, { timeout: 20_000 }).toEqual({ json: '{"told":"before"}' })
      await cluster.updateServiceStatus({ json: '{}' })
      expect(await errnoOf(cluster.registerService('rbd-mirror', 'again', {}))).toBe(Errno.EEXIST)
      await cluster.close()
    })

    test('an operation cannot be started after close, nor on a closed context', async () => {
      const cluster = await context.fixture.connect()
      const io = await cluster.openPool(context.fixture.pool)
      const view = io.duplicate({ namespace: 'other' })
      io.close()
      io.close()
      expect(await errnoOf(io.stat('object'))).toBe(Errno.EBADF)
      expect(await errnoOf(view.stat('object'))).toBe(Errno.ENOENT)
      await cluster.close()
      await cluster.close()
      expect(await errnoOf(view.stat('object'))).toBe(Errno.ESHUTDOWN)
      expect(await errnoOf(cluster.monCommand({ prefix: 'osd lspools' }))).toBe(Errno.ESHUTDOWN)
    })

    test('close closes what is open and ends what is in flight', async () => {
      const cluster = await context.fixture.connect()
      const io = await cluster.openPool(context.fixture.pool)
      await io.write('closing', new WriteOperation().create(false))
      await io.watch('closing', { onNotify: (notification) => notification.ack(), onError: () => undefined })
      const inFlight = Promise.allSettled(Array.from({ length: 50 }, () => io.stat('closing')))
      await cluster.close()
      for (const result of await inFlight) {
        if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(RadosError)
      }
      const checking = await context.cluster.openPool(context.fixture.pool)
      expect(await checking.listWatchers('closing')).toEqual([])
      await checking.remove('closing')
      checking.close()
    })
  })

  describe('blocklist', () => {
    test('a blocklisted client loses its watch and every operation', async () => {
      const victim = await context.fixture.connect()
      const io = await context.freshIo(victim)
      await io.write('object', new WriteOperation().create(false))
      const lost = new Promise<Error>((resolve) => {
        void io.watch('object', { onNotify: () => undefined, onError: resolve })
      })
      await context.other.blocklistAdd(await victim.address(), 60)
      await context.other.waitForLatestOsdMap()
      await victim.waitForLatestOsdMap()
      expect(await errnoOf(io.stat('object'))).toBe(Errno.ESHUTDOWN)
      expect(await errnoOf(io.write('object', new WriteOperation().create(false)))).toBe(Errno.ESHUTDOWN)
      expect(await errnoOf(io.watch('object', { onNotify: () => undefined, onError: () => undefined }))).toBe(Errno.ESHUTDOWN)
      expect(await lost).toMatchObject({ errno: expect.toBeOneOf([Errno.ENOTCONN, Errno.ESHUTDOWN]) as number })
      const address = await victim.address()
      await victim.close()
      const removed = await context.other.monCommand({ prefix: 'osd blocklist', blocklistop: 'rm', addr: address })
      expect(removed.code).toBe(0)
    })
  })
}
