import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { comparable, OurRbd } from '../support/rbd-command.ts'

/** Twin pools: what the installed `rbd` does in one, ours does in the other, and both have to say and leave the same. */
const THEIRS = 'img-twin-theirs'
const OURS = 'img-twin-oursss'

describeCeph('rbd image commands beside the installed rbd', (pair) => {
  let ours: OurRbd
  const { a } = pair ?? {}
  const masks = [
    [new RegExp(`${THEIRS}|${OURS}`, 'g'), 'POOL'],
    // how often a long work speaks of its progress is its own affair
    [/\r[^\r\n]*complete\.\.\.(?=\r|$)/g, ''],
    [/"(id|snapshot_id|cookie|client)":"?[\da-f]+"?/g, '"$1":N'],
    [/<(id|snapshot_id)>\w+/g, '<$1>N'],
  ] as const

  beforeAll(async () => {
    ours = await OurRbd.connect(a)
    for (const pool of [THEIRS, OURS]) await a.createPool(pool)
  })
  afterAll(async () => {
    await ours?.close()
    await Promise.all([THEIRS, OURS].map((pool) => a.deletePool(pool)))
  })

  const inPool = (pool: string, line: string) => line.split(' ').map((word) => (word === "''" ? '' : word.replaceAll('POOL', pool)))

  /** Runs each line with both; POOL is the twin's name. Lines that begin with `=` are the installed tool's in both pools: what was left behind. */
  async function same(lines: readonly string[], input?: string): Promise<void> {
    for (const line of lines) {
      const look = line.startsWith('= ')
      const text = look ? line.slice(2) : line
      const options = input === undefined ? {} : { input }
      const expected = await a.tryRbd(inPool(THEIRS, text), options)
      const args = inPool(OURS, text)
      const got = look ? await a.tryRbd(args, options) : await ours.run(args, input)
      const shown = (result: typeof got) => {
        const { code, stdout, said } = comparable(result, masks)
        return { line, code, stdout, said }
      }
      expect.soft(shown(got)).toEqual(shown(expected))
    }
  }

  const allFormats = (line: string) => [
    line,
    `${line} --format json`,
    `${line} --format json --pretty-format`,
    `${line} --format xml`,
    `${line} --format xml --pretty-format`,
  ]
  const both = (line: string) => [line, `= ${line}`]

  it('help', async () => {
    const commands = ['create', 'clone', 'ls', 'info', 'rm', 'resize', 'mv', 'flatten', 'feature enable', 'feature disable']
    const snap = ['ls', 'create', 'rm', 'purge', 'rollback', 'protect', 'unprotect', 'limit set', 'limit clear', 'rename']
    await same([...commands, ...snap.map((command) => `snap ${command}`)].map((command) => `help ${command}`))
  })

  it('images are made, shown, changed and removed', async () => {
    await same([
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
    await same([
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
    await same([
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
      'flatten POOL/child',
      'flatten POOL/child',
      '= info POOL/child',
      'snap unprotect POOL/parent@s',
      'snap rm POOL/parent@s',
      'rm POOL/parent',
      'rm POOL/child',
    ])
  })
})
