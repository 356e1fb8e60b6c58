import { describe, expect, it } from 'vitest'
import { decideStandby, mayFollow } from '../../src/mirror/leader.ts'
import type { ManagedLocker } from '../../src/rbd/managed-lock.ts'

const owner = { clientId: 4711n, cookie: 'auto 1' } as ManagedLocker

describe('a daemon that stands by', () => {
  it('takes a lock that nobody holds', () => {
    expect(decideStandby('free', false, false)).toEqual({ type: 'acquire' })
  })

  it('waits for a leader that lives', () => {
    expect(decideStandby(owner, true, false)).toEqual({ type: 'wait', leader: owner })
  })

  it('breaks the lock of a leader whose watch is gone', () => {
    expect(decideStandby(owner, false, false)).toEqual({ type: 'break', owner, hung: false })
  })

  it('breaks the lock of a leader that has not been heard of for too long, though its watch stands', () => {
    expect(decideStandby(owner, true, true)).toEqual({ type: 'break', owner, hung: true })
  })

  it('never breaks a lock that is not a daemon’s', () => {
    expect(decideStandby('foreign', false, true)).toEqual({ type: 'wait', leader: undefined })
  })
})

describe('states of the leader', () => {
  it('release before they stand by', () => {
    expect(mayFollow('leading', 'standby')).toBe(false)
    expect(mayFollow('leading', 'releasing')).toBe(true)
    expect(mayFollow('releasing', 'standby')).toBe(true)
    expect(mayFollow('standby', 'leading')).toBe(false)
  })
})
