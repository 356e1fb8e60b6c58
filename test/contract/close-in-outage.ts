// Run by librados-outage.test.ts in a process of its own: connections are closed again and again under everything that can be in flight
// while the OSD is frozen. What librados still uses and we have freed, or the other way round, ends the process by a signal.
//   close-in-outage.ts CONF POOL OSD-PID ROUNDS
import { setTimeout as sleep } from 'node:timers/promises'
import { libradosDriver } from '../../src/drivers/librados/driver.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import type { IoCtx, Watch } from '../../src/rados/io-ctx.ts'
import { ReadOperation, WriteOperation } from '../../src/rados/operation.ts'

const [conf = '', pool = '', osd = '', rounds = ''] = process.argv.slice(2)
const CONNECTIONS = 3
const EACH = 20
const LENGTH = 64 * 1024
const UNTOUCHED = 1
const WRITTEN = 7
const quiet = { onNotify: () => undefined, onError: () => undefined }

interface Opened {
  cluster: Cluster
  io: IoCtx
  watch: Watch
}

async function open(): Promise<Opened> {
  const cluster = await libradosDriver.connect({ name: 'outage', entity: 'client.admin', confFile: conf, options: {} })
  const io = await cluster.openPool(pool)
  await io.write('watched', new WriteOperation().writeFull(Buffer.alloc(LENGTH, WRITTEN)))
  return { cluster, io, watch: await io.watch('watched', quiet) }
}

/** Everything at once that waits for the OSD or for the monitor. */
function start({ cluster, io }: Opened, buffers: Buffer[]): Promise<unknown>[] {
  const works: Promise<unknown>[] = []
  for (let index = 0; index < EACH; index++) {
    const into = Buffer.alloc(LENGTH, UNTOUCHED)
    buffers.push(into)
    const read = new ReadOperation()
    read.read(0, LENGTH, into)
    read.getXattrs()
    works.push(
      io.read('watched', read, index % 4 === 0 ? { signal: AbortSignal.timeout(index * 100) } : {}),
      io.write(`object-${index}`, new WriteOperation().writeFull(into)),
      io.omapGet('watched', '', '', 100),
      io.listSnaps('watched'),
      io.listWatchers('watched'),
    )
  }
  works.push(
    io.notify('watched', Buffer.from('hello'), 500),
    io.watch('watched', quiet),
    io.listObjects()[Symbol.asyncIterator]().next(),
    io.createSelfManagedSnap(),
    cluster.waitForLatestOsdMap(),
    cluster.monCommand({ prefix: 'osd dump' }),
  )
  return works
}

for (let round = 0; round < Number(rounds); round++) {
  const opened = await Promise.all(Array.from({ length: CONNECTIONS }, open))
  const buffers: Buffer[] = []
  process.kill(Number(osd), 'SIGSTOP')
  const works = opened.flatMap((one) => start(one, buffers))
  const settled = Promise.allSettled(works)
  await sleep(50) // until threads are in the calls that block
  const closed = Promise.all(opened.map(({ cluster }) => cluster.close()))
  // In every other round the OSD answers while librados is being shut down.
  const frozen = round % 2 === 0
  if (!frozen) {
    await sleep(100 + round * 150)
    process.kill(Number(osd), 'SIGCONT')
  }
  await closed
  await settled
  const seen = Buffer.concat(buffers)
  // late uses of what is closed
  for (const { watch, io } of opened) {
    try {
      watch.check()
      throw new Error('a watch of a closed connection was checked')
    } catch (error) {
      if (!(error as { errno?: number }).errno) throw error
    }
    await watch.close()
    await io.stat('watched').catch(() => undefined)
  }
  if (frozen) {
    process.kill(Number(osd), 'SIGCONT')
    await sleep(200)
  }
  if (!Buffer.concat(buffers).equals(seen)) throw new Error('a buffer was written after its connection was closed')
}
const last = await open()
await last.io.stat('watched')
await last.cluster.close()
console.log('survived')
