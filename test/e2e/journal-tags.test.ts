import { expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { scribble, startDaemon } from '../support/e2e.ts'
import { expectReplayed } from '../support/journal.ts'
import { waitForState } from '../support/mirroring.ts'
import { journalImage, mirroring } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'journal-tags'

/** Failovers after which the C++ daemon reports a split-brain that there is not. */
describeCeph('journal mode, no untrue split-brain', (pair) => {
  mirroring(() => pair, [POOL])

  const write = async (site: 'a' | 'b', spec: string) => (await pair.connect())[site].with(spec, 'write', (image) => scribble(image, { count: 5 }))
  const promote = (site: 'a' | 'b', spec: string) =>
    waitFor(`${spec} to be promoted on ${site}`, async () => (await pair[site].tryRbd(['mirror', 'image', 'promote', spec])).code === 0, { interval: 100 })

  it('on the site whose own daemon never ran, once its successor has forgotten the tags between them', async () => {
    const spec = await journalImage(pair, `${POOL}/one-way`)
    await write('a', spec)
    await pair.a.rbd('mirror', 'image', 'demote', spec)
    await waitForState(pair.b, spec, 'up+unknown', /demoted|not primary/)
    await promote('b', spec)
    // each session is an epoch of its own; as many as the journal is wide
    for (let session = 0; session < 5; session++) await write('b', spec)
    await using daemon = startDaemon(pair, { site: 'a' })
    await daemon.waitUntilUp()
    await waitForState(pair.a, spec, 'up+replaying')
    await expectReplayed(pair, spec, { from: 'b' })
    await write('b', spec)
    await expectReplayed(pair, spec, { from: 'b' })
    expect(daemon.log()).not.toContain('split-brain')
    await daemon.stop()
  })

  it('after a demotion and a promotion of an image that nothing was written to, and of epochs that follow each other at once', async () => {
    const spec = await journalImage(pair, `${POOL}/never-written`)
    for (let round = 0; round < 3; round++) {
      await pair.a.rbd('mirror', 'image', 'demote', spec)
      await pair.a.rbd('mirror', 'image', 'promote', spec)
    }
    await waitForState(pair.b, spec, 'up+replaying')
    await write('a', spec)
    await expectReplayed(pair, spec)
    // the last demotion is the one that counts
    await pair.a.rbd('mirror', 'image', 'demote', spec)
    await pair.a.rbd('mirror', 'image', 'promote', spec)
    await write('a', spec)
    await pair.a.rbd('mirror', 'image', 'demote', spec)
    await expectReplayed(pair, spec)
    await promote('b', spec)
    await write('b', spec)
  })
})
