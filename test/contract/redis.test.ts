import { describe } from 'vitest'
import { emulatorFor } from '../support/emulated.ts'
import { redisMissing, RedisServer } from '../support/redis-server.ts'
import { radosContract, type ContractFixture } from './rados.suite.ts'

/** Connections are by turns those of two drivers, which know of each other as two processes do: through the server alone. */
async function redisFixture(): Promise<ContractFixture> {
  const server = await RedisServer.start({ password: 'hush' })
  const monHost = server.url()
  const { adminKey } = await emulatorFor(monHost).create({ monHost })
  const drivers = [emulatorFor(monHost, { key: () => adminKey }), emulatorFor(monHost, { key: () => adminKey })]
  let turn = 0
  const connect = () => drivers[turn++ % drivers.length]!.connect({ name: 'contract', entity: 'client.admin', options: {} })
  const keep = [await connect(), await connect()]
  const pool = 'contract'
  await keep[0]!.monCommand({ prefix: 'osd pool create', pool, pg_num: 4 })
  return {
    pool,
    connect,
    async close() {
      for (const cluster of keep) await cluster.close()
      await server.close()
    },
  }
}

describe.skipIf(redisMissing())('on redis-server', () => {
  radosContract('the RADOS contract on an emulated cluster in a Redis database', redisFixture)
})
