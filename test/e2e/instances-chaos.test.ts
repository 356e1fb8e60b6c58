import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { SeededRandom } from '../support/seeded-random.ts'
import { describeCeph } from '../support/ceph.ts'
import type { DaemonKind, MirrorDaemon } from '../support/daemon.ts'
import { mirrorAndCompare, scribble, startDaemon } from '../support/e2e.ts'
import { instanceLeft, replayedBy, statusOf, waitUntilShared } from '../support/instances.ts'
import { expectReplayed } from '../support/journal.ts'
import { createMirroredPool } from '../support/mirroring.ts'
import { RbdClient } from '../support/rbd.ts'
import { journalImage, snapshotImage } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'instances-chaos'
const CHAOS_MS = 18_000
/** A daemon that does not answer is given up after 7 s, a leader that is not heard of after 8 s. */
const ARGS = [
  '--rbd-mirror-leader-heartbeat-interval=1',
  '--rbd-mirror-leader-max-acquire-attempts-before-break=4',
  '--rbd-mirror-image-policy-migration-throttle=0',
]
const GIVEN_UP_MS = 8_000
/** How soon a daemon that was given up while it hung must have noticed once it goes on. */
const NOTICES_MS = 3_000
const ASK_MS = 500

interface Slot {
  readonly kind: DaemonKind | undefined
  daemon: MirrorDaemon
  frozen: boolean
  /** until then it may believe to have what others have taken: nothing that it does has any effect */
  staleUntil: number
}

describeCeph('daemons that come and go', (pair) => {
  const seed = Number(process.env['RBD_MIRROR_SEED'] ?? 1)
  const random = new SeededRandom(seed)
  const snapshotImages = ['s1', 's2', 's3'].map((name) => `${POOL}/${name}`)
  const journalImages = ['j1', 'j2'].map((name) => `${POOL}/${name}`)
  const count = snapshotImages.length + journalImages.length
  const slots: Slot[] = []
  const events: string[] = []
  const instances = new Set<string>()
  let client: RbdClient

  const start = (kind?: DaemonKind) => startDaemon(pair, { args: ARGS, ...(kind && { kind }) })
  const below = (max: number) => Math.floor(random.next() * max)
  const note = (event: string) => events.push(`${Math.round(performance.now())} ${event}`)

  beforeAll(async () => {
    await createMirroredPool(pair.a, pair.b, POOL)
    for (const kind of [undefined, undefined, 'stock'] as const) slots.push({ kind, daemon: start(kind), frozen: false, staleUntil: 0 })
    for (const spec of snapshotImages) await snapshotImage(pair, spec, { size: '8M' })
    for (const spec of journalImages) await journalImage(pair, spec, { size: '8M' })
    client = await RbdClient.connect(pair.b)
  })
  afterAll(async () => {
    for (const { daemon } of slots) await daemon.kill()
    await client?.close()
  })

  const alive = () => slots.filter(({ daemon, frozen }) => daemon.running && !frozen)

  async function write(signal: AbortSignal): Promise<void> {
    const { a } = await pair.connect()
    while (!signal.aborted) {
      for (const spec of snapshotImages) {
        await a.with(spec, 'write', async (image) => {
          await scribble(image, { count: 3 })
          await image.mirrorSnapshot()
        })
      }
      for (const spec of journalImages) await a.with(spec, 'write', (image) => scribble(image, { count: 5, maxLength: 50_000 }))
      await sleep(300)
    }
  }

  /** Asks all daemons twice in turn: what one says before and after another says the same is replayed by both. */
  async function findDouble(): Promise<string | undefined> {
    const asked: { daemon: MirrorDaemon; images: string[] }[] = []
    for (const slot of [...alive(), ...alive()]) {
      const { daemon } = slot
      const id = (await statusOf(daemon, POOL, ASK_MS))?.instance_id
      if (id !== undefined) instances.add(id)
      const images = await replayedBy(daemon, POOL, ASK_MS)
      if (!slot.frozen && performance.now() > slot.staleUntil) asked.push({ daemon, images })
    }
    const nameOf = (daemon: MirrorDaemon) => slots.findIndex((slot) => slot.daemon === daemon)
    for (const [at, { daemon, images }] of asked.entries()) {
      const again = asked.findLastIndex((other) => other.daemon === daemon)
      for (const other of asked.slice(at + 1, again)) {
        if (other.daemon === daemon) continue
        const double = images.find((image) => other.images.includes(image) && asked[again]!.images.includes(image))
        if (double) return `${double} by ${nameOf(daemon)} and ${nameOf(other.daemon)}`
      }
    }
    return undefined
  }

  async function watch(signal: AbortSignal): Promise<string[]> {
    const doubles: string[] = []
    while (!signal.aborted) {
      const double = await findDouble()
      if (double) {
        note(`DOUBLE ${double}`)
        doubles.push(double)
      }
      await sleep(50)
    }
    return doubles
  }

  async function trouble(slot: Slot): Promise<void> {
    const { daemon, kind } = slot
    const name = `daemon ${slots.indexOf(slot)}`
    const action = below(kind === 'stock' ? 3 : 5)
    if (!daemon.running || action === 0) {
      note(`kill ${name}`)
      await daemon.kill()
      await sleep(below(3_000))
      note(`start ${name}`)
      slot.daemon = start(kind)
    } else if (action === 1 || action === 2) {
      const ms = action === 1 ? 1_000 + below(1_500) : GIVEN_UP_MS + 3_000
      note(`freeze ${name} for ${ms} ms`)
      slot.frozen = true
      daemon.signal('SIGSTOP')
      await sleep(ms)
      slot.staleUntil = performance.now() + NOTICES_MS
      daemon.signal('SIGCONT')
      slot.frozen = false
      note(`thaw ${name}`)
      await sleep(NOTICES_MS)
    } else if (action === 3) {
      note(`stop ${name}`)
      await daemon.stop()
      note(`start ${name}`)
      slot.daemon = start(kind)
    } else {
      note(`release ${name}`)
      await daemon.admin(`rbd mirror leader release ${POOL} ${pair.a.name}`).catch(() => undefined) // it may not have the pool yet
    }
  }

  it('never replay an image twice, and converge when all is well again', { timeout: 120_000 }, async () => {
    const stop = new AbortController()
    const writing = write(stop.signal)
    const watching = watch(stop.signal)
    const until = performance.now() + CHAOS_MS
    const troubled = new Set<Slot>()
    const running: Promise<void>[] = []
    while (performance.now() < until) {
      const slot = slots[below(slots.length)]!
      if (!troubled.has(slot) && troubled.size < slots.length - 1) {
        troubled.add(slot)
        running.push(trouble(slot).finally(() => troubled.delete(slot)))
      }
      await sleep(1_000 + below(1_500))
    }
    await Promise.all(running)
    for (const slot of slots) if (!slot.daemon.running) slot.daemon = start(slot.kind)
    note('all well')
    try {
      await waitUntilShared(slots.map(({ daemon }) => daemon), POOL, count, { each: 0, timeout: 45_000 })
      note('shared')
      stop.abort()
      await writing
      expect(await watching).toEqual([])
      for (const spec of snapshotImages) await mirrorAndCompare(pair, spec)
      for (const spec of journalImages) await expectReplayed(pair, spec)
      const io = await client.pool(POOL)
      const statuses = slots.map(({ daemon }) => waitFor('a daemon to answer', () => statusOf(daemon, POOL)))
      const current = new Set((await Promise.all(statuses)).map(({ instance_id: id }) => id))
      for (const id of instances) if (!current.has(id)) expect([id, await instanceLeft(io, id)]).toEqual([id, false])
    } catch (error) {
      throw new Error(`with RBD_MIRROR_SEED=${seed}:\n${events.join('\n')}`, { cause: error })
    } finally {
      stop.abort()
    }
  })
})
