import { libradosDriver } from '../../src/drivers/librados/driver.ts'
import { describeCeph } from '../support/ceph.ts'
import { radosContract } from './rados.suite.ts'

describeCeph('librados', (pair) => {
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
