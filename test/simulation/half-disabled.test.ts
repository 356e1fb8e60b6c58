import { expect, it } from 'vitest'
import { mirrorImageSet } from '../../src/cls/rbd/mirror-client.ts'
import type { MirrorImageState } from '../../src/cls/rbd/mirror-types.ts'
import { headerName, RBD_MIRRORING } from '../../src/rbd/names.ts'
import { findImage, mirrorEntry } from './images.ts'
import { Scene } from './scene.ts'

const MINUTE_MS = 60_000

it.each([
  { left: 'image', of: 'whose disabling was cut short' },
  { left: 'entry', of: 'on its way out, without an image,' },
])('a remote $left $of is asked for ever more seldom, as long as there is no replica', async ({ left }) => {
  await Scene.play(51, async (scene) => {
    const { world, daemons } = scene
    const { a, b } = world.sites
    daemons.a.start()
    await scene.mirrorNew('image', 'snapshot', 65_536)
    const imageId = (await findImage(a, 'image'))!
    const entry = (await mirrorEntry(a, imageId))!
    const enter = (state: MirrorImageState) => mirrorImageSet.call(a.io, RBD_MIRRORING, { imageId, image: { ...entry, state } })
    await enter('disabling')
    if (left === 'entry') await a.io.remove(headerName(imageId))
    let looks = 0
    world.operationListeners.push(({ process, remote }, { oid }) => {
      if (remote && process === daemons.b.process && oid === RBD_MIRRORING) looks++
    })
    daemons.b.start()
    await world.run(MINUTE_MS)
    const first = looks
    await world.run(MINUTE_MS)
    expect(looks - first).toBeLessThan(40)
    expect(await findImage(b, 'image')).toBeUndefined()
    if (left === 'image') {
      await enter('enabled')
      await scene.converge(a, 'image')
    }
    await scene.stopDaemons()
  })
})
