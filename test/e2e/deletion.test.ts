import { afterEach, beforeAll, expect, it } from 'vitest'
import { removeJournal } from '../../src/journal/journal.ts'
import { removeImage } from '../../src/rbd/remove-image.ts'
import { describeCeph } from '../support/ceph.ts'
import { mirrorAndCompare, scribble } from '../support/e2e.ts'
import { expectReplayed } from '../support/journal.ts'
import { imageStatus, waitForState } from '../support/mirroring.ts'
import { tracesIn } from '../support/pool-traces.ts'
import { RbdClient } from '../support/rbd.ts'
import { imageIdOf, journalImage, mirroring, snapshotImage } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'deletion'
const MODES = ['snapshot', 'journal'] as const
type Mode = (typeof MODES)[number]

/** A replica goes when its primary does, with every trace of it. */
describeCeph('deletion', (pair) => {
  const scenario = mirroring(() => pair, [POOL])
  const before = { a: [] as string[], b: [] as string[] }

  const mirrored = async (mode: Mode, name: string) => {
    const spec = `${POOL}/${name}`
    if (mode === 'journal') return journalImage(pair, spec, { size: '8M' })
    await snapshotImage(pair, spec, { size: '8M', fill: (image) => scribble(image, { count: 3 }) })
    await mirrorAndCompare(pair, spec)
    return spec
  }
  const removeJournalOf = async ({ cluster, options }: RbdClient, journalId: string) => {
    const io = await cluster.openPool(POOL)
    await removeJournal({ io, journalId, openPool: (id) => cluster.openPoolById(id), ...options })
    io.close()
  }
  const names = async (site: 'a' | 'b') => (await pair[site].rbd('ls', POOL)).split('\n').filter(Boolean)
  const trash = (site: 'a' | 'b') => pair[site].rbdJson<{ id: string; name: string }[]>('trash', 'ls', '--all', POOL)
  const replicaGone = (spec: string) => waitFor(`the replica of ${spec} to go`, async () => (await imageStatus(pair.b, spec)) === undefined && (await trash('b')).length === 0)

  beforeAll(async () => {
    // objects that the first image of a pool brings and that stay: directories, trash, clones
    for (const mode of MODES) {
      const spec = await mirrored(mode, 'first')
      await pair.a.rbd('mirror', 'image', 'disable', spec)
      await replicaGone(spec)
      await pair.a.rbd('rm', '--no-progress', spec)
    }
    for (const site of ['a', 'b'] as const) {
      const settled = async () => (before[site] = await tracesIn(pair[site], POOL)).every((trace) => !trace.includes('image_map'))
      await waitFor(`no image to be assigned on ${site}`, settled)
    }
  })

  afterEach(async () => {
    for (const site of ['a', 'b'] as const) {
      await waitFor(`no trace to be left on ${site}`, async () => JSON.stringify(await tracesIn(pair[site], POOL)) === JSON.stringify(before[site]), {
        timeout: 15_000,
      }).catch(async () => expect(await tracesIn(pair[site], POOL)).toEqual(before[site]))
    }
  })

  for (const mode of MODES) {
    it(`of an image with snapshots, metadata and a clone, in ${mode} mode`, async () => {
      const parent = await mirrored(mode, 'parent')
      await pair.a.rbd('snap', 'create', '--no-progress', `${parent}@base`)
      await pair.a.rbd('snap', 'protect', `${parent}@base`)
      await pair.a.rbd('image-meta', 'set', parent, 'colour', 'red')
      for (const format of ['1', '2']) {
        const clone = `${POOL}/clone-v${format}`
        await pair.a.rbd('clone', '--rbd-default-clone-format', format, `${parent}@base`, clone, '--image-feature', 'layering,exclusive-lock,object-map,fast-diff')
        if (mode === 'journal') await pair.a.rbd('feature', 'enable', clone, 'journaling')
        await pair.a.rbd('mirror', 'image', 'enable', clone, mode)
      }
      if (mode === 'snapshot') {
        await pair.a.rbd('mirror', 'image', 'snapshot', parent)
        for (const format of ['1', '2']) await pair.a.rbd('mirror', 'image', 'snapshot', `${POOL}/clone-v${format}`)
      }
      for (const format of ['1', '2']) await waitForState(pair.b, `${POOL}/clone-v${format}`, 'up+replaying')
      for (const format of ['1', '2']) await pair.a.rbd('rm', '--no-progress', `${POOL}/clone-v${format}`)
      // the replicas of the clones may still be there: it waits for them
      await pair.a.rbd('mirror', 'image', 'disable', parent)
      await replicaGone(parent)
      expect(await names('b')).toEqual([])
      await pair.a.rbd('snap', 'unprotect', `${parent}@base`)
      await pair.a.rbd('snap', 'purge', '--no-progress', parent)
      await pair.a.rbd('rm', '--no-progress', parent)
    })

    it(`is tried again while the replica is in use, waits for its deferment, and a new image of the name begins at once, in ${mode} mode`, async () => {
      const spec = await mirrored(mode, 'again')
      const first = await imageIdOf(pair.b, spec)
      const { b } = await pair.connect()
      await b.with(spec, 'write', async () => {
        await pair.a.rbd('rm', '--no-progress', spec)
        await waitFor('a failed deletion', async () => (await scenario.daemon.admin('rbd mirror status')).includes(first))
        await mirrored(mode, 'again')
        expect((await trash('b')).map(({ id }) => id)).toEqual([first])
      })
      await waitFor('the old replica to go', async () => (await trash('b')).length === 0)
      const second = await imageIdOf(pair.b, spec)
      expect(second).not.toBe(first)
      await scenario.daemon.setOption('rbd_mirroring_delete_delay', '3600')
      try {
        await pair.a.rbd('mirror', 'image', 'disable', spec)
        await waitFor('the replica to be in the trash', async () => (await trash('b')).some(({ id }) => id === second))
      } finally {
        await scenario.daemon.setOption('rbd_mirroring_delete_delay', '0')
      }
      // taken back by an operator, it is an image of its own
      await pair.b.rbd('trash', 'restore', '--pool', POOL, second)
      await b.with(spec, 'write', (image) => scribble(image, { count: 1 }))
      await pair.a.rbd('rm', '--no-progress', spec)
      // by the rm of Ceph 16 what its mirror-snapshots hold would stay behind
      await using client = await RbdClient.connect(pair.b)
      await removeImage(await client.pool(POOL), second, { ...client.options, snapshots: 'mirror', ...(mode === 'journal' && { removeJournal: (journalId) => removeJournalOf(client, journalId) }) })
    })

    it(`while it is being copied for the first time, in ${mode} mode`, async () => {
      const spec = `${POOL}/half`
      await pair.a.rbd('create', spec, '--size', '64M')
      const { a } = await pair.connect()
      await a.with(spec, 'write', (image) => scribble(image, { count: 40, maxLength: 4 * 2 ** 20 }))
      if (mode === 'journal') await pair.a.rbd('feature', 'enable', spec, 'journaling')
      await scenario.daemon.setOption('rbd_mirror_bandwidth_limits', '4M')
      try {
        await pair.a.rbd('mirror', 'image', 'enable', spec, mode)
        await waitFor('the copy to begin', async () => (await names('b')).includes('half'))
        // in journal mode the sync point is a snapshot, which goes with the mirroring
        if (mode === 'journal') await pair.a.rbd('mirror', 'image', 'disable', spec)
        await pair.a.rbd('rm', '--no-progress', spec)
        await replicaGone(spec)
      } finally {
        await scenario.daemon.setOption('rbd_mirror_bandwidth_limits', '')
      }
    })

    it(`by the trash: the replica of an image that is moved there goes, and comes back with it, in ${mode} mode`, async () => {
      const spec = await mirrored(mode, 'thrown')
      const id = await imageIdOf(pair.a, spec)
      await pair.a.rbd('trash', 'mv', spec)
      await replicaGone(spec)
      await pair.a.rbd('trash', 'restore', '--pool', POOL, id)
      await pair.a.rbd('mirror', 'image', 'enable', spec, mode)
      if (mode === 'journal') await waitForState(pair.b, spec, 'up+replaying').then(() => expectReplayed(pair, spec))
      else await mirrorAndCompare(pair, spec)
      await pair.a.rbd('rm', '--no-progress', spec)
      await replicaGone(spec)
    })
  }
})
