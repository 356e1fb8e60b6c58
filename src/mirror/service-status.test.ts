import { describe, expect, it } from 'vitest'
import { ServiceStatus } from './service-status.ts'

const parsed = (status: ServiceStatus) => JSON.parse(status.toJson()) as Record<string, Record<string, unknown>>

describe('ServiceStatus', () => {
  it('shows a pool as the rbd command reads it', () => {
    const status = new ServiceStatus()
    status.addPool(4n, 'rbd')
    expect(parsed(status)).toEqual({ '4': { name: 'rbd', callouts: {} } })
    status.setInstanceId(4n, 4711n)
    status.setLeader(4n, true)
    status.setCounts(4n, '', () => ({ assigned: 3, warning: 1, error: 0, local: 3, remote: 2 }))
    status.setCounts(4n, 'ns', () => ({ assigned: 1, warning: 0, error: 1, local: 1, remote: 1 }))
    expect(parsed(status)['4']).toEqual({
      name: 'rbd',
      callouts: {},
      image_assigned_count: 3,
      image_error_count: 0,
      image_local_count: 3,
      image_remote_count: 2,
      image_warning_count: 1,
      instance_id: '4711',
      leader: true,
      namespaces: {
        ns: { image_assigned_count: 1, image_error_count: 1, image_local_count: 1, image_remote_count: 1, image_warning_count: 0 },
      },
    })
    status.setLeader(4n, false)
    status.setCounts(4n, 'ns', undefined)
    expect(parsed(status)['4']).not.toHaveProperty('leader')
    expect(parsed(status)['4']).not.toHaveProperty('namespaces')
    status.removePool(4n)
    expect(parsed(status)).toEqual({})
  })

  it('keeps one callout per reporter, each under a number of its own', () => {
    const status = new ServiceStatus()
    status.addPool(1n, 'p')
    const [first, second] = [status.callout(1n), status.callout(1n)]
    first.set({ level: 'error', text: 'unable to connect to remote cluster' })
    second.set({ level: 'warning', text: 'access denied' })
    first.set({ level: 'error', text: 'unable to connect to local cluster' })
    expect(parsed(status)['1']!['callouts']).toEqual({
      '1': { level: 'error', text: 'unable to connect to local cluster' },
      '2': { level: 'warning', text: 'access denied' },
    })
    first.set(undefined)
    second.set(undefined)
    second.set(undefined)
    expect(parsed(status)['1']!['callouts']).toEqual({})
  })
})
