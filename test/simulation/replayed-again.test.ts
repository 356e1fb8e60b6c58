import { it } from 'vitest'
import { findSnapshotByName } from '../../src/rbd/header.ts'
import { ImageWriter } from '../../src/rbd/image-writer.ts'
import type { Image } from '../../src/rbd/image.ts'
import { invokeHere } from '../../src/rbd/operations/invoke.ts'
import { listMetadata, removeMetadata, setMetadata } from '../../src/rbd/operations/metadata.ts'
import { createSnapshot } from '../../src/rbd/operations/snapshot-create.ts'
import { getSnapshotLimit, protectSnapshot, renameSnapshot, setSnapshotLimit, unprotectSnapshot } from '../../src/rbd/operations/snapshot-edit.ts'
import { removeSnapshot } from '../../src/rbd/operations/snapshot-remove.ts'
import { rollBackSnapshotHere } from '../../src/rbd/operations/snapshot-rollback.ts'
import { renameImage } from '../../src/rbd/operations/rename-image.ts'
import { resizeImage } from '../../src/rbd/operations/resize.ts'
import { BLOCK, blockOf, serialOf } from './clients.ts'
import { armCrash, forEachOperation, stride } from './crashes.ts'
import { contentOf, findImage } from './images.ts'
import { Scene } from './scene.ts'
import type { Site } from './world/site.ts'
import { Violation } from './world/world.ts'

const SEED = 61
const SIZE = 16_384

/** Everything that a journal tells, so that whatever is done again comes after something that it contradicts. */
async function tellEverything(scene: Scene): Promise<void> {
  const { operators } = scene
  let serial = 0
  const on = (what: string, task: (image: Image) => Promise<void>) => scene.command(what, operators.a.onImage(what, 'image', task, { journaled: true }))
  const snapshot = (image: Image, name: string) => findSnapshotByName(image.header, 'user', name)!.id
  await on('change everything', async (image) => {
    const writer = new ImageWriter(image)
    const create = (name: string) => createSnapshot(image, { name, namespace: { type: 'user' } })
    const write = async (block: number) => {
      const data = blockOf(++serial)
      await writer.write(block * BLOCK, data)
    }
    await write(0)
    await create('one')
    await write(0)
    await renameSnapshot(image, snapshot(image, 'one'), 'first')
    await create('one')
    await write(1)
    await protectSnapshot(image, snapshot(image, 'one'))
    await resizeImage(image, { size: 2 * SIZE, allowShrink: true })
    await write(SIZE / BLOCK + 1)
    await setMetadata(image, 'colour', 'red')
    await unprotectSnapshot(image, snapshot(image, 'one'))
    const namespace = { type: 'user' } as const
    await invokeHere(image, 'roll back', { type: 'snapRollback', snapNamespace: namespace, snapName: 'one' }, () => rollBackSnapshotHere(image, snapshot(image, 'one')))
    await write(2)
    await removeSnapshot(image, snapshot(image, 'one'))
    await create('one')
    await setSnapshotLimit(image, 9n)
    await write(2)
    await resizeImage(image, { size: SIZE, allowShrink: true })
    await setMetadata(image, 'shape', 'round')
    await removeMetadata(image, 'colour')
    await create('last')
    await removeSnapshot(image, snapshot(image, 'last'))
    await renameImage(image, 'other')
    await renameImage(image, 'image')
    await write(0)
  })
}

/** Which write each block is from. */
function short(content: Buffer): string {
  return Array.from({ length: content.length / BLOCK }, (_, block) => serialOf(content.subarray(block * BLOCK, (block + 1) * BLOCK))).join(' ')
}

/** What users see of the image on one side, all of it. */
async function seen(site: Site): Promise<Record<string, unknown>> {
  const id = (await findImage(site, 'image'))!
  return site.look(id, async (image) => {
    const contents: Record<string, string> = { '': short((await contentOf(image))!) }
    for (const { id: snapId, name, protection } of image.header.snapshots) {
      contents[`${name} ${protection}`] = short((await contentOf(image, snapId))!)
    }
    const metadata = [...(await listMetadata(site.io, id))].map(([key, value]) => `${key}=${value.toString()}`)
    return { contents, metadata: metadata.filter((entry) => !entry.startsWith('.')), limit: String(await getSnapshotLimit(image)) }
  })
}

it('what a daemon has done and not told before it died is done again, and gives the same', async () => {
  const play = async (scene: Scene, at: number): Promise<number> => {
    const { world } = scene
    const { a, b } = world.sites
    scene.startDaemons()
    await scene.mirrorNew('image', 'journal', SIZE)
    await scene.converge(a, 'image')
    const operations = armCrash(scene, 'b', at)
    await tellEverything(scene)
    await world.run(2_000)
    if (!scene.daemons.b.process) scene.daemons.b.start()
    await scene.converge(a, 'image')
    const [original, replica] = [JSON.stringify(await seen(a)), JSON.stringify(await seen(b))]
    if (replica !== original) throw new Violation(`the replica is ${replica}, its primary ${original}`)
    await scene.checkLeftovers()
    return operations()
  }
  let operations = 0
  await Scene.play(SEED, async (scene) => void (operations = await play(scene, Infinity)))
  await forEachOperation(SEED, { to: operations, stride: stride(7) }, async (scene, at) => void (await play(scene, at)))
})
