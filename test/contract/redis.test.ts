import { describe } from 'vitest'
import { emulatedFixture } from '../support/emulated.ts'
import { redisMissing, RedisServer } from '../support/redis-server.ts'
import { radosContract } from './rados.suite.ts'

describe.skipIf(redisMissing())('on redis-server', () => {
  radosContract('the RADOS contract on an emulated cluster in a Redis database', async () => {
    const server = await RedisServer.start({ password: 'hush' })
    return emulatedFixture(server.url(), () => server.close())
  })
})
