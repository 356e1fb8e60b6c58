import { describeCeph } from '../support/ceph.ts'
import { RbdClient } from '../support/rbd.ts'
import { classContract } from './cls.suite.ts'

const pool = 'cls'

describeCeph('with Ceph', (pair) => {
  classContract('object classes of a real OSD', async () => {
    await pair.a.createPool(pool)
    const client = await RbdClient.connect(pair.a)
    return { io: await client.pool(pool), cluster: client.cluster, close: () => client.close() }
  })
})
