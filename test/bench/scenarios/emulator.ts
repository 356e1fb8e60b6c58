import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { IoCtx } from '../../../src/rados/io-ctx.ts'
import { WriteOperation } from '../../../src/rados/operation.ts'
import { emulatedFixture } from '../../support/emulated.ts'
import { redisMissing, RedisServer } from '../../support/redis-server.ts'
import { rate, type LocalScenario, type Metrics } from '../scenario.ts'

const OBJECTS = 512
const AT_ONCE = 32
const BYTES = 512
const MEASURED_MS = 1500
const WARM_UP_MS = 1000

type Work = (io: IoCtx, name: string, turn: number) => Promise<unknown>

const DATA = Buffer.alloc(BYTES, 1)
const ENTRIES = Array.from({ length: 64 }, (_, index) => new Map([[`key ${index}`, Buffer.from(`value ${index}`)]]))

/** What mirroring does most: small records of objects read and written. */
const WORKS: readonly (readonly [what: string, work: Work])[] = [
  ['omap writes', (io, name, turn) => io.write(name, new WriteOperation().omapSet(ENTRIES[turn % ENTRIES.length]!))],
  ['data writes', (io, name) => io.write(name, new WriteOperation().write(0, DATA))],
  ['data reads', (io, name) => io.readData(name, 0, BYTES)],
  ['stats', (io, name) => io.stat(name)],
]

/** Operations of one client with 32 at once: by the wall clock, and by the processor time that this process used. */
export const emulator: LocalScenario = {
  name: 'emulator',
  title: 'emulated clusters: operations of one process',
  async run() {
    const metrics: Metrics = {}
    await measure('memory', 'memory:bench', metrics)
    const folder = await mkdtemp(join(tmpdir(), 'emulated-'))
    await measure('LMDB', pathToFileURL(folder).href, metrics, () => rm(folder, { recursive: true, force: true }))
    if (redisMissing() === undefined) {
      const server = await RedisServer.start()
      await measure('Redis', server.url(), metrics, () => server.close())
    }
    return metrics
  },
}

async function measure(engine: string, monHost: string, metrics: Metrics, close?: () => Promise<void>): Promise<void> {
  const fixture = await emulatedFixture(monHost, close)
  try {
    const cluster = await fixture.connect()
    const io = await cluster.openPool(fixture.pool)
    for (const [what, work] of WORKS) {
      await during(WARM_UP_MS, io, work)
      const { operations, seconds, processorSeconds } = await during(MEASURED_MS, io, work)
      metrics[`${engine}: ${what}`] = rate(operations / seconds, 'op/s')
      metrics[`${engine}: ${what}, of a whole core`] = rate(operations / processorSeconds, 'op/s')
    }
    await cluster.close()
  } finally {
    await fixture.close()
  }
}

async function during(ms: number, io: IoCtx, work: Work) {
  const started = performance.now()
  const processor = process.cpuUsage()
  let operations = 0
  const run = async () => {
    while (performance.now() - started < ms) {
      const turn = operations++
      await work(io, `object ${turn % OBJECTS}`, turn)
      // Between operations that answer at once, timers and messages get their turn.
      if (turn % 1024 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, run))
  const { user, system } = process.cpuUsage(processor)
  return { operations, seconds: (performance.now() - started) / 1000, processorSeconds: (user + system) / 1e6 }
}
