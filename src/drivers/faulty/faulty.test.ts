import { describe, expect, test } from 'vitest'
import type { Clock } from '../../base/clock.ts'
import type { Random } from '../../base/random.ts'
import type { Cluster } from '../../rados/cluster.ts'
import { Errno } from '../../rados/errors.ts'
import type { IoCtx, Notification, WatchHandlers } from '../../rados/io-ctx.ts'
import { WriteOperation } from '../../rados/operation.ts'
import { Crashed } from './fault-injector.ts'
import { noFaults, RandomFaults, ScriptedFaults, type FaultPlan } from './fault-plan.ts'
import { FaultyCluster, faultyDriver } from './faulty-cluster.ts'

/** Knows which objects were written, and lets tests notify its one watcher. */
class Fake {
  readonly written: string[] = []
  readonly acks: string[] = []
  handlers: WatchHandlers | undefined
  watchesClosed = 0

  notify(text: string): void {
    const notification: Notification = {
      payload: Buffer.from(text),
      notifyId: 1n,
      notifierId: 2n,
      ack: (payload) => this.acks.push(payload?.toString() ?? ''),
    }
    this.handlers?.onNotify(notification)
  }

  readonly io = {
    clusterName: 'fake',
    poolName: 'pool',
    namespace: '',
    write: async (oid: string) => BigInt(this.written.push(oid)),
    stat: async () => ({ size: this.written.length, mtime: 0 }),
    duplicate: () => this.io,
    close: () => undefined,
    watch: async (_oid: string, handlers: WatchHandlers) => {
      this.handlers = handlers
      return { cookie: 7n, check: () => 3, close: async () => void this.watchesClosed++ }
    },
  } as unknown as IoCtx

  readonly cluster = {
    name: 'fake',
    openPool: async () => this.io,
    listPools: async () => [],
    close: async () => undefined,
  } as unknown as Cluster
}

const operation = () => new WriteOperation().create(true)
/** The random numbers given, over and over. */
function sequence(...numbers: number[]): Random {
  let next = 0
  return { uuid: () => '', bytes: (length) => Buffer.alloc(length), next: () => numbers[next++ % numbers.length]! }
}
async function open(plan: FaultPlan, clock?: Clock) {
  const fake = new Fake()
  const cluster = new FaultyCluster(fake.cluster, plan, clock)
  const io = await cluster.openPool('pool')
  return { fake, cluster, io, faults: cluster.faults }
}

describe('faulty cluster', () => {
  test('without faults it is as the one inside', async () => {
    const { fake, cluster, io } = await open(noFaults)
    expect(cluster.name).toBe('fake')
    expect(await io.write('a', operation())).toBe(1n)
    expect(await io.duplicate({}).stat('a')).toEqual({ size: 1, mtime: 0 })
    expect(fake.written).toEqual(['a'])
    expect(cluster.faults.operations).toBe(3)
  })

  test('an error is not applied, a lost acknowledgement is', async () => {
    const plan = new ScriptedFaults().at(1, { type: 'error', errno: Errno.EIO }).at(2, { type: 'lostAck' })
    const { fake, io } = await open(plan)
    await expect(io.write('a', operation())).rejects.toMatchObject({ errno: Errno.EIO, pool: 'pool', oid: 'a', cluster: 'fake' })
    await expect(io.write('b', operation())).rejects.toMatchObject({ errno: Errno.ETIMEDOUT })
    expect(await io.write('c', operation())).toBe(2n)
    expect(fake.written).toEqual(['b', 'c'])
  })

  test('rules pick operations by what they are', async () => {
    const plan = new ScriptedFaults().on(({ method, oid }) => method === 'write' && oid === 'x', [{ type: 'error', errno: Errno.EBUSY }], 2)
    const { io } = await open(plan)
    await io.write('y', operation())
    await expect(io.write('x', operation())).rejects.toMatchObject({ errno: Errno.EBUSY })
    await expect(io.write('x', operation())).rejects.toMatchObject({ errno: Errno.EBUSY })
    await io.write('x', operation())
  })

  test('delays run on the injected clock', async () => {
    const timers: { ms: number; callback: () => void }[] = []
    const clock: Clock = { now: () => 0, monotonic: () => 0, setTimer: (ms, callback) => (timers.push({ ms, callback }), () => undefined) }
    const { fake, io } = await open(new ScriptedFaults().at(1, { type: 'delay', ms: 250 }), clock)
    const write = io.write('a', operation())
    expect(timers.map(({ ms }) => ms)).toEqual([250])
    expect(fake.written).toEqual([])
    timers[0]!.callback()
    await write
    expect(fake.written).toEqual(['a'])
  })

  test('a blocklisted connection can do nothing any more', async () => {
    const { fake, io, faults } = await open(noFaults)
    const errors: Error[] = []
    await io.watch('object', { onNotify: () => undefined, onError: (error) => errors.push(error) })
    faults.blocklist()
    await expect(io.write('a', operation())).rejects.toMatchObject({ errno: Errno.ESHUTDOWN })
    expect(errors).toMatchObject([{ errno: Errno.ENOTCONN }])
    expect(fake.written).toEqual([])
  })

  test('lost watches say so once and hear nothing', async () => {
    const { fake, io, faults } = await open(noFaults)
    const heard: string[] = []
    const errors: Error[] = []
    const watch = await io.watch('object', {
      onNotify: (one) => (heard.push(one.payload.toString()), one.ack(Buffer.from('ok'))),
      onError: (error) => errors.push(error),
    })
    fake.notify('one')
    expect(watch.check()).toBe(3)
    faults.loseWatches()
    faults.loseWatches()
    fake.notify('two')
    expect(heard).toEqual(['one'])
    expect(fake.acks).toEqual(['ok'])
    expect(errors).toMatchObject([{ errno: Errno.ENOTCONN }])
    expect(() => watch.check()).toThrow(expect.objectContaining({ errno: Errno.ENOTCONN }) as Error)
    await watch.close()
    expect(fake.watchesClosed).toBe(1)
    await io.stat('object') // the connection itself goes on
  })

  test('a dropped notification does not arrive', async () => {
    const { fake, io } = await open(new ScriptedFaults().on(({ kind }) => kind === 'notification', [{ type: 'drop' }]))
    const heard: string[] = []
    await io.watch('object', { onNotify: (one) => heard.push(one.payload.toString()), onError: () => undefined })
    fake.notify('one')
    fake.notify('two')
    expect(heard).toEqual(['two'])
  })

  test.each([true, false])('crash at an operation (applied: %s)', async (applied) => {
    const { fake, io, cluster } = await open(new ScriptedFaults().at(2, { type: 'crash', applied }))
    const heard: string[] = []
    await io.watch('object', { onNotify: (one) => heard.push(one.payload.toString()), onError: (error) => heard.push(error.message) })
    await expect(io.write('a', operation())).rejects.toBeInstanceOf(Crashed)
    await expect(io.write('b', operation())).rejects.toBeInstanceOf(Crashed)
    await expect(cluster.listPools()).rejects.toBeInstanceOf(Crashed)
    fake.notify('unheard')
    expect(fake.written).toEqual(applied ? ['a'] : [])
    expect(heard).toEqual([])
    await cluster.close()
  })

  test('what was on its way when it crashed is not heard of', async () => {
    const { io, faults } = await open(noFaults)
    const write = io.write('a', operation())
    faults.crash()
    await expect(write).rejects.toBeInstanceOf(Crashed)
  })

  test('random faults depend on the random source alone, and stop', async () => {
    const rates = { error: { probability: 0.5, errnos: [Errno.EIO, Errno.EAGAIN] }, lostAck: 0.5, delay: { probability: 0.2, maxMs: 100 }, loseWatches: 0.1, drop: 0.3 }
    const kinds = ['read', 'write', 'notification'] as const
    const draw = (random: Random) => {
      const faults = new RandomFaults(random, rates)
      return Array.from({ length: 30 }, (_, index) => faults.faultsFor({ kind: kinds[index % 3]!, method: 'm', index }))
    }
    const numbers = [0.05, 0.6, 0.9, 0.3, 0.4, 0.7, 0.2, 0.8, 0.15, 0.45, 0.55]
    const drawn = draw(sequence(...numbers))
    expect(draw(sequence(...numbers))).toEqual(drawn)
    expect(new Set(drawn.flat().map(({ type }) => type))).toEqual(new Set(['delay', 'error', 'lostAck', 'loseWatches', 'drop']))
    const faults = new RandomFaults(sequence(0), { error: { probability: 1 } })
    expect(faults.faultsFor({ kind: 'read', method: 'm', index: 0 })).toEqual([{ type: 'error', errno: Errno.ETIMEDOUT }])
    faults.stop()
    expect(faults.faultsFor({ kind: 'read', method: 'm', index: 1 })).toEqual([])
  })

  test('a driver wraps every connection, or refuses it', async () => {
    const fake = new Fake()
    const driver = faultyDriver({ connect: async () => fake.cluster }, ({ name }) => {
      if (name === 'down') throw new Error('unreachable')
      return noFaults
    })
    const options = { name: 'up', entity: 'client.admin', options: {} }
    await driver.connect(options)
    await expect(driver.connect({ ...options, name: 'down' })).rejects.toThrow('unreachable')
    expect(driver.connections).toHaveLength(1)
  })
})
