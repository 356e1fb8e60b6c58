import { expect, test } from 'vitest'
import { libradosDriver } from '../../src/drivers/librados/driver.ts'
import { describeCeph } from '../support/ceph.ts'
import { radosContract } from './rados.suite.ts'

describeCeph('librados', (pair) => {
  test('connects with nothing but an address and a key', async () => {
    const { b } = pair
    const cluster = await libradosDriver.connect({
      name: 'peer',
      entity: 'client.admin',
      options: { mon_host: b.monHost, key: b.secretOf('client.admin'), rados_osd_op_timeout: '30', 'no such option': 'is no matter' },
    })
    expect(cluster.fsid).toBe((await b.ceph('fsid')).trim())
    expect(cluster.option('rados_osd_op_timeout')).toMatch(/^30(\.0*)?$/)
    await cluster.close()
  })

  test('the daemon keeps its standard error, log and admin socket to itself', async () => {
    const { a } = pair
    const cluster = await libradosDriver.connect({
      name: 'quiet',
      entity: 'client.admin',
      confFile: a.conf,
      options: { admin_socket: '/tmp/librados.asok', log_file: '/tmp/librados.log', log_to_stderr: 'true' },
    })
    for (const option of ['admin_socket', 'log_file']) expect(cluster.option(option)).toBe('')
    expect(cluster.option('log_to_stderr')).toBe('false')
    await cluster.close()
  })

  radosContract('the RADOS contract on a real cluster', async () => {
    const { a } = pair
    const pool = 'contract'
    await a.createPool(pool)
    return {
      pool,
      connect: () => libradosDriver.connect({ name: 'contract', entity: 'client.admin', confFile: a.conf, options: {} }),
      close: () => a.deletePool(pool),
    }
  })
})
