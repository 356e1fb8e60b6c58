import { classContract } from '../../test/contract/cls.suite.ts'
import { emulatorFor } from '../../test/support/emulated.ts'

classContract('object classes of an emulated cluster', async () => {
  const monHost = 'memory:cls'
  const driver = emulatorFor(monHost)
  await driver.create({ monHost })
  const cluster = await driver.connect({ name: 'emulated', entity: 'client.admin', options: {} })
  await cluster.monCommand({ prefix: 'osd pool create', pool: 'cls', pg_num: 4 })
  const io = await cluster.openPool('cls')
  return {
    io,
    cluster,
    async close() {
      io.close()
      await cluster.close()
    },
  }
})
