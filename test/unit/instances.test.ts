import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { Scope } from '../../src/base/scope.ts'
import { mirrorInstancesAdd, mirrorInstancesList } from '../../src/cls/rbd/mirror-client.ts'
import { Options } from '../../src/config/options.ts'
import { mirrorOptions } from '../../src/daemon/mirror-options.ts'
import { ImageMap } from '../../src/mirror/image-map/image-map.ts'
import { loadImageMap, writeImageMap } from '../../src/mirror/image-map/store.ts'
import { InstanceObject, lookAtInstance, type KnownMessage } from '../../src/mirror/instances/instance-object.ts'
import { Instances } from '../../src/mirror/instances/instances.ts'
import { InstanceRequests } from '../../src/mirror/instances/requests.ts'
import { SyncSlots } from '../../src/mirror/instances/sync-slots.ts'
import { SyncThrottler } from '../../src/mirror/instances/sync-throttler.ts'
import { Leader, type LeadingEvents } from '../../src/mirror/leader.ts'
import type { MirrorOptions } from '../../src/mirror/options.ts'
import { WriteOperation } from '../../src/rados/operation.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import { Errno, isErrno } from '../../src/rados/errors.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { findLocker, lockCookie, takeLock } from '../../src/rbd/managed-lock.ts'
import { RBD_MIRROR_LEADER } from '../../src/rbd/names.ts'
import { memoryFixture } from '../support/emulated.ts'
import { waitFor } from '../support/wait.ts'
import type { ContractFixture } from '../contract/rados.suite.ts'

const deps = { clock: systemClock, random: systemRandom, log: silentLog }
const OPTIONS: MirrorOptions = {
  ...mirrorOptions(new Options('test', 'client.admin')),
  leaderHeartbeatInterval: 0.1,
  imagePolicyMigrationThrottle: 0,
  imagePolicyUpdateThrottleInterval: 0.1,
}

let fixture: ContractFixture
let scope: Scope
beforeEach(async () => {
  fixture = await memoryFixture()
  scope = new Scope()
})
afterEach(async () => {
  await scope.close()
  await fixture.close()
})

interface Daemon {
  readonly cluster: Cluster
  readonly io: IoCtx
  readonly id: string
  readonly requests: InstanceRequests
}

async function connect(): Promise<Daemon> {
  const cluster = await fixture.connect()
  const io = await cluster.openPool(fixture.pool)
  const id = String(cluster.instanceId)
  return { cluster, io, id, requests: new InstanceRequests({ io, self: id, log: silentLog }) }
}

/** Listens until the returned function is called. */
async function listen(daemon: Daemon, onMessage: (from: string, message: KnownMessage) => Promise<number>): Promise<() => Promise<void>> {
  const object = new InstanceObject({ ...daemon, ...deps, onMessage })
  const listening = new Scope(scope.signal)
  listening.spawn('listen', (stop) => object.run(stop))
  await waitFor('it to listen', () => object.ready, { interval: 5 })
  return () => listening.close()
}

describe('messages between daemons', () => {
  it('are answered with what came of them, and leave nothing behind', async () => {
    const [one, two] = [await connect(), await connect()]
    const seen: unknown[] = []
    const close = await listen(two, (from, message) => {
      seen.push([from, message.type, 'globalImageId' in message && message.globalImageId])
      return Promise.resolve(message.type === 'imageAcquire' ? 0 : -Errno.ESTALE)
    })
    expect(await mirrorInstancesList.call(one.io, RBD_MIRROR_LEADER, undefined)).toEqual([two.id])
    expect(await lookAtInstance(one.io, two.id)).toBe('watching')
    expect(await one.requests.send(two.id, { type: 'imageAcquire', globalImageId: 'g' }, scope.signal)).toBe(0)
    expect(await one.requests.send(two.id, { type: 'syncRequest', syncId: 's' }, scope.signal)).toBe(-Errno.ESTALE)
    expect(seen).toEqual([
      [one.id, 'imageAcquire', 'g'],
      [one.id, 'syncRequest', false],
    ])
    await close()
    expect(await lookAtInstance(one.io, two.id)).toBe('left')
    expect(await mirrorInstancesList.call(one.io, RBD_MIRROR_LEADER, undefined)).toEqual([])
    const gone = one.requests.send(two.id, { type: 'imageAcquire', globalImageId: 'g' }, scope.signal)
    await expect(gone).rejects.toSatisfy((error) => isErrno(error, Errno.ENOENT))
  })

  it('are done once, however often they are sent until they are answered', { timeout: 20_000 }, async () => {
    const [one, two] = [await connect(), await connect()]
    let done = 0
    let finish: () => void = () => undefined
    const slow = new Promise<void>((resolve) => (finish = resolve))
    await listen(two, async () => {
      done++
      await slow
      return 0
    })
    const answer = one.requests.send(two.id, { type: 'imageRelease', globalImageId: 'g' }, scope.signal)
    setTimeout(finish, 5_500) // after the first notification has timed out
    expect(await answer).toBe(0)
    expect(done).toBe(1)
  })
})

describe('the daemons that a leader knows', () => {
  const watched = async (leader: Daemon) => {
    const events: string[] = []
    const instances = new Instances({
      ...leader,
      ...deps,
      options: OPTIONS,
      onAdded: (ids) => events.push(...ids.map((id) => `added ${id}`)),
      onRemoved: (ids) => events.push(...ids.map((id) => `removed ${id}`)),
    })
    await instances.load()
    scope.spawn('instances', (stop) => instances.run(stop))
    return { instances, events }
  }

  it('are those that answer; one that gives everything back is gone at once, and is not fenced off', async () => {
    const [leader, two] = [await connect(), await connect()]
    const close = await listen(two, () => Promise.resolve(0))
    const { instances, events } = await watched(leader)
    expect(instances.ids).toEqual([leader.id, two.id])
    instances.heard([leader.cluster.instanceId, two.cluster.instanceId])
    instances.heard([two.cluster.instanceId])
    expect(events).toEqual([`added ${two.id}`])
    await close()
    instances.wake()
    await waitFor('the daemon to be gone', () => events.includes(`removed ${two.id}`))
    await two.io.write('still', new WriteOperation().create(false))
    instances.heard([two.cluster.instanceId]) // what comes late brings nobody back
    expect(instances.ids).toEqual([leader.id])
  })

  it('one that does not answer for too long is fenced off, though its watch stands', async () => {
    const [leader, two] = [await connect(), await connect()]
    await listen(two, () => Promise.resolve(0))
    const { events } = await watched(leader)
    await waitFor('the daemon to be removed', () => events.includes(`removed ${two.id}`))
    await expect(two.io.write('more', new WriteOperation().create(false))).rejects.toSatisfy((error) => isErrno(error, Errno.ESHUTDOWN))
    expect(await mirrorInstancesList.call(leader.io, RBD_MIRROR_LEADER, undefined)).toEqual([])
  })

  it('one that is listed without an object gets nothing, and is forgotten after a while', async () => {
    const leader = await connect()
    await mirrorInstancesAdd.call(leader.io, RBD_MIRROR_LEADER, { instanceId: '4711' })
    const { instances, events } = await watched(leader)
    expect(instances.ids).toEqual([leader.id])
    await waitFor('the entry to be removed', () => events.includes('removed 4711'))
    expect(await mirrorInstancesList.call(leader.io, RBD_MIRROR_LEADER, undefined)).toEqual([])
  })
})

describe('the leader', () => {
  const options = (daemon: Daemon) => ({ ...daemon, ...deps, options: OPTIONS, onState: () => undefined })
  const lead = (heard: Set<bigint>) => async (start: (events: LeadingEvents) => void, signal: AbortSignal) => {
    start({ onHeard: (ids) => ids.forEach((id) => heard.add(id)), onLeft: () => heard.clear() })
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
  }

  it('hears of the others by their answers, and of one that goes; it hands over at once', async () => {
    const [one, two] = [await connect(), await connect()]
    const [first, second] = [new Leader(options(one)), new Leader(options(two))]
    const heard = new Set<bigint>()
    const stopping = new Scope(scope.signal)
    stopping.spawn('first', (stop) => first.run(lead(heard), stop))
    await waitFor('the first to lead', () => first.state.type === 'leading')
    const going = new Scope(scope.signal)
    going.spawn('second', (stop) => second.run(lead(new Set()), stop))
    await waitFor('the second to be heard', () => heard.has(two.cluster.instanceId))
    expect(second.leaderId).toBe(one.cluster.instanceId)
    await going.close()
    await waitFor('the first to hear that it has gone', () => heard.size === 0 || !heard.has(two.cluster.instanceId))

    const third = new Leader(options(two))
    scope.spawn('third', (stop) => third.run(lead(new Set()), stop))
    await waitFor('the third to stand by', () => third.leaderId === one.cluster.instanceId)
    const from = performance.now()
    await stopping.close()
    await waitFor('the third to lead', () => third.state.type === 'leading', { interval: 5 })
    expect(performance.now() - from).toBeLessThan(900) // sooner than it looks of itself
  })

  it('that sends no heartbeats is replaced and fenced off, though its watch stands', async () => {
    const [hung, two] = [await connect(), await connect()]
    await hung.io.write(RBD_MIRROR_LEADER, new WriteOperation().create(false))
    const watch = await hung.io.watch(RBD_MIRROR_LEADER, { onNotify: (notification) => notification.ack(), onError: () => undefined })
    expect(await takeLock(hung.io, RBD_MIRROR_LEADER, lockCookie(watch.cookie), hung.cluster.instanceId)).toBe('acquired')
    const leader = new Leader(options(two))
    scope.spawn('leader', (stop) => leader.run(lead(new Set()), stop))
    await waitFor('it to stand by', () => leader.leaderId === hung.cluster.instanceId)
    await waitFor('it to take over', () => leader.state.type === 'leading')
    expect(await findLocker(two.io, RBD_MIRROR_LEADER)).toMatchObject({ clientId: two.cluster.instanceId })
    await expect(hung.io.write('more', new WriteOperation().create(false))).rejects.toSatisfy((error) => isErrno(error, Errno.ESHUTDOWN))
  })

  it('that sends heartbeats is left alone', async () => {
    const [one, two] = [await connect(), await connect()]
    const [first, second] = [new Leader(options(one)), new Leader(options(two))]
    scope.spawn('first', (stop) => first.run(lead(new Set()), stop))
    await waitFor('the first to lead', () => first.state.type === 'leading')
    scope.spawn('second', (stop) => second.run(lead(new Set()), stop))
    await new Promise((resolve) => setTimeout(resolve, 1_500)) // more than twice as long as it may be silent
    expect([first.state.type, second.state.type]).toEqual(['leading', 'standby'])
  })
})

describe('the image map', () => {
  it('is written before a daemon hears of an image, follows the daemons, and is taken over by the next leader', async () => {
    const { io } = await connect()
    const asked: string[] = []
    const newMap = (self: string) =>
      new ImageMap({
        ...deps,
        io,
        self,
        options: OPTIONS,
        onLoaded: () => undefined,
        ask: async (instanceId, action, id) => {
          if (action === 'acquire') expect((await loadImageMap(io)).get(id)?.instanceId).toBe(instanceId)
          asked.push(`${action} ${id} of ${instanceId}`)
        },
      })
    const map = newMap('1')
    const leading = new Scope(scope.signal)
    map.add(new Set(['a', 'b']))
    leading.spawn('map', (stop) => map.run(() => ['1'], stop))
    await waitFor('both to be acquired', () => asked.length === 2)
    map.addInstances(['2'])
    await waitFor('one to be moved', () => asked.length === 4)
    expect(asked).toEqual(['acquire a of 1', 'acquire b of 1', 'release a of 1', 'acquire a of 2'])
    await leading.close()

    asked.length = 0
    const next = newMap('3')
    scope.spawn('next map', (stop) => next.run(() => ['2'], stop))
    await waitFor('the images to be taken over', () => asked.length === 3)
    expect(asked.sort()).toEqual(['acquire a of 2', 'acquire b of 3', 'release b of 1'])
    next.remove('a')
    await waitFor('one to be gone', async () => !(await loadImageMap(io)).has('a'))
    expect(asked.at(-1)).toBe('release a of 2')
  })
})

describe('the policy none', () => {
  it('has the leader take all images, also those of a former leader that lives', async () => {
    const { io } = await connect()
    await writeImageMap(io, [{ action: 'update', globalImageId: 'a', instanceId: '2', mappedAt: 5 }])
    const asked: string[] = []
    const ask = (instanceId: string, action: string, id: string) => {
      asked.push(`${action} ${id} of ${instanceId}`)
      return Promise.resolve()
    }
    const map = new ImageMap({ ...deps, io, self: '1', options: { ...OPTIONS, imagePolicyType: 'none' }, onLoaded: () => undefined, ask })
    map.add(new Set(['a', 'b']))
    scope.spawn('map', (stop) => map.run(() => ['2'], stop))
    map.addInstances(['2'])
    await waitFor('the leader to have both', () => asked.length === 3)
    expect(asked.sort()).toEqual(['acquire a of 1', 'acquire b of 1', 'release a of 2'])
  })
})

describe('syncs', () => {
  it('of all daemons together are as many as the leader allows', async () => {
    const [one, two] = [await connect(), await connect()]
    const throttler = new SyncThrottler(1)
    const never = new AbortController().signal
    const leader = () => ({ instanceId: one.id, changed: never })
    const slotsOf = (daemon: Daemon, own: SyncThrottler) =>
      new SyncSlots({ ...deps, self: daemon.id, namespace: '', throttler: own, requests: daemon.requests, leader })
    const slots = { one: slotsOf(one, throttler), two: slotsOf(two, new SyncThrottler(1)) }
    await listen(one, async (from, message) => {
      if (message.type !== 'syncRequest') return 0
      if ((await throttler.start(`/${message.syncId}`)) !== 'granted') return -Errno.ESTALE
      void one.requests.send(from, { type: 'syncStart', syncId: message.syncId }, scope.signal).then(() => throttler.finish(`/${message.syncId}`))
      return 0
    })
    await listen(two, async (_, message) => {
      if (message.type === 'syncStart') await slots.two.onStart(message.syncId, scope.signal)
      return 0
    })
    let running = 0
    let most = 0
    const sync = async () => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setTimeout(resolve, 20))
      running--
    }
    const { signal } = scope
    await Promise.all(
      ['a', 'b', 'c'].flatMap((id) => [slots.one.slot(`${id} of one`).add(sync, { signal }), slots.two.slot(`${id} of two`).add(sync, { signal })]),
    )
    expect(most).toBe(1)
    await waitFor('the leader to know that all is over', () => throttler.runningCount === 0)
  })
})
