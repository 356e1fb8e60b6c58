import { expect, it, vi } from 'vitest'
import { ManualClock } from '../../test/unit/manual-clock.ts'
import { silentLog } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import { Errno, RadosError } from '../rados/errors.ts'
import type { IoCtx, Watch, WatchHandlers } from '../rados/io-ctx.ts'
import { ObjectWatcher } from './object-watcher.ts'

const lost = () => new RadosError(Errno.ENOTCONN, { op: 'watch' })

/** Watches of one client, some of which are lost before they are there. */
class Watches {
  /** by their number, from 1 */
  readonly early = new Set<number>()
  readonly made: WatchHandlers[] = []
  readonly open = new Set<bigint>()

  readonly io = {
    watch: (_oid: string, handlers: WatchHandlers): Promise<Watch> => {
      const cookie = BigInt(this.made.push(handlers))
      this.open.add(cookie)
      if (this.early.has(Number(cookie))) handlers.onError(lost())
      const close = () => Promise.resolve(void this.open.delete(cookie))
      return Promise.resolve({ cookie, close } as unknown as Watch)
    },
  } as unknown as IoCtx
}

const handlers = () => ({ onNotify: vi.fn(), onRewatched: vi.fn(), onLost: vi.fn() })

it('a first watch that is lost before it is there fails', async () => {
  const watches = new Watches()
  watches.early.add(1)
  const options = { clock: new ManualClock(), random: systemRandom, log: silentLog }
  await expect(ObjectWatcher.open(watches.io, 'o', options, handlers())).rejects.toMatchObject({ errno: Errno.ENOTCONN })
  expect(watches.open.size).toBe(0)
})

it('one that is lost while it is made anew is made once more', async () => {
  const watches = new Watches()
  watches.early.add(2)
  const clock = new ManualClock()
  const told = handlers()
  const watcher = await ObjectWatcher.open(watches.io, 'o', { clock, random: systemRandom, log: silentLog }, told)
  watches.made[0]!.onError(lost())
  await clock.advance(10_000)
  expect(await watcher.ready()).toBe(3n)
  expect(told.onRewatched).toHaveBeenCalledTimes(1)
  expect([...watches.open]).toEqual([3n])
  await watcher.close()
  expect(watches.open.size).toBe(0)
})
