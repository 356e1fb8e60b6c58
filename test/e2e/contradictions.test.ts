import { expect, it } from 'vitest'
import { MirrorImage } from '../../src/cls/rbd/mirror-types.ts'
import { decode, encode } from '../../src/encoding/codec.ts'
import { WriteOperation } from '../../src/rados/operation.ts'
import { describeCeph } from '../support/ceph.ts'
import { mirrorAndCompare, scribble, startDaemon } from '../support/e2e.ts'
import { imageStatus, waitForState } from '../support/mirroring.ts'
import { RbdClient, type RbdInfo } from '../support/rbd.ts'
import { mirroring } from '../support/scenario.ts'
import { waitForCallout } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'contradictions'

describeCeph('states that make no sense are named, with their cure', (pair) => {
  const scenario = mirroring(() => pair, [POOL])

  const idOf = async (site: 'a' | 'b', spec: string) => (await pair[site].rbdJson<RbdInfo>('info', spec)).id

  async function primary(name: string): Promise<string> {
    const { a } = await pair.connect()
    const spec = `${POOL}/${name}`
    await pair.a.rbd('create', spec, '--size', '8M')
    await a.with(spec, 'write', async (image) => {
      await scribble(image, { count: 3 })
      await image.enableMirroring('snapshot')
    })
    return spec
  }

  /** What the primary's site shows of the replica's. */
  async function expectTold(spec: string, description: RegExp): Promise<void> {
    let seen: unknown
    await waitFor(
      `${spec} to be told`,
      async () => {
        const [peer] = (await imageStatus(pair.a, spec))?.peer_sites ?? []
        seen = peer
        return peer?.state === 'up+error' && description.test(peer.description)
      },
      { timeout: 20_000, interval: 100, detail: () => seen },
    )
  }

  it('an image of another origin in the way', async () => {
    await pair.b.rbd('create', `${POOL}/taken`, '--size', '1M')
    const spec = await primary('taken')
    await expectTold(spec, /image contradictions\/taken is there, and is not the replica of this one; rename or remove it: rbd rename/)
    await pair.b.rbd('rename', spec, `${spec}-other`)
    await mirrorAndCompare(pair, spec)
  })

  it('an entry of an unknown state, and an entry without an image', async () => {
    const spec = await primary('entry')
    await mirrorAndCompare(pair, spec)
    const id = await idOf('b', spec)
    await using client = await RbdClient.connect(pair.b)
    const io = await client.pool(POOL)
    const key = `image_${id}`
    const value = (await io.omapGet('rbd_mirroring', '', key, 1)).entries.get(key)!
    const entry = decode(MirrorImage, value, key)
    const unknown = Buffer.from(value)
    // behind the global image id
    unknown[value.indexOf(entry.globalImageId) + entry.globalImageId.length] = 77
    expect(encode(MirrorImage, entry).equals(value)).toBe(true)
    await scenario.daemon.stop()
    await io.write('rbd_mirroring', new WriteOperation().omapSet(new Map([[key, unknown]])))
    scenario.daemon = startDaemon(pair)
    await expectTold(spec, /error preparing local image for replay: its mirroring entry makes no sense; .*rados -p contradictions rmomapkey rbd_mirroring image_/)
    await io.write('rbd_mirroring', new WriteOperation().omapSet(new Map([[key, value]])))
    await mirrorAndCompare(pair, spec)

    await scenario.daemon.stop()
    await io.remove(`rbd_header.${id}`)
    scenario.daemon = startDaemon(pair)
    await expectTold(spec, /there is a mirroring entry for image id \S+, but no such image; if the image is gone for good, here: rados -p contradictions rmomapkey/)
  })

  it('an image that was never finished is begun anew', async () => {
    const spec = await primary('unfinished')
    await mirrorAndCompare(pair, spec)
    const id = await idOf('b', spec)
    await using client = await RbdClient.connect(pair.b)
    const io = await client.pool(POOL)
    const key = `image_${id}`
    const entry = decode(MirrorImage, (await io.omapGet('rbd_mirroring', '', key, 1)).entries.get(key)!, key)
    await scenario.daemon.stop()
    await io.write('rbd_mirroring', new WriteOperation().omapSet(new Map([[key, encode(MirrorImage, { ...entry, state: 'creating' })]])))
    scenario.daemon = startDaemon(pair)
    await waitFor('another image', async () => {
      const result = await pair.b.tryRbd(['info', spec, '--format', 'json'])
      return result.code === 0 && (JSON.parse(result.stdout) as RbdInfo).id !== id
    })
    await mirrorAndCompare(pair, spec)
  })

  it('a replica without its journal', async () => {
    const spec = `${POOL}/journal`
    await pair.a.rbd('create', spec, '--size', '8M', '--image-feature', 'exclusive-lock,journaling')
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    await waitForState(pair.b, spec, 'up+replaying')
    const id = await idOf('b', spec)
    await scenario.daemon.stop()
    await using client = await RbdClient.connect(pair.b)
    const io = await client.pool(POOL)
    await io.remove(`journal.${id}`)
    scenario.daemon = startDaemon(pair)
    await expectTold(spec, /error preparing local image for replay: its journal is missing, has no owner, or makes no sense .*rename or remove the image, and here: rados -p contradictions rmomapkey/)
    await pair.b.rbd('mirror', 'image', 'disable', '--force', spec)
    await expectTold(spec, /disabling its mirroring has left its entry behind; here: rados -p contradictions rmomapkey/)
    await pair.b.rbd('rename', spec, `${spec}-kept`)
    const { globalImageId } = decode(MirrorImage, (await io.omapGet('rbd_mirroring', '', `image_${id}`, 1)).entries.get(`image_${id}`)!, 'entry')
    for (const key of [`image_${id}`, `global_${globalImageId}`]) await pair.b.rados('-p', POOL, 'rmomapkey', 'rbd_mirroring', key)
    await waitForState(pair.b, spec, 'up+replaying')
  })

  it('two images of one global id: the one that the cluster knows by it is mirrored, the other named, and mirrored for itself after its cure', async () => {
    const spec = await primary('twin')
    await mirrorAndCompare(pair, spec)
    await pair.a.rbd('create', `${POOL}/rival`, '--size', '8M')
    const [id, rival] = [await idOf('a', spec), await idOf('a', `${POOL}/rival`)]
    await using client = await RbdClient.connect(pair.a)
    const io = await client.pool(POOL)
    const value = (await io.omapGet('rbd_mirroring', '', `image_${id}`, 1)).entries.get(`image_${id}`)!
    await io.write('rbd_mirroring', new WriteOperation().omapSet(new Map([[`image_${rival}`, value]])))
    await primary('herald') // whose notification has the pool listed again
    await scenario.daemon.waitForLog(new RegExp(`image has the global image id of image ${id}, and is not mirrored; to mirror it for itself: rados -p ${POOL} rmomapkey rbd_mirroring image_${rival}`))
    await waitForCallout(pair, POOL, new RegExp(`remote cluster: image ${rival}`))
    await mirrorAndCompare(pair, spec)
    await pair.a.rados('-p', POOL, 'rmomapkey', 'rbd_mirroring', `image_${rival}`)
    await pair.a.rbd('mirror', 'image', 'enable', `${POOL}/rival`, 'snapshot')
    await mirrorAndCompare(pair, `${POOL}/rival`)
    await waitForCallout(pair, POOL, /remote cluster: image/, false)
  })
})
