import { setTimeout as sleep } from 'node:timers/promises'
import { systemRandom } from '../../../src/base/random.ts'
import { mirrorImageStatusList } from '../../../src/cls/rbd/mirror-client.ts'
import type { IoCtx } from '../../../src/rados/io-ctx.ts'
import { createImage, generateImageId } from '../../../src/rbd/create-image.ts'
import {
  FEATURE_DEEP_FLATTEN,
  FEATURE_EXCLUSIVE_LOCK,
  FEATURE_FAST_DIFF,
  FEATURE_LAYERING,
  FEATURE_OBJECT_MAP,
} from '../../../src/rbd/features.ts'
import { enableImage } from '../../../src/rbd/mirror/enable-image.ts'
import { RBD_MIRRORING } from '../../../src/rbd/names.ts'
import { writeImage } from '../../../src/rbd/write-image.ts'
import { latestPrimarySnapshot } from '../../support/mirroring.ts'
import { freePorts } from '../../support/ports.ts'
import { RbdClient } from '../../support/rbd.ts'
import { waitFor } from '../../support/wait.ts'
import { inParallel } from '../load.ts'
import { MIB, type BenchRun } from '../run.ts'
import { bytes, milliseconds, percent, seconds, type Metrics, type Scenario } from '../scenario.ts'
import { allSynced } from './many-images.ts'

const IMAGES = 1000
const IMAGE_SIZE = 4 * MIB
const WRITTEN = 64 * 1024
const PARALLEL = 48
const VERIFIED = 10
const STATUS_PAGE = 64
const SETTLE_MS = 5_000
const SCRAPES = 20
const PROBE_EVERY_MS = 5
const FEATURES = FEATURE_LAYERING | FEATURE_EXCLUSIVE_LOCK | FEATURE_OBJECT_MAP | FEATURE_FAST_DIFF | FEATURE_DEEP_FLATTEN

/** What a daemon with a thousand images costs: first start, doing nothing, being looked at, and starting again. */
export const thousandImages: Scenario = {
  name: 'thousand-images',
  title: 'A thousand nearly empty images of 4 MiB',
  monitors: 'quick',
  async run(run: BenchRun): Promise<Metrics> {
    const names = Array.from({ length: IMAGES }, (_, index) => `image-${index}`)
    await createImages(run, names)
    const snapshots = new Map<string, bigint>()
    await inParallel(names, 16, async (name) => void snapshots.set(name, (await latestPrimarySnapshot(run.primary, run.spec(name))).id))

    await using secondary = await RbdClient.connect(run.pair.b)
    const io = await secondary.pool(run.pool)
    const port = await freePorts(1)
    const args = run.kind === 'stock' ? [] : [`--rbd-mirror-metrics-port=${port}`]
    const url = `http://127.0.0.1:${port}`
    const start = performance.now()
    const daemon = run.startDaemon(args)
    const [synced, known] = await Promise.all([allSynced(run, snapshots), allReplaying(run, io)])
    const syncing = run.kind === 'stock' ? undefined : await eventLoopDelay(url)

    await sleep(SETTLE_MS)
    const before = { cpu: daemon.cpuSeconds(), time: performance.now() }
    await sleep(run.parameters.seconds * 1000)
    const idle = (daemon.cpuSeconds() - before.cpu) / ((performance.now() - before.time) / 1000)
    const resident = daemon.residentMemory()
    const looks = run.kind === 'stock' ? {} : await lookedAt(url)
    const peak = run.peakMemory()
    const stopping = performance.now()
    await run.stopDaemon()
    const stopped = performance.now()

    const restarted = run.startDaemon(args)
    const again = await allReplaying(run, io)
    const restartedPeak = restarted.peakMemory()
    await run.stopDaemon()
    for (const name of names.slice(0, VERIFIED)) await run.verify(run.spec(name), snapshots.get(name))
    return {
      'start to all synced': seconds((synced - start) / 1000),
      'start to all up+replaying in the status': seconds((known - start) / 1000),
      ...(syncing && { 'event loop while syncing: 99 %': milliseconds(syncing.p99 * 1000), 'event loop while syncing: longest': milliseconds(syncing.max * 1000) }),
      'idle CPU': percent(idle * 100),
      'resident memory when idle': bytes(resident),
      'peak resident memory': bytes(peak),
      ...looks,
      stop: seconds((stopped - stopping) / 1000),
      'second start to all up+replaying': seconds((again - stopped) / 1000),
      'peak resident memory after the second start': bytes(restartedPeak),
    }
  },
}

async function createImages(run: BenchRun, names: readonly string[]): Promise<void> {
  await using client = await RbdClient.connect(run.pair.a)
  const io = await client.pool(run.pool)
  await inParallel(names, PARALLEL, async (name) => {
    const id = generateImageId(client.cluster.instanceId, systemRandom)
    await createImage(io, { id, name, size: IMAGE_SIZE, order: 22, features: FEATURES })
    const image = await client.open(io, name)
    await image.lock!.acquire()
    await writeImage(image, 0, Buffer.alloc(WRITTEN, name))
    await enableImage(image, { mode: 'snapshot' })
    await image.close()
  })
}

/** performance.now() when the running daemon has reported every image as replaying. */
async function allReplaying(run: BenchRun, io: IoCtx): Promise<number> {
  let seen = 0
  await waitFor(
    'all images to be replaying in the status',
    async () => {
      seen = 0
      for (let startAfter = ''; ; ) {
        const { images, statuses } = await mirrorImageStatusList.call(io, RBD_MIRRORING, { startAfter, max: STATUS_PAGE })
        for (const { local } of statuses.values()) if (local?.up && local.state === 'replaying') seen++
        const last = [...images.keys()].at(-1)
        if (last === undefined) return seen === IMAGES
        startAfter = last
      }
    },
    { timeout: 300_000, interval: 200, detail: () => `${seen} are; ${run.daemonState()}` },
  )
  return performance.now()
}

/** Seconds, over the last one to two minutes, as the daemon itself measures it. */
async function eventLoopDelay(url: string): Promise<{ p99: number; max: number }> {
  const status = (await (await fetch(`${url}/api/status`)).json()) as { daemon: { eventLoopDelay: { p99: number; max: number } } }
  return status.daemon.eventLoopDelay
}

/** Time and size of what a daemon shows of its images, and how long somebody else waits for an answer meanwhile. */
async function lookedAt(url: string): Promise<Metrics> {
  const scrape = await timed(`${url}/metrics`)
  const [waits, times] = await probedDuring(url, async () => {
    const taken = []
    for (let count = 0; count < SCRAPES; count++) taken.push((await timed(`${url}/metrics`)).time)
    return taken
  })
  const feed = await firstEvents(`${url}/api/stream`)
  return {
    'first scrape': milliseconds(scrape.time),
    'scrape: median': milliseconds(quantile(times, 0.5)),
    'scrape: size': bytes(scrape.size),
    'health check during scrapes: 99 %': milliseconds(quantile(waits, 0.99)),
    'health check during scrapes: longest': milliseconds(Math.max(...waits)),
    "status page's feed, first events": milliseconds(feed),
  }
}

async function timed(url: string): Promise<{ time: number; size: number }> {
  const from = performance.now()
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${url}: status ${response.status}`)
  const { length } = await response.text()
  return { time: performance.now() - from, size: length }
}

/** Asks for the health all the time while `task` runs: the milliseconds until each answer. */
async function probedDuring<T>(url: string, task: () => Promise<T>): Promise<[waits: number[], result: T]> {
  const waits: number[] = []
  let done = false
  const probing = (async () => {
    while (!done) {
      waits.push((await timed(`${url}/healthz`)).time)
      await sleep(PROBE_EVERY_MS)
    }
  })()
  try {
    return [waits, await task()]
  } finally {
    done = true
    await probing
  }
}

/** Milliseconds until the stream has sent what the page shows. */
async function firstEvents(url: string): Promise<number> {
  const from = performance.now()
  const stop = new AbortController()
  const response = await fetch(url, { signal: stop.signal })
  let text = ''
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece
    if (/event: images\ndata: .*\n\n/.test(text)) break
  }
  stop.abort()
  return performance.now() - from
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}
