import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { encode } from '../../src/encoding/codec.ts'
import { ImageWriter } from '../../src/rbd/image-writer.ts'
import { EventEntry } from '../../src/rbd/journal/events.ts'
import { ImageJournal } from '../../src/rbd/journal/image-journal.ts'
import { journalOptionsOf } from '../../src/rbd/mirror/journal-switch.ts'
import { readImage } from '../../src/rbd/read-image.ts'
import { createSnapshot } from '../../src/rbd/operations/snapshot-create.ts'
import { describeCeph } from '../support/ceph.ts'
import { startDaemon } from '../support/e2e.ts'
import { expectReplayed } from '../support/journal.ts'
import { createMirroredPool, waitForState } from '../support/mirroring.ts'
import { RbdClient } from '../support/rbd.ts'
import { OurRbd } from '../support/rbd-command.ts'

const POOL = 'img-journal'
const FEATURES = ['--image-feature', 'layering,exclusive-lock,object-map,journaling']

describeCeph('what our rbd writes into journals', (pair) => {
  let ours: OurRbd
  let theirs: OurRbd
  const { a, b } = pair ?? {}

  beforeAll(async () => {
    ours = await OurRbd.connect(a)
    theirs = await OurRbd.connect(b)
    await createMirroredPool(a, b, POOL, { mode: 'pool' })
  })
  afterAll(async () => {
    await ours?.close()
    await theirs?.close()
    await Promise.all([a.deletePool(POOL), b.deletePool(POOL)])
  })

  const done = async (...args: string[]) => {
    const { code, stderr } = await ours.run(args)
    expect({ args, code, stderr: code === 0 ? '' : stderr }).toEqual({ args, code: 0, stderr: '' })
  }

  it('is replayed on the other site: writes and operations; the replica is not to be written to', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'rbd-img-'))
    const daemon = startDaemon(pair)
    try {
      await daemon.waitUntilUp()
      const spec = `${POOL}/mirrored`
      writeFileSync(join(folder, 'data'), randomBytes(3_000_000))
      await done('import', join(folder, 'data'), spec, '--no-progress', ...FEATURES)
      await waitForState(b, spec, 'up+replaying')
      await done('bench', spec, '--io-type', 'write', '--io-total', '1M', '--io-size', '5000', '--io-pattern', 'rand')
      await done('snap', 'create', `${spec}@one`, '--no-progress')
      await done('resize', spec, '-s', '6M', '--no-progress')
      await done('bench', spec, '--io-type', 'write', '--io-total', '1M', '--io-size', '64K', '--io-pattern', 'full-seq')
      await done('image-meta', 'set', spec, 'key', 'value')
      await done('snap', 'rename', `${spec}@one`, `${spec}@uno`)
      await done('snap', 'protect', `${spec}@uno`)
      await done('snap', 'unprotect', `${spec}@uno`)
      await done('snap', 'create', `${spec}@two`, '--no-progress')
      await done('snap', 'rollback', `${spec}@uno`, '--no-progress')
      await done('snap', 'rm', `${spec}@two`, '--no-progress')
      await done('bench', spec, '--io-type', 'write', '--io-total', '256K')
      await expectReplayed(pair, spec)
      const names = async (cluster: typeof a) => (await cluster.rbdJson<{ name: string }[]>('snap', 'ls', spec)).map(({ name }) => name)
      expect(await names(b)).toEqual(await names(a))
      expect(await b.rbd('image-meta', 'get', spec, 'key')).toBe('value\n')
      expect((await a.tryRbd(['journal', 'inspect', '--pool', POOL, '--image', 'mirrored'])).stdout).toContain(', 0 errors')

      for (const args of [
        ['bench', spec, '--io-type', 'write', '--io-total', '64K'],
        ['resize', spec, '-s', '20M', '--no-progress'],
        ['snap', 'create', `${spec}@x`, '--no-progress'],
        ['image-meta', 'set', spec, 'a', 'b'],
      ]) {
        const { code } = await theirs.run(args)
        expect({ args, code }).toEqual({ args, code: 30 })
      }
    } finally {
      await daemon.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it('is replayed by us and by librbd when its writer dies before it has written', async () => {
    const bytes = randomBytes(100_000)
    for (const replays of ['ours', 'librbd']) {
      const spec = `${POOL}/died-${replays}`
      await a.rbd('create', spec, '-s', '8M', ...FEATURES)
      await using client = await RbdClient.connect(a)
      const image = await client.open(POOL, `died-${replays}`)
      // what a writer leaves that dies right after its events are safe
      const journal = await ImageJournal.open(journalOptionsOf(image))
      const recorder = journal.journal.record(journal.ownership.tid)
      const timestamp = { sec: 1, nsec: 0 }
      const events = [
        { type: 'aioWrite', offset: 1_000_000, length: bytes.length, data: bytes },
        { type: 'aioDiscard', offset: 1_010_000, length: 10_000, discardGranularityBytes: 0 },
        { type: 'snapCreate', opTid: 7n, snapName: 'begun', snapNamespace: { type: 'user' } },
        { type: 'opFinish', opTid: 7n, result: 0 },
      ] as const
      await Promise.all(events.map((event) => recorder.append(encode(EventEntry, { event, timestamp }))))
      await journal.close()
      await image.close()
      const expected = Buffer.from(bytes)
      expected.fill(0, 10_000, 20_000)
      if (replays === 'ours') await done('bench', spec, '--io-type', 'write', '--io-total', '4K')
      else await a.rbd('bench', spec, '--io-type', 'write', '--io-total', '4K')
      const after = await client.open(POOL, `died-${replays}`, { access: 'read-only' })
      expect((await readImage(after, { offset: 1_000_000, length: bytes.length })).equals(expected)).toBe(true)
      expect(after.header.snapshots.map(({ name }) => name)).toEqual(['begun'])
      expect((await a.tryRbd(['object-map', 'check', spec])).code).toBe(0)
    }
  })

  it('shares the lock with librbd: writes go on while others take it, and operations are done for others', async () => {
    const spec = `${POOL}/shared`
    await a.rbd('create', spec, '-s', '8M', ...FEATURES)
    await using client = await RbdClient.connect(a)
    const image = await client.open(POOL, 'shared', { journaled: true })
    const writer = new ImageWriter(image)
    const data = randomBytes(8 * 2 ** 20 - 2 ** 20)
    const half = data.length / 2
    const writes = (async () => {
      for (let at = 0; at < half; at += 16_384) await writer.write(2 ** 20 + at, data.subarray(at, at + 16_384))
    })()
    // the installed tool asks us to make a snapshot, and for the lock to write itself
    await a.rbd('snap', 'create', '--no-progress', `${spec}@theirs`)
    await a.rbd('bench', spec, '--io-type', 'write', '--io-total', '128K', '--io-pattern', 'full-seq')
    await writes
    await createSnapshot(image, { name: 'mine', namespace: { type: 'user' } })
    for (let at = half; at < data.length; at += 65_536) await writer.write(2 ** 20 + at, data.subarray(at, Math.min(at + 65_536, data.length)))
    await writer.discard(2 ** 20, 4096)
    data.fill(0, 0, 4096)
    await writer.flush()
    await image.close()
    const folder = mkdtempSync(join(tmpdir(), 'rbd-img-'))
    try {
      await a.rbd('export', '--no-progress', spec, join(folder, 'all'))
      expect(readFileSync(join(folder, 'all')).subarray(2 ** 20).equals(data)).toBe(true)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
    expect((await a.rbdJson<{ name: string }[]>('snap', 'ls', spec)).map(({ name }) => name)).toEqual(['theirs', 'mine'])
    expect((await a.tryRbd(['object-map', 'check', spec])).code).toBe(0)
    expect((await a.tryRbd(['object-map', 'check', `${spec}@mine`])).code).toBe(0)
  })
})
