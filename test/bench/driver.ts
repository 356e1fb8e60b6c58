// What the librados driver can do by itself: small writes and reads, and 4 MiB objects copied from one cluster to another.
//   tsx test/bench/driver.ts [--conf-a FILE --conf-b FILE] [--seconds N] [--soak OPERATIONS]
// Without configuration files it starts two clusters of its own. --soak looks for leaks: resident memory over that many operations.
import { parseArgs } from 'node:util'
import { libradosDriver } from '../../src/drivers/librados/driver.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { ReadOperation, WriteOperation } from '../../src/rados/operation.ts'
import { ClusterPair } from '../support/pair.ts'

const OBJECTS = 128
const LARGE_OBJECTS = 24
const SMALL = 4096
const LARGE = 4 << 20

const { values } = parseArgs({
  options: { 'conf-a': { type: 'string' }, 'conf-b': { type: 'string' }, seconds: { type: 'string', default: '4' }, soak: { type: 'string' } },
})
const seconds = Number(values.seconds)

async function open(confFile: string): Promise<{ cluster: Cluster; io: IoCtx; close(): Promise<void> }> {
  const cluster = await libradosDriver.connect({ name: 'bench', entity: 'client.admin', confFile, options: {} })
  const pool = `driver-bench-${process.pid}`
  const created = await cluster.monCommand({ prefix: 'osd pool create', pool, pg_num: 8 })
  if (created.code !== 0) throw new Error(created.status)
  await cluster.waitForLatestOsdMap()
  const io = await cluster.openPool(pool)
  return {
    cluster,
    io,
    async close() {
      await cluster.monCommand({ prefix: 'osd pool delete', pool, pool2: pool, yes_i_really_really_mean_it: true })
      await cluster.close()
    },
  }
}

/** Keeps `width` calls of `operation` running for the time, and prints the rate and what it cost this process. */
async function measure(name: string, width: number, bytes: number, operation: (index: number) => Promise<unknown>): Promise<void> {
  const cpu = process.cpuUsage()
  const loop = performance.eventLoopUtilization()
  const start = performance.now()
  const end = start + seconds * 1000
  let count = 0
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (performance.now() < end) await operation(count++)
    }),
  )
  const elapsed = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  const main = performance.eventLoopUtilization(loop).active
  const columns = [
    name.padEnd(28),
    `${Math.round(count / elapsed)} op/s`.padStart(14),
    `${((count * bytes) / elapsed / 1e6).toFixed(0)} MB/s`.padStart(12),
    `${((user + system) / count).toFixed(1)} µs CPU/op`.padStart(18),
    `${((main * 1000) / count).toFixed(1)} µs main thread/op`.padStart(26),
  ]
  console.log(columns.join(''))
}

async function throughput(a: IoCtx, b: IoCtx): Promise<void> {
  const data = Buffer.alloc(SMALL, 7)
  await measure('4 KiB writes', 64, SMALL, (index) => a.write(`s${index % OBJECTS}`, new WriteOperation().write((index % 1024) * SMALL, data)))
  await measure('4 KiB writes, 8 per operation', 32, 8 * SMALL, (index) => {
    const operation = new WriteOperation()
    for (let step = 0; step < 8; step++) operation.write(((index * 8 + step) % 1024) * SMALL, data)
    return a.write(`s${index % OBJECTS}`, operation)
  })
  await measure('4 KiB reads', 64, SMALL, (index) => a.readData(`s${index % OBJECTS}`, 0, SMALL))
  await measure('stats', 64, 0, (index) => a.stat(`s${index % OBJECTS}`))
  await measure('list snapshots', 64, 0, (index) => a.listSnaps(`s${index % OBJECTS}`))

  const large = Buffer.alloc(LARGE, 3)
  for (let index = 0; index < LARGE_OBJECTS; index++) await a.write(`l${index}`, new WriteOperation().writeFull(large))
  const buffers = Array.from({ length: 16 }, () => Buffer.allocUnsafeSlow(LARGE))
  const withBuffer = async (use: (buffer: Buffer) => Promise<unknown>) => {
    const buffer = buffers.pop()!
    await use(buffer)
    buffers.push(buffer)
  }
  await measure('4 MiB reads', 8, LARGE, (index) => withBuffer((buffer) => a.readData(`l${index % LARGE_OBJECTS}`, 0, LARGE, buffer)))
  await measure('4 MiB writes', 8, LARGE, (index) => b.write(`l${index % LARGE_OBJECTS}`, new WriteOperation().writeFull(large)))
  await measure('4 MiB copies, a to b', 8, LARGE, (index) =>
    withBuffer(async (buffer) => {
      const read = await a.readData(`l${index % LARGE_OBJECTS}`, 0, LARGE, buffer)
      await b.write(`l${index % LARGE_OBJECTS}`, new WriteOperation().write(0, read))
    }),
  )
}

async function soak(io: IoCtx, operations: number): Promise<void> {
  const data = Buffer.alloc(512, 9)
  const entries = new Map(Array.from({ length: 8 }, (_, index) => [`key-${index}`, data]))
  await io.write('soak', new WriteOperation().writeFull(data).omapSet(entries).setXattr('x', data))
  const kinds: ((index: number) => Promise<unknown>)[] = [
    () => io.write('soak', new WriteOperation().write(0, data).omapSet(entries).setXattr('x', data)),
    () => {
      const read = new ReadOperation()
      read.stat()
      read.getXattrs()
      read.omapGet('', '', 100)
      read.read(0, 512)
      read.checksum('xxhash64', 0n, 0, 512, 128)
      return io.read('soak', read)
    },
    () => io.exec('soak', 'lock', 'get_info', Buffer.from('010108000000040000006c6f636b', 'hex')),
    () => io.listSnaps('soak'),
    () => io.listWatchers('soak'),
    () => io.stat('missing').catch(() => undefined),
    () => io.omapGet('missing', '', '', 10).catch(() => undefined),
    async () => {
      const view = io.duplicate({ readSnap: 1n })
      await view.stat('soak').catch(() => undefined)
      view.close()
    },
  ]
  const watch = await io.watch('soak', { onNotify: (notification) => notification.ack(data), onError: console.error })
  for (let done = 0, step = Math.ceil(operations / 10); done < operations; done += step) {
    let next = 0
    await Promise.all(
      Array.from({ length: 32 }, async () => {
        while (next < step) await kinds[next % kinds.length]!(next++)
      }),
    )
    for (let index = 0; index < step / 100; index++) await io.notify('soak', data, 5000)
    const { rss, heapUsed, external } = process.memoryUsage()
    const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`
    console.log(`${done + step} operations: resident ${mib(rss)}, heap ${mib(heapUsed)}, buffers ${mib(external)}`)
  }
  await watch.close()
}

const pair = values['conf-a'] && values['conf-b'] ? undefined : await ClusterPair.start()
try {
  const a = await open(values['conf-a'] ?? pair!.a.conf)
  const b = await open(values['conf-b'] ?? pair!.b.conf)
  try {
    if (values.soak) await soak(a.io, Number(values.soak))
    else await throughput(a.io, b.io)
  } finally {
    await a.close()
    await b.close()
  }
} finally {
  await pair?.close()
}
