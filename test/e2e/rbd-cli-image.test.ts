import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { OurRbd } from '../support/rbd-command.ts'
import { allFormats, RbdTwin } from '../support/rbd-twin.ts'

const THEIRS = 'img-twin-theirs'
const OURS = 'img-twin-oursss'

describeCeph('rbd image commands beside the installed rbd', (pair) => {
  let twin: RbdTwin
  let ours: OurRbd
  const { a } = pair ?? {}
  const masks = [
    // how often a long work speaks of its progress is its own affair
    [/(?:\r|^)[^\r\n]*complete\.\.\.(?=\r|$)/gm, ''],
    // a monitor that is asked twice gives a snapshot's id away twice
    [/"(id|snapshot_id|cookie|client)":( ?)"?[\da-f]+"?/g, '"$1":$2N'],
    [/^ +\d+(?= {2}\S+ +\d+ [KMG]?i?B )/gm, '     N'],
    [/journal_data\.\d+/g, 'journal_data.N'],
    [/<(id|snapshot_id)>\w+/g, '<$1>N'],
  ] as const

  beforeAll(async () => {
    twin = await RbdTwin.create(a, { pools: { theirs: THEIRS, ours: OURS }, masks, compareLog: false })
    ours = await OurRbd.connect(a)
  })
  afterAll(async () => {
    await ours?.close()
    await twin?.remove()
  })

  const both = (line: string) => [line, `= ${line}`]

  it('help', async () => {
    const commands = ['create', 'clone', 'ls', 'info', 'rm', 'resize', 'mv', 'flatten', 'feature enable', 'feature disable']
    commands.push('import', 'export', 'bench', 'du', 'children', 'status', 'lock ls', 'namespace create', 'namespace rm', 'namespace ls')
    commands.push('pool init', 'pool stats', 'trash mv', 'trash rm', 'trash ls', 'trash purge', 'trash restore', 'journal info', 'journal status')
    commands.push('journal client disconnect', 'image-meta ls', 'image-meta get', 'image-meta set', 'image-meta rm')
    const snap = ['ls', 'create', 'rm', 'purge', 'rollback', 'protect', 'unprotect', 'limit set', 'limit clear', 'rename']
    await twin.same([...commands, ...snap.map((command) => `snap ${command}`)].map((command) => `help ${command}`))
  })

  it('images are made, shown, changed and removed', async () => {
    await twin.same([
      'create',
      'create POOL/x',
      'create POOL/x -s 8X',
      'create POOL/a@b -s 8',
      'create POOL/one -s 8M',
      'create POOL/one -s 8M',
      'create no-such-pool/one -s 8M',
      'create POOL/nowhere/one -s 8M',
      'create POOL/two --size 10 --object-size 1M --stripe-unit 64K --stripe-count 4 --image-feature layering --image-feature striping',
      'create POOL/three -s 100M --image-feature layering,exclusive-lock,journaling --journal-splay-width 2 --journal-object-size 4M',
      'create POOL/four -s 1537K --order 23 --image-shared',
      'create POOL/bad -s 1G --object-size 1K',
      'create POOL/bad -s 1G --object-size 64M',
      'create POOL/bad -s 1G --image-feature object-map',
      'create POOL/bad -s 1G --image-feature colour',
      'create POOL/bad -s 1G --stripe-unit 3K --stripe-count 2',
      'create POOL/bad -s 1G --data-pool no-such-pool',
      ...both('ls POOL'),
      ...allFormats('ls POOL'),
      ...allFormats('ls -l POOL'),
      ...['one', 'two', 'three', 'four'].flatMap((image) => [...both(`info POOL/${image}`), ...allFormats(`info POOL/${image}`)]),
      'info',
      'info POOL/nope',
      'info POOL/one@nope',
      'resize POOL/one',
      'resize POOL/one -s 8M',
      'resize POOL/one -s 4M',
      'resize POOL/one -s 20M',
      'resize POOL/one -s 5M --allow-shrink --no-progress',
      'resize POOL/three -s 50M --allow-shrink',
      'resize POOL/nope -s 1G',
      '= info POOL/one',
      '= info POOL/three',
      '= journal inspect POOL/three',
      'feature enable POOL/four exclusive-lock',
      'feature enable POOL/four object-map',
      'feature enable POOL/four journaling',
      'feature enable POOL/four layering',
      'feature enable POOL/four',
      'feature enable POOL/four nothing',
      '= info POOL/four',
      'feature disable POOL/four exclusive-lock',
      'feature disable POOL/four journaling',
      'feature disable POOL/four object-map',
      '= info POOL/four',
      'mv POOL/four POOL/five',
      'mv POOL/five POOL/one',
      'mv POOL/nope POOL/other',
      'mv POOL/five other/five',
      'mv POOL/five',
      '= ls -l POOL',
      'rm POOL/nope',
      'rm',
      'rm POOL/five',
      'rm POOL/two --no-progress',
      '= ls -l POOL',
    ])
  })

  it('snapshots', async () => {
    await twin.same([
      'create POOL/snapped -s 8M',
      'create POOL/journaled -s 8M --image-feature layering,exclusive-lock,object-map,journaling',
      ...['snapped', 'journaled'].flatMap((image) => [
        'snap ls POOL/' + image,
        `snap create POOL/${image}@one`,
        `snap create POOL/${image}@one`,
        `snap create POOL/${image}@two --no-progress`,
        `snap create POOL/${image}`,
        ...both(`snap ls POOL/${image}`),
        ...allFormats(`snap ls POOL/${image}`),
        ...allFormats(`snap ls --all POOL/${image}`),
        `snap rename POOL/${image}@two POOL/${image}@deux`,
        `snap rename POOL/${image}@one POOL/${image}@deux`,
        `snap rename POOL/${image}@nope POOL/${image}@x`,
        `snap rename POOL/${image}@one POOL/other@x`,
        `snap protect POOL/${image}@one`,
        `snap protect POOL/${image}@one`,
        `snap protect POOL/${image}@nope`,
        ...both(`info POOL/${image}@one`),
        ...allFormats('ls -l POOL'),
        `snap rm POOL/${image}@one`,
        `snap rm POOL/${image}@nope`,
        `snap rm POOL/${image}@deux --snap-id 1`,
        `snap purge POOL/${image}`,
        `= snap ls POOL/${image}`,
        `snap limit set POOL/${image}`,
        `snap limit set POOL/${image} --limit 2`,
        `snap limit set POOL/${image} --limit x`,
        `snap create POOL/${image}@more`,
        `snap create POOL/${image}@toomuch`,
        `= info POOL/${image}`,
        `snap limit clear POOL/${image}`,
        `snap rollback POOL/${image}@one`,
        `snap rollback POOL/${image}@nope`,
        `rm POOL/${image}`,
        `snap unprotect POOL/${image}@one`,
        `snap unprotect POOL/${image}@one`,
        `snap purge POOL/${image} --no-progress`,
        `snap purge POOL/${image}`,
        `= snap ls POOL/${image}`,
      ]),
      '= journal inspect POOL/journaled',
      '= object-map check POOL/journaled',
      'rm POOL/snapped',
      'rm POOL/journaled',
    ])
  })

  it('clones', async () => {
    await twin.same([
      'create POOL/parent -s 8M',
      'snap create POOL/parent@s --no-progress',
      'clone POOL/parent@s POOL/child',
      'snap protect POOL/parent@s',
      'clone POOL/parent@s POOL/child',
      'clone POOL/parent@nope POOL/other',
      'clone POOL/parent POOL/other',
      ...both('info POOL/child'),
      ...allFormats('info POOL/child'),
      ...allFormats('ls -l POOL'),
      'snap unprotect POOL/parent@s',
      ...['POOL/parent', 'POOL/parent@s', 'POOL/parent@nope', 'POOL/child'].map((image) => `children ${image}`),
      ...allFormats('children POOL/parent --all'),
      'flatten POOL/child',
      'flatten POOL/child',
      'children POOL/parent@s',
      '= info POOL/child',
      'snap unprotect POOL/parent@s',
      'snap rm POOL/parent@s',
      'rm POOL/parent',
      'rm POOL/child',
    ])
  })

  it('data: import, export, bench, du', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'rbd-img-'))
    const file = join(folder, 'data')
    const data = randomBytes(9_000_000)
    data.fill(0, 2_000_000, 6_000_000)
    writeFileSync(file, data)
    writeFileSync(join(folder, 'empty'), '')
    const features = ['layering', 'layering,exclusive-lock,object-map', 'layering,exclusive-lock,object-map,journaling']
    try {
      await twin.same([
        'import',
        'import /no/such/file POOL/x',
        `import ${folder} POOL/x`,
        `import ${file} no-such-pool/x`,
        ...features.flatMap((feature, index) => [
          `import ${file} POOL/i${index} --image-feature ${feature} --object-size 1M`,
          `import ${file} POOL/i${index} --image-feature ${feature}`,
          `snap create POOL/i${index}@s --no-progress`,
          `bench POOL/i${index}`,
          `bench POOL/i${index} --io-type neither`,
          `bench POOL/i${index} --io-type write --io-size 1G`,
          `bench POOL/i${index} --io-type read --io-size 0`,
          ...allFormats(`du POOL/i${index}`),
          `du POOL/i${index}@s`,
          `du POOL/i${index}@nope`,
          `du POOL/i${index} --from-snap s`,
          `du POOL/i${index} --merge-snapshots`,
        ]),
        'du POOL/nope',
        ...allFormats('du POOL'),
        'export POOL/nope -',
        'export POOL/i0@nope -',
        `export POOL/i0 ${file}`,
        'status POOL/i0',
        'status POOL/nope',
        'lock ls POOL/i0',
        '= journal inspect POOL/i2',
        '= object-map check POOL/i1',
        '= object-map check POOL/i2',
      ])
      for (const [index, feature] of features.entries()) {
        const spec = `${OURS}/i${index}`
        expect((await a.tryRbd(['export', '--no-progress', spec, join(folder, `theirs${index}`)])).code).toBe(0)
        expect(readFileSync(join(folder, `theirs${index}`)).equals(data)).toBe(true)
        expect((await ours.run(['export', `${THEIRS}/i${index}`, join(folder, `ours${index}`)])).code).toBe(0)
        expect(readFileSync(join(folder, `ours${index}`)).equals(data)).toBe(true)
        expect((await ours.run(['import', '-', `${OURS}/piped${index}`, '--image-feature', feature, '--no-progress'], data)).code).toBe(0)
        await a.rbd('export', '--no-progress', `${OURS}/piped${index}`, join(folder, `piped${index}`))
        expect(readFileSync(join(folder, `piped${index}`)).equals(data)).toBe(true)
        await a.rbd('rm', '--no-progress', `${OURS}/piped${index}`)
        const bench = await ours.run(['bench', spec, '--io-type', 'write', '--io-total', '1M', '--io-pattern', 'rand'])
        expect({ code: bench.code, stderr: bench.stderr }).toEqual({ code: 0, stderr: '' })
        expect(bench.stdout).toMatch(/^bench {2}type write io_size 4096 io_threads 16 bytes 1048576 pattern random\n {2}SEC {7}OPS {3}OPS\/SEC {3}BYTES\/SEC\n(.*\n)*elapsed: \d+ {3}ops: 256 {3}ops\/sec: \S+ {3}bytes\/sec: .*\/s\n$/)
        expect((await a.tryRbd(['object-map', 'check', spec])).code).toBe(index === 0 ? 22 : 0)
        await ours.run(['snap', 'rollback', `${spec}@s`])
        const back = await ours.run(['export', spec, join(folder, `back${index}`)])
        expect(back.code).toBe(0)
        expect(readFileSync(join(folder, `back${index}`)).equals(data)).toBe(true)
        await a.rbd('export', '--no-progress', spec, join(folder, `again${index}`))
        expect(readFileSync(join(folder, `again${index}`)).equals(data)).toBe(true)
      }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it('metadata, namespaces, pools, the trash, journals', async () => {
    await twin.same([
      'create POOL/m -s 4M --image-feature layering,exclusive-lock,journaling',
      ...allFormats('image-meta ls POOL/m'),
      'image-meta set POOL/m k',
      'image-meta set POOL/m k v',
      'image-meta set POOL/m k2 v2',
      'image-meta get POOL/m k',
      'image-meta get POOL/m nope',
      'image-meta get POOL/m',
      ...allFormats('image-meta ls POOL/m'),
      'image-meta rm POOL/m k',
      'image-meta rm POOL/m k',
      '= image-meta ls POOL/m',
      'journal info POOL/m',
      ...allFormats('journal info -p POOL --image m'),
      ...allFormats('journal status -p POOL --image m'),
      'journal status -p POOL --image nope',
      'journal status',
      'journal client disconnect -p POOL --image m --client-id nobody',
      'namespace create POOL',
      'namespace create POOL/ns',
      'namespace create POOL/ns',
      ...allFormats('namespace ls POOL'),
      'create POOL/ns/inner -s 4M',
      ...both('info POOL/ns/inner'),
      'namespace rm POOL/ns',
      'namespace rm POOL/nope',
      'rm POOL/ns/inner --no-progress',
      'namespace rm POOL/ns',
      '= namespace ls POOL',
      'pool init POOL',
      'pool init no-such-pool',
      'snap create POOL/m@s --no-progress',
      'trash mv POOL/m',
      'trash mv POOL/m',
      ...allFormats('pool stats POOL'),
      'trash ls no-such-pool',
      'trash rm POOL/abcdef',
      'trash restore POOL/abcdef',
    ])
    const idIn = async (pool: string) => (await a.rbdJson<{ id: string; name: string }[]>('trash', 'ls', pool)).find(({ name }) => name === 'm')!.id
    const own = { IMAGE: [await idIn(THEIRS), await idIn(OURS)] } as const
    const lines = ['trash ls POOL', 'trash ls -l POOL', 'trash ls POOL --format xml', 'trash ls POOL -l --format json', 'trash rm POOL/IMAGE', 'trash restore POOL/IMAGE', 'trash restore POOL/IMAGE']
    await twin.same(lines, { own })
    await twin.same(['= ls -l POOL', 'snap purge POOL/m --no-progress', 'trash mv POOL/m', 'trash purge POOL', '= trash ls POOL', 'trash purge POOL'])
  })
})
