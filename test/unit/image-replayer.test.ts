import { afterEach, describe, expect, it } from 'vitest'
import { Cancelled } from '../../src/base/cancelled.ts'
import { silentLog } from '../../src/base/log.ts'
import { Semaphore } from '../../src/base/semaphore.ts'
import { untilAborted } from '../../src/base/until-aborted.ts'
import { ImageReplayer, mayFollow, type ImageReplayerOptions } from '../../src/mirror/image-replayer.ts'
import type { ImageContext } from '../../src/mirror/image-context.ts'
import type { MirrorOptions } from '../../src/mirror/options.ts'
import type { BootstrapEnd, ReplayEnd } from '../../src/mirror/replayer.ts'
import { Metrics } from '../../src/observability/metrics.ts'
import { EBLOCKLISTED, RadosError } from '../../src/rados/errors.ts'
import { ManualClock, settle } from './manual-clock.ts'

/** What each bootstrap answers, in order; the last one again and again. */
type Script = (BootstrapEnd | Error | ((context: ImageContext, signal: AbortSignal) => Promise<BootstrapEnd>))[]

class Harness {
  readonly clock = new ManualClock()
  readonly statuses: string[] = []
  readonly moves: boolean[] = []
  readonly names: string[] = []
  bootstraps = 0
  context: ImageContext | undefined
  /** set while the demoted image is watched */
  demotedChanged: (() => void) | undefined
  trashMove: (resync: boolean) => Promise<void> = async () => undefined
  readonly stop = new AbortController()
  readonly replayer: ImageReplayer
  readonly ended: Promise<void>
  over: 'no' | 'resolved' | 'rejected' = 'no'

  constructor(script: Script, changes: Partial<ImageReplayerOptions> = {}) {
    const metrics = new Metrics().image({ pool: 'p', namespace: '', peer: 'a', globalImageId: 'gid' })
    const io = { poolName: 'p', namespace: '' }
    this.replayer = new ImageReplayer({
      context: { globalImageId: 'gid', local: { io } } as unknown as Omit<ImageContext, 'report'>,
      bootstrap: async (context, signal) => {
        this.context = context
        const step = script[Math.min(this.bootstraps++, script.length - 1)]!
        if (step instanceof Error) throw step
        return typeof step === 'function' ? step(context, signal) : step
      },
      starts: new Semaphore(1),
      options: { imageStateCheckInterval: 30 } as MirrorOptions,
      clock: this.clock,
      random: { next: () => 0, uuid: () => '', bytes: (n) => Buffer.alloc(n) },
      log: silentLog,
      metrics,
      startStopped: false,
      onStatus: ({ state, description }) => this.statuses.push(`${state}: ${description}`),
      onName: (name) => this.names.push(name),
      watchDemoted: (onChange, signal) => {
        this.demotedChanged = onChange
        return untilAborted(signal).then(() => void (this.demotedChanged = undefined))
      },
      trashMove: async (resync) => {
        this.moves.push(resync)
        await this.trashMove(resync)
      },
      ...changes,
    })
    this.ended = this.replayer.run(this.stop.signal).then(
      () => void (this.over = 'resolved'),
      () => void (this.over = 'rejected'),
    )
  }

  async close(): Promise<void> {
    this.stop.abort(new Cancelled())
    await this.ended
  }
}

/** Replays until it is stopped, or until `end` is called. */
class FakeReplay {
  flushes = 0
  finish!: (end: ReplayEnd) => void
  readonly step = async (): Promise<BootstrapEnd> => ({
    type: 'replay',
    replayer: {
      run: (signal) => {
        const ended = new Promise<ReplayEnd>((resolve) => (this.finish = resolve))
        return Promise.race([ended, untilAborted(signal).then(() => ({ type: 'stopped' }) as const)])
      },
      flush: async () => void this.flushes++,
    },
  })
}

let harness: Harness
afterEach(() => harness.close())

describe('ImageReplayer', () => {
  it('replays, tells its progress, and stops with the daemon', async () => {
    const replay = new FakeReplay()
    harness = new Harness([replay.step])
    await settle()
    expect(harness.statuses).toEqual(['starting_replay: starting replay'])
    harness.context!.report({ type: 'name', name: 'disk' })
    harness.context!.report({ type: 'replaying', description: { replay_state: 'idle' } })
    expect(harness.replayer.status()).toEqual({ name: 'p/disk', state: 'Replaying' })
    expect(harness.names).toEqual(['disk'])
    expect(harness.statuses.at(-1)).toBe('replaying: replaying, {"replay_state":"idle"}')
    await harness.close()
    expect(harness.replayer.status().state).toBe('Stopped')
  })

  it('publishes a change of state at once and progress once a second', async () => {
    harness = new Harness([new FakeReplay().step])
    await settle()
    for (let percent = 0; percent < 5; percent++) harness.context!.report({ type: 'replaying', description: { percent } })
    expect(harness.statuses.slice(1)).toEqual(['replaying: replaying, {"percent":0}'])
    await harness.clock.advance(999)
    expect(harness.statuses).toHaveLength(2)
    await harness.clock.advance(1)
    expect(harness.statuses.slice(2)).toEqual(['replaying: replaying, {"percent":4}'])
  })

  it('looks again at an image that ended, ever more rarely, and without flapping', async () => {
    harness = new Harness([{ type: 'localPrimary' }])
    await harness.clock.advance(0)
    expect(harness.bootstraps).toBe(1)
    await harness.clock.advance(1000)
    expect(harness.bootstraps).toBe(2)
    await harness.clock.advance(2000 + 4000 + 8000 + 16000)
    expect(harness.bootstraps).toBe(6)
    await harness.clock.advance(29_999)
    expect(harness.bootstraps).toBe(6)
    await harness.clock.advance(1)
    expect(harness.bootstraps).toBe(7)
    expect(new Set(harness.statuses.slice(1))).toEqual(new Set(['stopped: local image is primary']))
  })

  it('tries again soon when a replay fails that went well for a while', async () => {
    const failed: ReplayEnd = { type: 'failed', description: 'failed to copy remote image', error: undefined }
    const replays = Array.from({ length: 4 }, () => new FakeReplay())
    harness = new Harness(replays.map(({ step }) => step))
    for (const [index, replay] of replays.slice(0, 3).entries()) {
      await harness.clock.advance(11_000)
      replay.finish(failed)
      await harness.clock.advance(1_000)
      expect(harness.bootstraps).toBe(index + 2)
    }
  })

  it('leaves an image alone that is being promoted', async () => {
    harness = new Harness([{ type: 'orphan' }])
    await harness.clock.advance(3_999)
    expect(harness.bootstraps).toBe(1)
    await harness.clock.advance(1)
    expect(harness.bootstraps).toBe(2)
  })

  it('looks again at once when it is woken', async () => {
    harness = new Harness([{ type: 'remoteNotPrimary' }])
    await harness.clock.advance(40_000)
    const before = harness.bootstraps
    harness.replayer.wake()
    await settle()
    expect(harness.bootstraps).toBe(before + 1)
  })

  it('looks again when one of the images changes that were demoted, and watches them no longer once it replays', async () => {
    harness = new Harness([{ type: 'remoteDemoted' }, { type: 'remoteNotPrimary' }, new FakeReplay().step])
    await settle()
    for (const bootstraps of [2, 3]) {
      harness.demotedChanged!()
      await settle()
      expect(harness.bootstraps).toBe(bootstraps)
    }
    expect(harness.replayer.status().state).toBe('Replaying')
    expect(harness.demotedChanged).toBeUndefined()
  })

  it('tells why it ended once, and again when it ends otherwise', async () => {
    const failed = (reason: string): BootstrapEnd => ({ type: 'failed', description: 'failed to copy', error: new Error(reason) })
    const lines: string[] = []
    const take = (level: string) => (fields: { err?: Error }) => level !== 'debug' && lines.push(`${level}: ${fields.err?.message}`)
    const log = { ...silentLog, debug: take('debug'), info: take('info'), warn: take('warn') } as typeof silentLog
    harness = new Harness([failed('one'), failed('one'), failed('one'), failed('two')], { log })
    for (let times = 0; times < 5; times++) await harness.clock.advance(30_000)
    expect(harness.bootstraps).toBeGreaterThan(4)
    expect(lines).toEqual(['warn: one', 'warn: two'])
  })

  it.each([
    [{ type: 'transient', reason: 'remote pool has no record of mirroring' }, 'stopped: stopped'],
    [{ type: 'failed', description: 'replay failed', error: undefined }, 'stopped: stopped'],
    [{ type: 'splitBrain', reason: 'split-brain' }, 'error: split-brain'],
  ] as [ReplayEnd, string][])('leaves behind what holds without it: after %o', async (end, left) => {
    harness = new Harness([end])
    await harness.clock.advance(5_000)
    await harness.close()
    harness.replayer.publishStopped()
    expect(harness.statuses.at(-1)).toBe(left)
  })

  it('keeps showing the error while it tries again', async () => {
    const replay = new FakeReplay()
    harness = new Harness([{ type: 'failed', description: 'failed to open remote image', error: new Error('x') }, replay.step])
    await harness.clock.advance(1000)
    expect(harness.replayer.status().state).toBe('Replaying')
    expect(harness.statuses).toEqual(['starting_replay: starting replay', 'error: failed to open remote image'])
    harness.context!.report({ type: 'replaying', description: {} })
    expect(harness.statuses.at(-1)).toBe('replaying: replaying, {}')
  })

  it('moves an image whose primary is gone to the trash, and ends', async () => {
    harness = new Harness([{ type: 'remoteGone', localImageId: '1' }])
    await harness.ended
    expect(harness.moves).toEqual([false])
    expect(harness.over).toBe('resolved')
  })

  it('tries again when the image can not be moved', async () => {
    harness = new Harness([{ type: 'remoteGone', localImageId: '1' }, { type: 'localPrimary' }])
    harness.trashMove = () => Promise.reject(new Error('busy'))
    await harness.clock.advance(1000)
    expect(harness.bootstraps).toBe(2)
    expect(harness.over).toBe('no')
  })

  it('bootstraps anew at once after a resync was asked for', async () => {
    const replay = new FakeReplay()
    harness = new Harness([{ type: 'resyncRequested' }, replay.step])
    await settle()
    expect(harness.moves).toEqual([true])
    expect(harness.replayer.status().state).toBe('Replaying')
  })

  it('makes an image that is left unfinished anew, at once the first time, then ever more seldom, whoever wakes it', async () => {
    let round = 0
    const next = (): ReplayEnd => (round++ % 2 === 0 ? { type: 'localIncomplete' } : { type: 'failed', description: 'failed to create local image', error: undefined })
    harness = new Harness([async () => next()])
    await settle()
    expect(harness.moves.length).toBe(1)
    for (let ms = 0; ms < 30_000; ms += 50) {
      harness.replayer.wake()
      await harness.clock.advance(50)
    }
    // after 1, 2, 4, 8 s …
    expect(harness.moves.length).toBeGreaterThan(3)
    expect(harness.moves.length).toBeLessThan(8)
  })

  it('ends when neither side has the image', async () => {
    harness = new Harness([{ type: 'imageGone' }])
    await harness.ended
    expect(harness.over).toBe('resolved')
  })

  it('stays stopped after an operator stopped it', async () => {
    const replay = new FakeReplay()
    harness = new Harness([replay.step])
    await settle()
    await harness.replayer.stop()
    expect(harness.statuses.slice(-2)).toEqual(['stopping_replay: stopping replay', 'stopped: stopped'])
    await harness.clock.advance(300_000)
    harness.replayer.wake()
    await settle()
    expect(harness.bootstraps).toBe(1)
    harness.replayer.start()
    await settle()
    expect(harness.replayer.status().state).toBe('Replaying')
    expect(harness.statuses.at(-1)).toBe('starting_replay: starting replay')
  })

  it('restarts what was stopped and what runs', async () => {
    harness = new Harness([new FakeReplay().step], { startStopped: true })
    await settle()
    expect([harness.bootstraps, harness.replayer.isStoppedByOperator]).toEqual([0, true])
    await harness.replayer.restart()
    await settle()
    expect(harness.bootstraps).toBe(1)
    await harness.replayer.restart()
    await settle()
    expect(harness.bootstraps).toBe(2)
    expect(harness.replayer.status().state).toBe('Replaying')
  })

  it('interrupts a start', async () => {
    let interrupted = false
    const hanging = async (_: ImageContext, signal: AbortSignal): Promise<BootstrapEnd> => {
      await untilAborted(signal)
      interrupted = true
      throw signal.reason
    }
    harness = new Harness([hanging])
    await settle()
    expect(harness.replayer.status().state).toBe('Starting')
    await harness.replayer.stop()
    expect(interrupted).toBe(true)
    expect(harness.replayer.status().state).toBe('Stopped')
  })

  it('flushes what replays', async () => {
    const replay = new FakeReplay()
    harness = new Harness([replay.step])
    await settle()
    await harness.replayer.flush()
    expect(replay.flushes).toBe(1)
    await harness.replayer.stop()
    await harness.replayer.flush()
    expect(replay.flushes).toBe(1)
  })

  it('gives up with its connection', async () => {
    harness = new Harness([new RadosError(EBLOCKLISTED, { op: 'read' })])
    await harness.ended
    expect(harness.over).toBe('rejected')
  })

  it('takes an unexpected error for a failure of this image', async () => {
    harness = new Harness([new TypeError('bug')])
    await settle()
    expect(harness.statuses.at(-1)).toBe('error: replay failed')
    expect(harness.over).toBe('no')
  })

  it('syncs while it starts', async () => {
    harness = new Harness([(_, signal) => untilAborted(signal).then(() => ({ type: 'stopped' }))])
    await settle()
    harness.context!.report({ type: 'syncing', description: 'bootstrapping, IMAGE_SYNC/COPY_IMAGE 10%' })
    expect(harness.statuses.at(-1)).toBe('syncing: bootstrapping, IMAGE_SYNC/COPY_IMAGE 10%')
    harness.context!.report({ type: 'replaying', description: {} })
    expect(harness.statuses.at(-1)).toMatch(/^syncing/)
  })
})

describe('states', () => {
  it('never skip the end of a replay', () => {
    expect(mayFollow('replaying', 'starting')).toBe(false)
    expect(mayFollow('stopping', 'replaying')).toBe(false)
    expect(mayFollow('stopped', 'starting')).toBe(true)
  })
})

