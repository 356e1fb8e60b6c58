import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import type { MirrorDaemon } from '../support/daemon.ts'
import { MIB, scribble, startDaemon } from '../support/e2e.ts'
import { expectReplayed, journalStatus } from '../support/journal.ts'
import { createMirroredPool, imageStatus, mirrorPool, waitForState } from '../support/mirroring.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'journal-options'
const POOL_MODE = 'journal-pool-mode'
const FEATURES = 'layering,exclusive-lock,object-map,fast-diff,deep-flatten,journaling'
const DELAY_SECONDS = 3

describeCeph('journal mode, as images and pools ask for it', (pair) => {
  let daemon: MirrorDaemon

  beforeAll(async () => {
    await createMirroredPool(pair.a, pair.b, POOL)
    await Promise.all([pair.a.createPool(POOL_MODE), pair.b.createPool(POOL_MODE)])
    await mirrorPool(pair.a, pair.b, POOL_MODE, { mode: 'pool' })
    daemon = startDaemon(pair)
    await daemon.waitUntilUp()
  })

  afterAll(async () => {
    if (daemon.running) await daemon.stop()
  })

  async function image(spec: string, features = FEATURES): Promise<string> {
    await pair.a.rbd('create', spec, '--size', '16M', '--image-feature', features, '--journal-object-size', '1M')
    return spec
  }

  const write = async (spec: string) => (await pair.connect()).a.with(spec, 'write', (opened) => scribble(opened, { count: 8, maxLength: 50_000 }))
  const exists = async (spec: string) => (await pair.b.tryRbd(['info', spec])).code === 0

  it('a replica stays behind by its replay delay', async () => {
    const { a, b } = await pair.connect()
    const spec = await image(`${POOL}/late`)
    await pair.a.rbd('image-meta', 'set', spec, 'conf_rbd_mirroring_replay_delay', String(DELAY_SECONDS))
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    await waitForState(pair.b, spec, 'up+replaying')
    const mark = randomBytes(512)
    const began = Date.now()
    await a.with(spec, 'write', async (opened) => {
      await opened.write(MIB, mark)
      await opened.flush()
    })
    await waitFor('the replica to show the write', () =>
      b.with(spec, 'read-only', async (opened) => {
        const shown = Buffer.alloc(mark.length)
        await opened.read(MIB, shown)
        return shown.equals(mark)
      }),
    )
    expect(Date.now() - began).toBeGreaterThanOrEqual(DELAY_SECONDS * 1000)
    await expectReplayed(pair, spec)
  })

  it('an image that says so is copied anew by itself after its client was disconnected', async () => {
    const spec = await image(`${POOL}/disconnected`)
    await write(spec)
    await pair.a.rbd('image-meta', 'set', spec, 'conf_rbd_mirroring_resync_after_disconnect', 'true')
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    await waitForState(pair.b, spec, 'up+replaying')
    await expectReplayed(pair, spec)
    const [pool, name] = spec.split('/') as [string, string]
    const mirrorClient = async () => (await journalStatus(pair.a, spec)).registered_clients.find(({ id }) => id !== '')
    const { id } = (await mirrorClient())!
    await pair.a.rbd('journal', 'client', 'disconnect', '--pool', pool, '--image', name, '--client-id', id)
    await waitFor('the client to be connected again', async () => (await mirrorClient())?.state === 'connected', { timeout: 30_000 })
    await waitForState(pair.b, spec, 'up+replaying')
    await write(spec)
    await expectReplayed(pair, spec)
  })

  it('a clone follows its parent, until it is flattened', async () => {
    const { a } = await pair.connect()
    const parent = await image(`${POOL}/parent`)
    const clone = `${POOL}/clone`
    await write(parent)
    await pair.a.rbd('snap', 'create', '--no-progress', `${parent}@base`)
    await pair.a.rbd('clone', '--rbd-default-clone-format', '2', '--image-feature', FEATURES, '--journal-object-size', '1M', `${parent}@base`, clone)
    await write(clone)
    // the clone waits for its parent, and says so
    await pair.a.rbd('mirror', 'image', 'enable', parent, 'journal')
    await pair.a.rbd('mirror', 'image', 'enable', clone, 'journal')
    await waitForState(pair.b, clone, 'up+replaying')
    await expectReplayed(pair, clone)
    await write(clone)
    await a.with(clone, 'write', async (opened) => {
      await opened.discard(0, 4 * MIB)
      await opened.discard(5 * MIB + 100, 70_000)
      await opened.flush()
    })
    await expectReplayed(pair, clone)
    const parentOf = async () => (await pair.b.rbdJson<{ parent?: { image: string } }>('info', clone)).parent?.image
    expect(await parentOf()).toBe('parent')
    await pair.a.rbd('flatten', '--no-progress', clone)
    await write(clone)
    await expectReplayed(pair, clone)
    expect(await parentOf()).toBeUndefined()
  })

  it('in a pool of mode pool, images come and go with the journaling feature', async () => {
    const spec = await image(`${POOL_MODE}/featured`)
    await waitForState(pair.b, spec, 'up+replaying')
    await write(spec)
    await expectReplayed(pair, spec)
    await pair.a.rbd('feature', 'disable', spec, 'journaling')
    await waitFor('the replica to go', async () => !(await exists(spec)), { timeout: 30_000 })
    expect(await imageStatus(pair.b, spec)).toBeUndefined()
    await pair.a.rbd('feature', 'enable', spec, 'journaling')
    await waitForState(pair.b, spec, 'up+replaying')
    await write(spec)
    await expectReplayed(pair, spec)
  })
})
