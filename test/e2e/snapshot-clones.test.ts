import { randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { expectSameUserSnapshots, MIB, mirrorAndCompare, scribble } from '../support/e2e.ts'
import { expectReplayed } from '../support/journal.ts'
import { waitForState } from '../support/mirroring.ts'
import { mirroring } from '../support/scenario.ts'

const POOL = 'clones'

interface CloneInfo {
  readonly op_features: readonly string[]
  readonly parent?: { readonly pool: string; readonly image: string; readonly snapshot: string; readonly overlap: number }
}

describeCeph('clones', (pair) => {
  mirroring(() => pair, [POOL])

  const infoOf = (site: 'a' | 'b', spec: string) => pair[site].rbdJson<CloneInfo>('info', spec)

  async function parent(name: string): Promise<string> {
    const { a } = await pair.connect()
    const spec = `${POOL}/${name}`
    await pair.a.rbd('create', spec, '--size', '24M')
    await a.with(spec, 'write', async (image) => {
      await scribble(image)
      await image.createSnapshot('base')
      await scribble(image, { count: 5 })
    })
    return spec
  }

  it.each([1, 2])('are clones of format v%i again, with what they have of their parent', async (format) => {
    const { a } = await pair.connect()
    const origin = await parent(`parent${format}`)
    const spec = `${POOL}/clone${format}`
    if (format === 1) await pair.a.rbd('snap', 'protect', `${origin}@base`)
    await pair.a.rbd('clone', '--rbd-default-clone-format', String(format), `${origin}@base`, spec)
    await a.with(origin, 'write', (image) => image.enableMirroring('snapshot'))
    await a.with(spec, 'write', async (image) => {
      await scribble(image, { count: 4 })
      await image.createSnapshot('own')
      await scribble(image, { count: 4 })
      await image.enableMirroring('snapshot')
    })
    await mirrorAndCompare(pair, origin)
    await mirrorAndCompare(pair, spec, { timeout: 60_000 })
    await expectSameUserSnapshots(pair, spec)
    const [source, copy] = [await infoOf('a', spec), await infoOf('b', spec)]
    const link = ({ parent: of, op_features }: CloneInfo) => ({ op_features, image: of?.image, snapshot: of?.snapshot, overlap: of?.overlap })
    expect(link(copy)).toEqual(link(source))

    await a.with(spec, 'write', async (image) => {
      await image.discard(4 * 2 ** 20, 9 * 2 ** 20)
      await scribble(image, { count: 4 })
      await image.createSnapshot('later')
    })
    await mirrorAndCompare(pair, spec)
    await pair.a.rbd('flatten', spec)
    await a.with(spec, 'write', (image) => scribble(image, { count: 3 }))
    await mirrorAndCompare(pair, spec)
    await expectSameUserSnapshots(pair, spec)
  })

  it('let go of their parent once nothing needs it', async () => {
    const { a } = await pair.connect()
    const origin = await parent('released')
    const spec = `${POOL}/flattened`
    await pair.a.rbd('clone', '--rbd-default-clone-format', '2', `${origin}@base`, spec)
    await a.with(origin, 'write', (image) => image.enableMirroring('snapshot'))
    await mirrorAndCompare(pair, origin)
    await a.with(spec, 'write', (image) => image.enableMirroring('snapshot'))
    await mirrorAndCompare(pair, spec, { timeout: 60_000 })
    await pair.a.rbd('flatten', spec)
    await mirrorAndCompare(pair, spec)
    expect((await infoOf('b', spec)).parent).toBeUndefined()
    expect(await pair.b.rbdJson('children', `${origin}@base`)).toEqual([])
  })

  /** Mirrored, with a snapshot `large`; its parent has data everywhere. */
  async function fullClone(mode: 'snapshot' | 'journal', name: string): Promise<string> {
    const { a } = await pair.connect()
    const origin = await parent(`${name}-parent`)
    await a.with(origin, 'write', async (image) => {
      await image.write(0, randomBytes(24 * MIB))
      await image.createSnapshot('full')
      await image.enableMirroring('snapshot')
    })
    await mirrorAndCompare(pair, origin)
    const spec = `${POOL}/${name}`
    const features = `layering,exclusive-lock,object-map,fast-diff,deep-flatten${mode === 'journal' ? ',journaling' : ''}`
    await pair.a.rbd('clone', '--rbd-default-clone-format', '2', '--image-feature', features, `${origin}@full`, spec)
    await pair.a.rbd('snap', 'create', `${spec}@large`)
    await pair.a.rbd('mirror', 'image', 'enable', spec, mode)
    await expectMirrored(mode, spec)
    return spec
  }

  async function expectMirrored(mode: 'snapshot' | 'journal', spec: string): Promise<void> {
    if (mode === 'snapshot') await mirrorAndCompare(pair, spec, { timeout: 60_000 })
    else {
      await waitForState(pair.b, spec, 'up+replaying')
      await expectReplayed(pair, spec)
    }
    await expectSameUserSnapshots(pair, spec)
  }

  async function shrinkAndGrow(site: 'a' | 'b', spec: string): Promise<void> {
    await pair[site].rbd('resize', '--allow-shrink', '--no-progress', '--size', '9500K', spec)
    await pair[site].rbd('resize', '--no-progress', '--size', '24M', spec)
  }

  it.each(['snapshot', 'journal'] as const)('keep in their snapshots what the head has no more of the parent, also when they are flattened (mode %s)', async (mode) => {
    const spec = await fullClone(mode, `flattened-${mode}`)
    await shrinkAndGrow('a', spec)
    await expectMirrored(mode, spec)
    await pair.a.rbd('flatten', '--no-progress', spec)
    await expectMirrored(mode, spec)
  })

  it.each(['snapshot', 'journal'] as const)('get back with a resync what they have lost of the parent while they were primary (mode %s)', async (mode) => {
    const spec = await fullClone(mode, `resynced-${mode}`)
    await pair.b.rbd('mirror', 'image', 'promote', '--force', spec)
    await shrinkAndGrow('b', spec)
    await pair.b.rbd('mirror', 'image', 'demote', spec)
    await pair.b.rbd('mirror', 'image', 'resync', spec)
    await expectMirrored(mode, spec)
    expect((await infoOf('b', spec)).parent?.overlap).toBe((await infoOf('a', spec)).parent?.overlap)
  })
})
