import * as lock from '../../../src/cls/lock/client.ts'
import { LockInfo } from '../../../src/cls/lock/types.ts'
import { zeroTime } from '../../../src/encoding/codec.ts'
import { ENTITY_TYPE_CLIENT, type EntityName } from '../../../src/encoding/entity.ts'
import type { Choices, Side, Step } from '../class-comparison.ts'
import { type ObjectKind, noneOf, maskTime, call, masked, exec } from './shared.ts'

/* Locks. */

const lockNames = ['rbd_lock', 'other', '']
const cookies = ['auto 1', 'auto 2']
const lockTypes = ['none', 'exclusive', 'shared', 'shared', 'exclusive-ephemeral'] as const
const tags = ['', 'internal']
const locking = (choices: Choices) => ({
  name: choices.pick(lockNames),
  type: choices.pick(lockTypes),
  cookie: choices.pick(cookies),
  tag: choices.pick(tags),
})
const locker = (choices: Choices) => {
  const client = choices.int(2)
  return (side: Side): EntityName => ({ type: ENTITY_TYPE_CLIENT, num: side.instance(client) })
}
const maskLock = (info: LockInfo, side: Side): LockInfo => ({
  ...info,
  lockers: info.lockers.map((one) => ({
    ...one,
    locker: { ...one.locker, num: side.clientOf(one.locker.num) },
    expiration: maskTime(one.expiration),
    addr: { ...one.addr, nonce: 0, sockaddr: Buffer.alloc(one.addr.sockaddr.length) },
  })),
})

const takeLock = (choices: Choices) =>
  call(lock.lock, {
    ...locking(choices),
    description: choices.pick(['', 'text']),
    duration: choices.pick([zeroTime, zeroTime, { sec: 1000, nsec: 999_999_999 }]),
    flags: choices.pick([0, 0, 1, 2, 3]),
  })

export const locks: ObjectKind = {
  name: 'lock',
  calls: [
    takeLock,
    takeLock,
    takeLock,
    (choices) => call(lock.unlock, { name: choices.pick(lockNames), cookie: choices.pick(cookies) }),
    (choices) => {
      const [name, cookie, who] = [choices.pick(lockNames), choices.pick(cookies), locker(choices)]
      return call(lock.breakLock, (side) => ({ name, cookie, locker: who(side) }))
    },
    (choices) => call(lock.getInfo, { name: choices.pick(lockNames) }, maskLock),
    () => call(lock.listLocks, noneOf),
    (choices) => call(lock.assertLocked, locking(choices)),
    (choices) => call(lock.setCookie, { ...locking(choices), newCookie: choices.pick(cookies) }),
  ],
  mask: (key, value, side) => [key, key.startsWith('lock.') ? masked(LockInfo, value, (info) => maskLock(info, side)) : value],
}

/** Waits until locks of a nanosecond have expired by any clock. */
const untilExpired: Step = { type: 'prepare', run: () => new Promise((resolve) => setTimeout(resolve, 20)) }

/** Locks whose time is over, of all types. */
export function* expiringLocks(): Iterable<Step> {
  for (const type of ['exclusive', 'shared', 'exclusive-ephemeral'] as const) {
    const held = { name: type, type, cookie: 'c', tag: 't' }
    const take = (client: number, nsec: number) => exec(call(lock.lock, { ...held, description: '', duration: { sec: 0, nsec }, flags: 0 }), client)
    yield* [
      take(0, 1),
      untilExpired,
      exec(call(lock.getInfo, { name: type }, maskLock)),
      exec(call(lock.assertLocked, held)),
      exec(call(lock.unlock, { name: type, cookie: 'c' })),
      take(0, 1),
      untilExpired,
      take(1, 0),
      exec(call(lock.getInfo, { name: type }, maskLock)),
      exec(call(lock.setCookie, { ...held, newCookie: 'd' }), 1),
      exec(call(lock.unlock, { name: type, cookie: 'd' }), 1),
    ]
  }
}
