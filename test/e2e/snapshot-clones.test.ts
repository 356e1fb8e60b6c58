import { expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { expectSameUserSnapshots, mirrorAndCompare, scribble } from '../support/e2e.ts'
import { mirroring } from '../support/scenario.ts'

const POOL = 'clones'

interface CloneInfo {
  readonly op_features: readonly string[]
  readonly parent?: { readonly pool: string; readonly image: string; readonly snapshot: string; readonly overlap: number }
}

describeCeph('clones in snapshot mode', (pair) => {
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
})
