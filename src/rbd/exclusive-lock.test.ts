import { describe, expect, it, vi } from 'vitest'
import { ManualClock, settle } from '../../test/unit/manual-clock.ts'
import { ModelHeader } from '../../test/unit/model-header.ts'
import { silentLog } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import { Errno, RadosError } from '../rados/errors.ts'
import { ExclusiveLock } from './exclusive-lock.ts'
import { HeaderWatcher, type OperationRequest } from './header-watcher.ts'
import { keepingLockPolicy, replicaLockPolicy, standardLockPolicy, type LockPolicy } from './lock-policy.ts'
import type { OperationMessage } from './notify/image-messages.ts'

const oid = 'rbd_header.1'

/** A client with the image open, as far as its lock goes. */
async function open(header: ModelHeader, clock: ManualClock, clientId: bigint, policy: LockPolicy = standardLockPolicy) {
  const { io, cluster } = header.client(clientId)
  const acquired = vi.fn(() => Promise.resolve())
  const releasing = vi.fn(() => Promise.resolve())
  const execute = vi.fn<(message: OperationMessage, progress: (done: bigint, total: bigint) => void) => Promise<void>>(() => Promise.resolve())
  const lost = vi.fn<(error: Error) => void>()
  let rewatched = Promise.resolve()
  const watcher = await HeaderWatcher.open(
    io,
    oid,
    { clock, random: systemRandom, log: silentLog, instanceId: clientId },
    {
      headerUpdated() {},
      lockAcquired: () => lock.peerNotified(),
      lockReleased: () => lock.peerNotified(),
      lockRequested: (force) => lock.lockRequested(force),
      acceptsOperation: (type) => lock.acceptsOperation(type),
      execute,
      rewatched() {
        rewatched = lock.rewatched()
      },
      lost: (error) => lock.lost(error),
    },
  )
  const lock = new ExclusiveLock({ io, cluster, oid, clock, log: silentLog, watcher, policy, acquired, releasing })
  lock.onLost(lost)
  return { lock, watcher, acquired, releasing, execute, lost, rewatched: () => rewatched }
}

const request: OperationRequest = { type: 'snapCreate', name: 's', namespace: { type: 'user' }, flags: 0n }

describe('an exclusive lock', () => {
  it('is free to take, and is given back', async () => {
    const header = new ModelHeader()
    const one = await open(header, new ManualClock(), 1n)
    expect(await one.lock.acquire()).toBe('acquired')
    expect(one.acquired).toHaveBeenCalledOnce()
    expect(header.lockers.map(({ cookie }) => cookie)).toEqual([`auto ${one.watcher.cookie}`])
    await one.lock.release()
    expect(one.releasing).toHaveBeenCalledOnce()
    expect(header.lockers).toEqual([])
    expect(one.lost).not.toHaveBeenCalled()
  })

  it('is asked for, and changes hands', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const [one, two] = [await open(header, clock, 1n), await open(header, clock, 2n)]
    await one.lock.acquire()
    expect(await two.lock.tryAcquire()).toBe('busy')
    expect(await two.lock.acquire()).toBe('acquired')
    expect(one.lock.owned).toBe(false)
    expect(one.lost).not.toHaveBeenCalled()
    expect(await one.lock.acquire()).toBe('acquired')
    expect(two.lock.owned).toBe(false)
  })

  it('waits for whoever uses it before it changes hands', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const [one, two] = [await open(header, clock, 1n), await open(header, clock, 2n)]
    await one.lock.acquire()
    let finish = () => {}
    const used = one.lock.use(() => new Promise<void>((resolve) => (finish = resolve)))
    const taken = two.lock.acquire()
    await clock.advance(60_000)
    expect(one.releasing).not.toHaveBeenCalled()
    await expect(one.lock.use(() => Promise.resolve())).rejects.toMatchObject({ errno: Errno.ERESTART })
    finish()
    await used
    expect(await taken).toBe('acquired')
  })

  it('goes to who has asked for it, however much its owner wants it back', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const [busy, peer] = [await open(header, clock, 1n), await open(header, clock, 2n, keepingLockPolicy)]
    await busy.lock.acquire()
    let stop = false
    const order: string[] = []
    // as a writer with many writes in flight does
    const work = async () => {
      while (!stop) {
        await busy.lock.acquire()
        await busy.lock.use(async () => void (await settle())).catch((error: RadosError) => expect(error.errno).toBe(Errno.ERESTART))
        order.push('work')
      }
    }
    const workers = [work(), work(), work()]
    const taken = peer.lock.acquire().then(() => order.push('peer'))
    await settle()
    await taken
    expect(order.indexOf('peer')).toBeLessThanOrEqual(6) // after those that were under way
    expect(busy.lock.wanted).toBe(false)
    stop = true
    await peer.lock.release()
    await clock.advance(2_000)
    await Promise.all(workers)
    expect(busy.lock.owned).toBe(true)
  })

  it('comes back to its owner when who has asked for it is gone before it got it', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const busy = await open(header, clock, 1n)
    await busy.lock.acquire()
    expect(busy.lock.lockRequested(false)).toBe(0)
    const again = busy.lock.acquire()
    await settle()
    expect(busy.lock.owned).toBe(false)
    await clock.advance(1_000)
    expect(await again).toBe('acquired')
  })

  it('is waited for by several at once', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const [one, two] = [await open(header, clock, 1n, keepingLockPolicy), await open(header, clock, 2n)]
    await one.lock.acquire()
    const all = Promise.all([two.lock.acquire(), two.lock.acquire(), two.lock.acquire()])
    await settle()
    await one.lock.release()
    expect(await all).toEqual(['acquired', 'acquired', 'acquired'])
    expect(two.lock.wanted).toBe(true)
  })

  it('is refused by a replica', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const [one, two] = [await open(header, clock, 1n, replicaLockPolicy), await open(header, clock, 2n)]
    await one.lock.acquire()
    expect(await two.lock.acquire()).toBe('refused')
    expect(one.lock.owned).toBe(true)
    await expect(two.watcher.request(request)).rejects.toMatchObject({ errno: Errno.EROFS })
  })

  it('is broken when its owner is gone: fenced off first, then broken', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const [one, two] = [await open(header, clock, 1n), await open(header, clock, 2n)]
    await one.lock.acquire()
    const cookie = header.lockers[0]!.cookie
    header.kill(1n)
    expect(await two.lock.tryAcquire()).toBe('acquired')
    expect(header.log).toEqual(['blocklist 10.0.0.1:0/1', 'wait for osdmap', `break 1 ${cookie}`])
  })

  it('that an earlier watch of the same client has left behind is broken without a fence', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const before = await open(header, clock, 1n)
    await before.lock.acquire()
    header.kill(1n)
    const after = await open(header, clock, 1n)
    expect(await after.lock.tryAcquire()).toBe('acquired')
    expect(header.log).toHaveLength(1)
  })

  it('is found to be ours when the answer to taking it was lost', async () => {
    const header = new ModelHeader()
    const one = await open(header, new ManualClock(), 1n)
    header.failures.push({ operation: 'lock', errno: Errno.ETIMEDOUT, after: true })
    expect(await one.lock.acquire()).toBe('acquired')
  })

  it('is given back when what follows on it fails', async () => {
    const header = new ModelHeader()
    const one = await open(header, new ManualClock(), 1n)
    one.acquired.mockRejectedValueOnce(new Error('no object map'))
    await expect(one.lock.acquire()).rejects.toThrow('no object map')
    expect(header.lockers).toEqual([])
    expect(await one.lock.acquire()).toBe('acquired')
  })

  it('follows a watch that was lost and made anew', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const one = await open(header, clock, 1n)
    await one.lock.acquire()
    header.failures.push({ operation: 'watch', errno: Errno.ETIMEDOUT }, { operation: 'watch', errno: Errno.ENOTCONN })
    header.dropWatches(1n)
    await clock.advance(5000)
    await one.rewatched()
    expect(one.lock.owned).toBe(true)
    expect(header.lockers.map(({ cookie }) => cookie)).toEqual([`auto ${one.watcher.cookie}`])
    expect(header.watches).toHaveLength(1)
    expect(one.lost).not.toHaveBeenCalled()
  })

  const unanswered = { errno: Errno.ETIMEDOUT }
  it.each([
    ['was done', [{ ...unanswered, operation: 'set_cookie', after: true }]],
    ['was not done', [{ ...unanswered, operation: 'set_cookie' }]],
    ['was done, and the question whether it was has no answer either', [{ ...unanswered, operation: 'set_cookie', after: true }, { ...unanswered, operation: 'get_info' }]],
  ] as const)('follows a watch that was made anew when the answer to that is lost: it %s', async (_what, failures) => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const one = await open(header, clock, 1n)
    await one.lock.acquire()
    header.failures.push(...failures)
    header.dropWatches(1n)
    await clock.advance(5000)
    await one.rewatched()
    expect(header.failures).toEqual([])
    expect(one.lost).not.toHaveBeenCalled()
    expect(one.lock.owned).toBe(true)
    expect(header.lockers.map(({ cookie }) => cookie)).toEqual([`auto ${one.watcher.cookie}`])
    await one.lock.release()
    expect(header.lockers).toEqual([])
  })

  it('is lost when a peer broke it before it could follow its watch, whatever was answered', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const [one, two] = [await open(header, clock, 1n), await open(header, clock, 2n)]
    await one.lock.acquire()
    header.failures.push({ operation: 'set_cookie', errno: Errno.ETIMEDOUT })
    header.dropWatches(1n)
    await settle()
    expect(one.lock.owned).toBe(true)
    header.lockers.length = 0
    expect(await two.lock.tryAcquire()).toBe('acquired')
    await clock.advance(5000)
    await one.rewatched()
    expect(one.lock.owned).toBe(false)
    expect(one.lost).toHaveBeenCalledOnce()
    expect(header.lockers.map(({ cookie }) => cookie)).toEqual([`auto ${two.watcher.cookie}`])
  })

  it('is lost when a peer broke it while there was no watch', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const [one, two] = [await open(header, clock, 1n), await open(header, clock, 2n)]
    await one.lock.acquire()
    header.failures.push({ operation: 'watch', errno: Errno.ETIMEDOUT })
    header.dropWatches(1n)
    await settle()
    expect(await two.lock.tryAcquire()).toBe('acquired')
    await clock.advance(5000)
    await one.rewatched()
    expect(one.lock.owned).toBe(false)
    expect(one.lost).toHaveBeenCalledOnce()
  })

  it('is lost with a watch that can not be made anew', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const one = await open(header, clock, 1n)
    await one.lock.acquire()
    header.failures.push({ operation: 'watch', errno: Errno.ESHUTDOWN })
    header.dropWatches(1n)
    await clock.advance(0)
    expect(one.lost).toHaveBeenCalledOnce()
    await expect(one.lock.acquire()).rejects.toMatchObject({ errno: Errno.ESHUTDOWN })
  })

  it('is not waited for any longer than the signal allows', async () => {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const mute: LockPolicy = { lockRequested: () => Errno.EBUSY, operationRequested: () => 'accept' }
    const [one, two] = [await open(header, clock, 1n, mute), await open(header, clock, 2n)]
    await one.lock.acquire()
    const controller = new AbortController()
    const waiting = two.lock.acquire({ signal: controller.signal })
    await clock.advance(30_000)
    controller.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    expect(clock.pending).toBe(0)
  })
})

describe('requests to the owner of the lock', () => {
  async function ownerAndPeer() {
    const header = new ModelHeader()
    const clock = new ManualClock()
    const [owner, peer] = [await open(header, clock, 1n), await open(header, clock, 2n)]
    await owner.lock.acquire()
    return { header, clock, owner, peer }
  }

  it('are done by it, with progress', async () => {
    const { owner, peer } = await ownerAndPeer()
    owner.execute.mockImplementationOnce(async (_message, progress) => {
      progress(1n, 2n)
      await settle()
    })
    const progress = vi.fn()
    await peer.watcher.request(request, { progress })
    expect(owner.execute).toHaveBeenCalledOnce()
    expect(owner.execute.mock.calls[0]![0]).toMatchObject(request)
    expect(progress).toHaveBeenCalledWith(1n, 2n)
  })

  it('fail with its errno', async () => {
    const { owner, peer } = await ownerAndPeer()
    owner.execute.mockRejectedValueOnce(new RadosError(Errno.EEXIST, { op: 'x' }))
    await expect(peer.watcher.request(request)).rejects.toMatchObject({ errno: Errno.EEXIST })
  })

  it('time out when it falls silent, and not before', async () => {
    const { clock, owner, peer } = await ownerAndPeer()
    let speak = (_done: bigint, _total: bigint) => {}
    owner.execute.mockImplementationOnce((_message, progress) => {
      speak = progress
      return new Promise(() => {})
    })
    let outcome: unknown
    void peer.watcher.request(request).catch((error: unknown) => (outcome = error))
    await clock.advance(29_000)
    speak(1n, 2n)
    await clock.advance(29_000)
    expect(outcome).toBeUndefined()
    await clock.advance(2_000)
    expect(outcome).toMatchObject({ errno: Errno.ETIMEDOUT })
  })

  it('are to be asked again when it gives the lock away', async () => {
    const { header, clock, owner, peer } = await ownerAndPeer()
    owner.execute.mockImplementationOnce(() => new Promise(() => {}))
    const asked = peer.watcher.request(request).then(
      () => 'done',
      (error: RadosError) => error.errno,
    )
    await settle()
    const third = await open(header, clock, 3n)
    await third.lock.acquire()
    expect(await asked).toBe(Errno.ERESTART)
  })

  it('find nobody when nobody has the lock', async () => {
    const { owner, peer } = await ownerAndPeer()
    await owner.lock.release()
    await expect(peer.watcher.request(request)).rejects.toMatchObject({ errno: Errno.ETIMEDOUT })
  })

  it('are done once however often they are heard', async () => {
    const { header, owner, peer } = await ownerAndPeer()
    const sent: Buffer[] = []
    const original = header.watches.find(({ clientId }) => clientId === 1n)!.handlers
    const onNotify = original.onNotify.bind(original)
    original.onNotify = (notification) => {
      sent.push(notification.payload)
      onNotify(notification)
    }
    await peer.watcher.request(request)
    const { io } = header.client(9n)
    const { acks } = await io.notify(oid, sent[0]!, 1000)
    expect(acks.some(({ payload }) => payload.length > 0)).toBe(true)
    expect(owner.execute).toHaveBeenCalledOnce()
  })
})
