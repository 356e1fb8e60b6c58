// Run by librados-outage.test.ts in a process of its own: connections are closed under many notifications. When they are answered librados still has
// to forget them; if it is shut down before that, the process ends by a signal.
//   close-after-notify.ts CONF POOL ROUNDS
import { setTimeout as sleep } from 'node:timers/promises'
import { libradosDriver } from '../../src/drivers/librados/driver.ts'
import { WriteOperation } from '../../src/rados/operation.ts'

const [conf = '', pool = '', rounds = ''] = process.argv.slice(2)
const CONNECTIONS = 2
const WATCHES = 800

async function round(): Promise<void> {
  const cluster = await libradosDriver.connect({ name: 'outage', entity: 'client.admin', confFile: conf, options: {} })
  const io = await cluster.openPool(pool)
  const names = Array.from({ length: WATCHES }, (_, index) => `watched-${index}`)
  await Promise.all(names.map((name) => io.write(name, new WriteOperation().create(false))))
  await Promise.all(names.map((name) => io.watch(name, { onNotify: (notification) => notification.ack(), onError: () => undefined })))
  const notified = Promise.allSettled(names.map((name) => io.notify(name, Buffer.from('hello'), 5000)))
  await sleep(Math.random() * 60)
  await cluster.close()
  await notified
}

for (let done = 0; done < Number(rounds); done++) await Promise.all(Array.from({ length: CONNECTIONS }, round))
console.log('survived')
