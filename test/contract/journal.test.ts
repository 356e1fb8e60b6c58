import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { commitPosition, findClient, registerClient, unregisterClient } from '../../src/journal/clients.ts'
import { createJournal, Journal, removeJournal, type JournalOptions } from '../../src/journal/journal.ts'
import type { JournalPlayer, PlayedEntry } from '../../src/journal/player.ts'
import { createTag, getTag, listTags } from '../../src/journal/tags.ts'
import { TAG_CLASS_NEW } from '../../src/cls/journal/types.ts'
import { Errno } from '../../src/rados/errors.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { ImageJournal, loadOwnership } from '../../src/rbd/journal/image-journal.ts'
import { advancePositions } from '../../src/journal/commit-position.ts'
import { describeCeph } from '../support/ceph.ts'
import { RbdClient } from '../support/rbd.ts'

const pool = 'journals'
const dataPool = 'journals-data'

/** Reads until nothing more is there. */
async function playAll(player: JournalPlayer): Promise<PlayedEntry[]> {
  const entries: PlayedEntry[] = []
  for (;;) {
    const played = await player.read()
    if (played.type === 'idle') return entries
    if (played.type !== 'entries') throw new Error(JSON.stringify(played, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value)))
    entries.push(...played.entries)
  }
}

describeCeph('journals on a real cluster', (pair) => {
  let client: RbdClient
  let io: IoCtx
  let dataPoolId: bigint

  beforeAll(async () => {
    await Promise.all([pair.a.createPool(pool), pair.a.createPool(dataPool)])
    client = await RbdClient.connect(pair.a)
    io = await client.pool(pool)
    dataPoolId = await client.cluster.lookupPool(dataPool)
  })
  afterAll(() => client?.close())

  const options = (journalId: string): JournalOptions => ({
    io,
    journalId,
    openPool: (id) => client.cluster.openPoolById(id),
    clock: systemClock,
    log: silentLog,
  })

  it('what is recorded is played, committed and trimmed; nothing is left after its removal', async () => {
    await createJournal(io, 'own', { order: 12, splayWidth: 3, poolId: dataPoolId })
    const journal = await Journal.open(options('own'))
    await registerClient(journal.metadata, 'writer', Buffer.from('w'))
    await registerClient(journal.metadata, 'reader', Buffer.from('r'))
    const payloads = Array.from({ length: 60 }, (_, index) => Buffer.alloc(1 + ((index * 97) % 900), index))
    for (const half of [payloads.slice(0, 30), payloads.slice(30)]) {
      const tag = await createTag(io, 'own', TAG_CLASS_NEW, Buffer.from('tag'))
      expect(await getTag(io, 'own', tag.tid)).toEqual(tag)
      const recorder = journal.record(tag.tid)
      await Promise.all(half.map((payload) => recorder.append(payload)))
    }
    await journal.metadata.refresh()
    expect(journal.metadata.activeSet).toBeGreaterThan(1)

    const { player, detach } = journal.play([])
    const entries = await playAll(player)
    expect(entries.map(({ data }) => data)).toEqual(payloads)
    expect(entries.map(({ tagTid, entryTid }) => `${tagTid}/${entryTid}`)).toEqual([0, 1].flatMap((tag) => Array.from({ length: 30 }, (_, tid) => `${tag}/${tid}`)))
    detach()

    const positions = advancePositions([], entries.slice(0, 45), 3)
    const rest = journal.play(positions)
    expect((await playAll(rest.player)).map(({ data }) => data)).toEqual(payloads.slice(45))
    rest.detach()

    await commitPosition(journal.metadata, 'reader', positions)
    await journal.metadata.refresh()
    expect(await journal.trim()).toBe(0) // the writer has not committed
    await unregisterClient(journal.metadata, 'writer')
    await journal.metadata.refresh()
    expect(await journal.trim()).toBeGreaterThan(0)
    expect((await playAll(journal.play(positions).player)).length).toBe(15)
    expect((await listTags(io, 'own', 'reader')).length).toBeGreaterThan(0)
    await journal.close()

    await removeJournal(options('own'))
    await removeJournal(options('own'))
    await expect(Journal.open(options('own'))).rejects.toMatchObject({ errno: Errno.ENOENT })
    const left: string[] = []
    for (const where of [io, await client.pool(dataPool)]) for await (const oid of where.listObjects()) if (oid.startsWith('journal')) left.push(oid)
    expect(left).toEqual([])
  })

  it("reads and changes a stock image's ownership", async () => {
    const spec = `${pool}/image`
    await pair.a.rbd('create', spec, '--size', '16M', '--image-feature', 'exclusive-lock,journaling')
    await pair.a.rbd('mirror', 'pool', 'enable', pool, 'image')
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    const { id } = await pair.a.rbdJson<{ id: string }>('info', spec)
    const isPrimary = async () => (await pair.a.rbdJson<{ mirroring: { primary: boolean } }>('info', spec)).mirroring.primary
    expect((await loadOwnership(io, id)).data.mirrorUuid).toBe('')
    const journal = await ImageJournal.open(options(id))
    await journal.demote()
    expect(await isPrimary()).toBe(false)
    await expect(journal.demote()).rejects.toMatchObject({ errno: Errno.EINVAL })
    await journal.promote(false)
    expect(await isPrimary()).toBe(true)
    await journal.requestResync()
    expect((await journal.refresh()).meta.resyncRequested).toBe(true)
    expect(await findClient(io, id, 'nobody')).toBeUndefined()
    await journal.close()
    // the stock client replays what we appended, and goes on
    await pair.a.rbd('bench', spec, '--io-type', 'write', '--io-size', '4K', '--io-total', '64K')
    expect(await isPrimary()).toBe(true)
  })
})
