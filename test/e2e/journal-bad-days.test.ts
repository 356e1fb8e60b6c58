import { expect, it } from 'vitest'
import { getId } from '../../src/cls/rbd/client.ts'
import { WriteOperation } from '../../src/rados/operation.ts'
import { describeCeph } from '../support/ceph.ts'
import { scribble, startDaemon } from '../support/e2e.ts'
import { expectReplayed, journalStatus, waitForReplay } from '../support/journal.ts'
import { waitForState } from '../support/mirroring.ts'
import { RbdClient } from '../support/rbd.ts'
import { journalImage, mirroring } from '../support/scenario.ts'

const POOL = 'journal-bad'

describeCeph('journal mode, bad days', (pair) => {
  const scenario = mirroring(() => pair, [POOL])

  const mirroredImage = (name: string) => journalImage(pair, `${POOL}/${name}`, { features: 'exclusive-lock,journaling' })

  const write = async (spec: string) => {
    const { a } = await pair.connect()
    await a.with(spec, 'write', (image) => scribble(image, { count: 10, maxLength: 20_000 }))
  }

  const mirrorClient = async (spec: string) => (await journalStatus(pair.a, spec)).registered_clients.find(({ id }) => id !== '')!

  it('a damaged entry stops its image with its place in the status; others go on; a new journal cures it', async () => {
    const spec = await mirroredImage('damaged')
    const other = await mirroredImage('sound')
    await write(spec)
    await waitForReplay(pair.a, spec)
    await scenario.daemon.stop()
    const before = (await mirrorClient(spec)).commit_position.object_positions[0]!
    await write(spec)
    await write(other)
    // the first entry that was not replayed yet: something behind the end of what had been committed in its object
    await using client = await RbdClient.connect(pair.a)
    const io = await client.pool(POOL)
    const id = await getId.call(io, `rbd_id.${spec.split('/')[1]!}`, undefined)
    const prefix = `journal_data.${io.poolId}.${id}.`
    const oids: string[] = []
    for await (const oid of io.listObjects()) if (oid.startsWith(prefix)) oids.push(oid)
    expect(oids.length).toBeGreaterThan(0)
    for (const oid of oids) {
      const { size } = await io.stat(oid)
      await io.write(oid, new WriteOperation().write(size - 60, Buffer.from('damage')))
    }
    scenario.daemon = startDaemon(pair)
    await scenario.daemon.waitUntilUp()
    const status = await waitForState(pair.b, spec, 'up+error', /corrupt entry in journal_data\.\S+ at byte \d+/)
    expect(status.description).toContain(prefix)
    expect((await mirrorClient(spec)).commit_position.object_positions[0]!.tag_tid).toBeGreaterThanOrEqual(before.tag_tid)
    await expectReplayed(pair, other)
    await pair.a.rbd('mirror', 'image', 'disable', spec)
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    await waitForState(pair.b, spec, 'up+replaying')
    await write(spec)
    await expectReplayed(pair, spec)
  })

  it('a client that was disconnected is told, and the replica brought up to date where an operator asks for it', async () => {
    const spec = await mirroredImage('behind')
    await write(spec)
    await waitForReplay(pair.a, spec)
    const { id } = await mirrorClient(spec)
    const before = (await pair.b.rbdJson<{ id: string }>('info', spec)).id
    const [pool, image] = spec.split('/') as [string, string]
    await pair.a.rbd('journal', 'client', 'disconnect', '--pool', pool, '--image', image, '--client-id', id)
    await waitForState(pair.b, spec, 'up+error', /^disconnected/)
    expect((await pair.b.rbdJson<{ id: string }>('info', spec)).id).toBe(before)
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await waitForState(pair.b, spec, 'up+replaying')
    await expectReplayed(pair, spec)
  })
})
