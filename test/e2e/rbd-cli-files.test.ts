import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import type { LibrbdImage } from '../support/librbd.ts'
import { OurRbd } from '../support/rbd-command.ts'
import { allFormats, RbdTwin } from '../support/rbd-twin.ts'
import { waitFor } from '../support/wait.ts'

const THEIRS = 'files-twin-thrs'
const OURS = 'files-twin-ours'
const MIB = 2 ** 20

/** What is written to each of the images, with a snapshot after each step but the last. */
const data = [randomBytes(900_000), randomBytes(300_000), randomBytes(5000)] as const
const steps: readonly ((image: LibrbdImage) => Promise<void>)[] = [
  async (image) => {
    await image.write(100_000, data[0])
    await image.write(3 * MIB + 17, data[1])
    await image.write(2 * MIB, Buffer.alloc(70_000))
  },
  async (image) => {
    await image.discard(3 * MIB, MIB)
    await image.write(5 * MIB - 2000, data[2])
    await image.discard(200_000, 50_000)
  },
  async (image) => {
    await image.resize(5 * MIB + 1000)
    await image.resize(7 * MIB + 123)
    await image.write(7 * MIB, Buffer.from('the end'))
  },
]

const kinds = {
  plain: ['--image-feature', 'layering'],
  striped: ['--image-feature', 'layering,exclusive-lock,object-map', '--stripe-unit', '64K', '--stripe-count', '3'],
  journaled: ['--image-feature', 'layering,exclusive-lock,journaling'],
} as const

describeCeph('rbd export and import of snapshots and diffs, beside the installed rbd', (pair) => {
  let twin: RbdTwin
  let ours: OurRbd
  let folder: string
  const { a } = pair ?? {}
  const masks = [
    // of each diff of an image too
    [/(?:\r|^)[^\r\n]*complete\.\.\.(done\.|failed\.)?/gm, ''],
    // where in a file is what the installed tool does not tell
    [/: [^:\n]* \(byte \d+\)/g, ''],
    [/(theirs|ours)-/g, 'FILE-'],
  ] as const
  const file = (name: string) => join(folder, name)
  const own = () => ({ FILE: [file('theirs'), file('ours')] as const })

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rbd-files-'))
    twin = await RbdTwin.create(a, { pools: { theirs: THEIRS, ours: OURS }, masks, compareLog: false })
    ours = await OurRbd.connect(a)
    const client = (await pair.connect()).a
    const make = async (pool: string) => {
      for (const [name, options] of Object.entries(kinds)) {
        await a.rbd('create', `${pool}/${name}`, '-s', '7M', '--object-size', '1M', ...options)
        await client.with(`${pool}/${name}`, 'write', async (image) => {
          for (const [index, step] of steps.entries()) {
            await step(image)
            await image.flush()
            if (index < steps.length - 1) await image.createSnapshot(`s${index}`)
          }
        })
        await a.rbd('snap', 'protect', `${pool}/${name}@s1`)
        await a.rbd('image-meta', 'set', `${pool}/${name}`, 'colour', 'blue')
        await a.rbd('image-meta', 'set', `${pool}/${name}`, 'conf_rbd_cache', 'false')
      }
      await a.rbd('clone', `${pool}/plain@s1`, `${pool}/clone`, '--object-size', '2M')
      await client.with(`${pool}/clone`, 'write', async (image) => {
        await image.write(MIB, data[2])
        await image.discard(2 * MIB, 2 * MIB)
        await image.flush()
      })
    }
    await Promise.all(twin.pools.map(make))
  })
  afterAll(async () => {
    await ours?.close()
    await twin?.remove()
    rmSync(folder, { recursive: true, force: true })
  })

  it('help, and which program it is', async () => {
    expect((await ours.run(['--version'])).stdout).toMatch(/^rbd \d+\.\d+\.\d+ \(compatible with ceph version 18\..* \(stable\)\)\n$/)
    await twin.same(['diff', 'export-diff', 'import-diff', 'merge-diff', 'export', 'import'].map((command) => `help ${command}`))
  })

  it('diff', async () => {
    await twin.same([
      'diff',
      'diff POOL/nope',
      'diff POOL/plain@nope',
      'diff POOL/plain --from-snap nope',
      'diff POOL/plain@s0 --from-snap s1',
      'diff POOL/plain@s0 --from-snap s0',
      'diff POOL/plain --pretty-format',
      ...Object.keys(kinds).flatMap((image) => [
        `diff POOL/${image}@s0`,
        `diff POOL/${image} --from-snap s0`,
        `diff POOL/${image}@s1 --from-snap s0`,
        `diff POOL/${image} --from-snap s1`,
        `diff POOL/${image}@s0 --whole-object`,
      ]),
      ...allFormats('diff POOL/plain --from-snap s0'),
      'diff POOL/clone',
      'diff POOL/clone --whole-object',
    ])
  })

  it('export-diff and import-diff', async () => {
    const diffs = { first: '@s0', second: '@s1 --from-snap s0', third: ' --from-snap s1', whole: '@s1 --from-snap s0 --whole-object' }
    for (const image of Object.keys(kinds)) {
      for (const [name, range] of Object.entries(diffs)) await twin.same([`export-diff POOL/${image}${range} FILE-${image}-${name}`], { own: own() })
      for (const name of Object.keys(diffs)) {
        expect(readFileSync(file(`ours-${image}-${name}`)).equals(readFileSync(file(`theirs-${image}-${name}`))), `${image} ${name}`).toBe(true)
      }
    }
    await twin.same(['export-diff POOL/clone FILE-cloned', 'export-diff POOL/plain FILE-cloned', 'export-diff POOL/plain --from-snap nope FILE-nope', 'export-diff POOL/plain@nope FILE-nope'], { own: own() })
    expect(readFileSync(file('ours-cloned')).equals(readFileSync(file('theirs-cloned')))).toBe(true)
    expect(existsSync(file('ours-nope'))).toBe(false)
    writeFileSync(file('ours-bad'), 'rbd diff v1\nf')
    writeFileSync(file('theirs-bad'), 'rbd diff v1\nf')
    await twin.same(
      [
        'create POOL/copy -s 1M --object-size 1M --image-feature layering,exclusive-lock,object-map,journaling',
        'import-diff',
        'import-diff FILE-plain-first',
        'import-diff FILE-plain-first POOL/nope',
        'import-diff FILE-nope POOL/copy',
        'import-diff FILE-bad POOL/copy',
        'import-diff FILE-plain-second POOL/copy',
        'import-diff FILE-plain-first POOL/copy',
        'import-diff FILE-plain-first POOL/copy',
        'import-diff FILE-plain-second POOL/copy --no-progress --sparse-size 8K',
        'import-diff FILE-plain-third POOL/copy',
        '= snap ls POOL/copy --format json',
        '= object-map check POOL/copy',
      ],
      { own: own() },
    )
    for (const snap of ['@s0', '@s1', '']) await expectSame(`${OURS}/plain${snap}`, `${OURS}/copy${snap}`)
  })

  it('merge-diff', async () => {
    for (const image of ['plain', 'striped']) {
      await twin.same([`merge-diff FILE-${image}-first FILE-${image}-second FILE-${image}-m1`, `merge-diff FILE-${image}-m1 FILE-${image}-third FILE-${image}-m2`], { own: own() })
      for (const name of ['m1', 'm2']) {
        expect(readFileSync(file(`ours-${image}-${name}`)).equals(readFileSync(file(`theirs-${image}-${name}`))), `${image} ${name}`).toBe(true)
      }
      await a.rbd('create', `${OURS}/merged-${image}`, '-s', '1M', '--image-feature', 'layering')
      await a.rbd('import-diff', '--no-progress', file(`ours-${image}-m2`), `${OURS}/merged-${image}`)
      await expectSame(`${OURS}/${image}`, `${OURS}/merged-${image}`)
    }
    for (const side of ['theirs', 'ours']) writeFileSync(file(`${side}-cut`), readFileSync(file('ours-plain-second')).subarray(0, 3000))
    await twin.same(
      [
        'merge-diff',
        'merge-diff FILE-plain-first',
        'merge-diff FILE-plain-first FILE-plain-second',
        'merge-diff FILE-nope FILE-plain-second FILE-m',
        'merge-diff FILE-plain-first FILE-nope FILE-m',
        'merge-diff FILE-plain-first FILE-plain-third FILE-m',
        'merge-diff FILE-plain-first FILE-plain-second FILE-plain-third',
        'merge-diff FILE-plain-first FILE-cut FILE-m',
        'merge-diff FILE-bad FILE-plain-second FILE-m',
      ],
      { own: own() },
    )
    expect(existsSync(file('ours-m'))).toBe(false)
  })

  it('export and import of format 2', async () => {
    for (const image of [...Object.keys(kinds), 'clone']) {
      await twin.same([`export --export-format 2 POOL/${image} FILE-${image}`], { own: own() })
      const exported = { theirs: readFileSync(file(`theirs-${image}`)), ours: readFileSync(file(`ours-${image}`)) }
      expect(masked(exported.ours).equals(masked(exported.theirs)), image).toBe(true)
      if (image === 'clone') continue
      // each reads what the other has written
      await a.rbd('import', '--no-progress', '--export-format', '2', file(`ours-${image}`), `${THEIRS}/again-${image}`)
      const piped = await ours.run(['import', '--no-progress', '--export-format', '2', '-', `${OURS}/again-${image}`], exported.theirs)
      expect(piped).toMatchObject({ code: 0, stderr: '' })
      await twin.same(['snap ls POOL/IMAGE --format json', 'image-meta ls POOL/IMAGE', 'info POOL/IMAGE'].map((line) => `= ${line.replace('IMAGE', `again-${image}`)}`))
      for (const snap of ['@s0', '@s1', '']) for (const pool of [THEIRS, OURS]) await expectSame(`${OURS}/${image}${snap}`, `${pool}/again-${image}${snap}`)
    }
    await twin.same(['import --no-progress --export-format 2 FILE-plain POOL/again-plain'], { own: own() })
    await twin.same(['= object-map check POOL/again-striped', 'import --export-format 2 --object-size 2M --image-feature layering --stripe-unit 1M --stripe-count 2 FILE-plain POOL/other', '= info POOL/other'], {
      own: own(),
    })
  })

  it('what is no such file leaves nothing behind', async () => {
    const whole = readFileSync(file('ours-plain'))
    const cases: Record<string, Buffer> = {
      foreign: randomBytes(100),
      empty2: Buffer.from('rbd image v2\n'),
      header: whole.subarray(0, 60),
      half: whole.subarray(0, 500_000),
      snapped: whole.subarray(0, whole.length - 5),
    }
    for (const [name, bytes] of Object.entries(cases)) for (const side of ['theirs', 'ours']) writeFileSync(file(`${side}-${name}`), bytes)
    const lines = Object.keys(cases).filter((name) => name !== 'snapped')
    await twin.same([...lines.map((name) => `import --export-format 2 FILE-${name} POOL/broken`), '= info POOL/broken'], { own: own() })
    // the installed tool leaves an image that has snapshots, without a word
    const cut = await ours.run(['import', '--no-progress', '--export-format', '2', file('ours-snapped'), `${OURS}/broken`])
    expect(cut.code).toBe(33)
    expect(cut.stderr).toMatch(/^rbd: failed to decode .*: the file ends here \(byte \d+\)\nrbd: import-diff failed: .*\nrbd: failed to import image\nrbd: import failed: \(33\) /)
    expect((await a.tryRbd(['info', `${OURS}/broken`])).code).toBe(2)
  })

  it('trash purge by how full the pool is', async () => {
    // without snapshots, whose clones count as objects
    const purged = await RbdTwin.create(a, { pools: { theirs: 'purge-twin-thrs', ours: 'purge-twin-ours' }, masks, compareLog: false })
    onTestFinished(() => purged.remove())
    writeFileSync(file('flat'), randomBytes(MIB))
    const wrong = ['x', '1.5', '-0.1', '0x1', '5.', '']
    await purged.same([
      ...wrong.map((value) => `trash purge POOL --threshold ${value === '' ? "''" : value}`),
      ...['old', 'new'].map((name) => `import --no-progress ${file('flat')} POOL/${name}`),
      '= trash mv POOL/new --expires-at 2days',
      '= trash mv POOL/old --expires-at tomorrow',
      'create POOL/over -s 4M',
      'trash mv POOL/over',
      'trash purge POOL --threshold 1 --expired-before now',
    ])
    const inTrash = async () => {
      const lists = await Promise.all(purged.pools.map((pool) => a.rbdJson<{ name: string }[]>('trash', 'ls', pool)))
      return lists.map((list) => list.map(({ name }) => name).sort())
    }
    expect(await inTrash()).toEqual(purged.pools.map(() => ['new', 'old', 'over']))
    const pools = await waitFor('all objects to be counted', async () => {
      const found = (await a.cephJson<{ pools: { name: string; stats: { percent_used: number; objects: number } }[] }>('df')).pools
      const objects = await Promise.all(purged.pools.map(async (pool) => (await a.rados('-p', pool, 'ls')).trim().split('\n').length))
      return purged.pools.every((pool, at) => found.find(({ name }) => name === pool)?.stats.objects === objects[at]) && found
    })
    // a little less than there is: the first to expire is enough
    const thresholds = purged.pools.map((pool) => String(pools.find(({ name }) => name === pool)!.stats.percent_used - 1e-6))
    expect(thresholds.map(Number).every((value) => value > 0)).toBe(true)
    const first = { SOME: [thresholds[0]!, thresholds[1]!] as const }
    await purged.same(['trash purge POOL --threshold SOME --expired-before nonsense'], { own: first })
    expect(await inTrash()).toEqual(purged.pools.map(() => ['new']))
    await purged.same(['trash purge POOL --no-progress --threshold 0'])
    expect(await inTrash()).toEqual(purged.pools.map(() => []))
  })

  const contents = new Map<string, string>()

  /** @param original of which is known what it has */
  async function expectSame(original: string, copy: string): Promise<void> {
    if (!contents.has(original)) contents.set(original, await contentOf(original))
    expect(await contentOf(copy), copy).toBe(contents.get(original))
  }

  async function contentOf(spec: string): Promise<string> {
    rmSync(file('content'), { force: true })
    await a.rbd('export', '--no-progress', spec, file('content'))
    return createHash('sha256').update(readFileSync(file('content'))).digest('hex')
  }
})

/** Before Quincy the length that is told of a snapshot's protection was 8, of the one byte. */
function masked(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  const wrong = Buffer.from([0x70, 8, 0, 0, 0, 0, 0, 0, 0])
  for (let at = copy.indexOf(wrong); at >= 0; at = copy.indexOf(wrong, at + 1)) copy[at + 1] = 1
  return copy
}
