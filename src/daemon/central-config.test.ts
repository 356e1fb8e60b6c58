import { describe, expect, it } from 'vitest'
import { silentLog } from '../base/log.ts'
import { Options } from '../config/options.ts'
import { Errno, RadosError } from '../rados/errors.ts'
import { centralValues, followCentralConfig } from './central-config.ts'

/** A connection that shows these values, and librados' defaults for the rest. */
const connection = (values: Record<string, string>) => ({ option: (name: string) => values[name] })

describe('centralValues', () => {
  it('takes what differs from the default, however it is written', () => {
    const options = new Options('site-b', 'client.a')
    const values = centralValues(connection({ rbd_mirror_journal_poll_age: '5.000000', rbd_mirror_memory_target: '4294967296', rbd_mirror_concurrent_image_syncs: '9' }), options)
    expect([...values]).toEqual([['rbd_mirror_concurrent_image_syncs', '9']])
  })

  it('leaves alone what a stronger source has set', () => {
    const options = new Options('site-b', 'client.a')
    options.set('rbd_mirror_concurrent_image_syncs', '3', 'cmdline')
    expect(centralValues(connection({ rbd_mirror_concurrent_image_syncs: '3' }), options).size).toBe(0)
  })
})

describe('followCentralConfig', () => {
  it('follows changes both ways, and survives a connection that is closed', () => {
    const options = new Options('site-b', 'client.a')
    const timers: (() => void)[] = []
    const clock = { now: () => 0, monotonic: () => 0, setTimer: (_: number, callback: () => void) => (timers.push(callback), () => timers.splice(0)) }
    let current: { option(name: string): string | undefined } | undefined
    const tick = () => {
      timers.shift()!()
      return options.get('rbd_mirror_concurrent_image_syncs')
    }
    const end = followCentralConfig(() => current, options, clock, silentLog)
    current = connection({ rbd_mirror_concurrent_image_syncs: '9' })
    expect(tick()).toBe(9)
    current = {
      option: () => {
        throw new RadosError(Errno.ESHUTDOWN, { op: 'option after close' })
      },
    }
    expect(tick()).toBe(9)
    current = connection({})
    expect(tick()).toBe(5)
    end()
    expect(timers).toHaveLength(0)
  })
})
