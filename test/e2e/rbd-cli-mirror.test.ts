import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { comparable, OurRbd } from '../support/rbd-command.ts'
import { tryRun, type RunOptions } from '../support/run.ts'

/** Twin pools: what the installed `rbd` does in one, ours does in the other, and both have to say and leave the same. */
const THEIRS = 'rbd-twin-theirs'
const OURS = 'rbd-twin-oursss'
const nobody = '11111111-1111-1111-1111-111111111111'

describeCeph('rbd mirror commands beside the installed rbd', (pair) => {
  let ours: OurRbd
  let folder: string
  const { a } = pair ?? {}
  const masks = [[new RegExp(`${THEIRS}|${OURS}`, 'g'), 'POOL']] as const

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rbd-twin-'))
    ours = await OurRbd.connect(a)
    for (const pool of [THEIRS, OURS]) {
      await a.createPool(pool)
      await a.rbd('namespace', 'create', `${pool}/ns`)
      const journaling = ['--image-feature', 'layering,exclusive-lock,journaling']
      await a.rbd('create', `${pool}/journaled`, '-s', '8M', ...journaling)
      await a.rbd('create', `${pool}/plain`, '-s', '8M', '--image-feature', 'layering')
      await a.rbd('create', `${pool}/usual`, '-s', '8M')
      await a.rbd('create', `${pool}/ns/inner`, '-s', '8M')
      await a.rbd('image-meta', 'set', `${pool}/usual`, 'k<"&', 'v>\'')
      await a.rbd('snap', 'create', `${pool}/usual@mine`, '--no-progress')
    }
  })
  afterAll(async () => {
    await ours?.close()
    await Promise.all([THEIRS, OURS].map((pool) => a.deletePool(pool)))
    rmSync(folder, { recursive: true, force: true })
  })

  const inPool = (pool: string, line: string) => line.split(' ').map((word) => (word === "''" ? '' : word.replaceAll('POOL', pool)))

  /** Runs each line with both; POOL is the twin's name. Lines that begin with `=` are the installed tool's in both pools: what was left behind. */
  async function same(lines: readonly string[], input?: string): Promise<void> {
    for (const line of lines) {
      const look = line.startsWith('= ')
      const text = look ? line.slice(2) : line
      const options = input === undefined ? {} : { input }
      const args = inPool(OURS, text)
      const theirs = a.tryRbd(inPool(THEIRS, text), options)
      const [expected, got] = await Promise.all([theirs, look ? a.tryRbd(args, options) : ours.run(args, input)])
      expect({ line, ...comparable(got, masks) }).toEqual({ line, ...comparable(expected, masks) })
    }
  }

  const allFormats = (line: string) => [
    line,
    `${line} --format json`,
    `${line} --format json --pretty-format`,
    `${line} --format xml`,
    `${line} --format xml --pretty-format`,
  ]
  const inspect = (image: string) => [
    `= mirror image status ${image} --format json`,
    `= snap ls --all ${image} --format json`,
    `= info ${image} --format json`,
    `= image-meta ls ${image}`,
  ]

  it('the command line: help, missing, surplus and wrong arguments', async () => {
    await same([
      ...['pool enable', 'pool disable', 'pool info', 'pool status', 'pool promote', 'pool demote', 'pool peer add', 'pool peer remove', 'pool peer set']
        .concat(['pool peer bootstrap create', 'pool peer bootstrap import', 'image enable', 'image disable', 'image promote', 'image demote'])
        .concat(['image resync', 'image status', 'image snapshot', 'snapshot schedule add', 'snapshot schedule remove', 'snapshot schedule rm'])
        .concat(['snapshot schedule list', 'snapshot schedule ls', 'snapshot schedule status'])
        .map((command) => `help mirror ${command}`),
      'mirror pool info a b',
      'mirror pool info --foo',
      'mirror pool info -x',
      'mirror pool info --format',
      'mirror pool info --format yaml',
      'mirror pool info POOL --pretty-format',
      'mirror pool info POOL --format json --format xml',
      'mirror pool info POOL --all=yes',
      'mirror pool info --pool= x',
      'mirror pool info POOL/nowhere',
      'mirror pool info no-such-pool',
      'mirror pool info -p POOL',
      'mirror pool info -pPOOL',
      'mirror pool info --pool=POOL --namespace ns',
      'mirror pool info POOL/ns',
      'mirror pool enable a@b image',
      'mirror pool enable POOL',
      'mirror pool enable POOL both',
      'mirror pool enable POOL image surplus',
      'mirror image enable',
      'mirror image enable a/b/c/d',
      'mirror image enable POOL/usual@mine',
      'mirror image enable POOL/no-such-image',
      'mirror image enable POOL/nowhere/inner',
      'mirror image status -p POOL',
      'mirror image status -p POOL --image no-such-image',
      'mirror image snapshot POOL/usual --skip-quiesce --ignore-quiesce-error',
      'mirror pool peer add POOL',
      'mirror pool peer add POOL a/b',
      'mirror pool peer add POOL x --direction tx-only',
      'mirror pool peer add POOL x --remote-key-file /no/such/file',
      'mirror pool peer remove POOL',
      'mirror pool peer remove POOL xyz',
      `mirror pool peer set POOL ${nobody}`,
      `mirror pool peer set POOL ${nobody} colour blue`,
      `mirror pool peer set POOL ${nobody} key-file /no/such/file`,
      'mirror pool peer bootstrap import POOL',
      'mirror pool peer bootstrap import POOL /no/such/file',
    ])
  })

  it('a pool that is not mirrored', async () => {
    await same([
      ...allFormats('mirror pool info POOL'),
      'mirror pool status POOL',
      'mirror pool disable POOL',
      'mirror pool promote POOL',
      'mirror pool demote POOL',
      'mirror pool peer add POOL x',
      `mirror pool peer remove POOL ${nobody}`,
      'mirror pool peer bootstrap create POOL',
      ...['enable', 'disable', 'promote', 'demote', 'resync', 'status', 'snapshot'].map((verb) => `mirror image ${verb} POOL/usual`),
    ])
  })

  it('pool mode and its conflicts', async () => {
    await same([
      'mirror pool enable POOL pool',
      'mirror pool enable POOL pool',
      'mirror pool info POOL',
      ...inspect('POOL/journaled'),
      'mirror image enable POOL/usual snapshot',
      'mirror image enable POOL/usual',
      'mirror image disable POOL/journaled',
      ...allFormats('mirror pool status POOL'),
      'mirror pool disable POOL',
      ...inspect('POOL/journaled'),
      'mirror pool enable POOL pool',
      'mirror pool enable POOL image',
      'mirror pool enable POOL/ns image',
      'mirror pool info POOL/ns --format json',
      'mirror image enable POOL/ns/inner snapshot',
      '= mirror image status POOL/ns/inner --format json',
      'mirror pool disable POOL/ns',
      'mirror image disable POOL/ns/inner',
      'mirror pool disable POOL/ns',
    ])
  })

  it('images of both modes, from enabled to disabled', async () => {
    await same([
      'mirror image enable POOL/journaled snapshot',
      'mirror image enable POOL/usual neither',
      'mirror image enable POOL/usual snapshot',
      'mirror image enable POOL/usual snapshot',
      'mirror image enable POOL/plain',
      ...inspect('POOL/usual'),
      ...inspect('POOL/plain'),
      ...allFormats('mirror image status POOL/usual'),
      'mirror image status POOL/plain',
      ...allFormats('mirror pool status POOL --verbose'),
      'mirror image snapshot POOL/usual',
      'mirror image snapshot POOL/plain',
      'mirror image resync POOL/usual',
      'mirror image resync POOL/plain',
      'mirror image promote POOL/usual',
      'mirror image promote POOL/plain --force',
      'mirror pool disable POOL',
      'mirror image demote POOL/usual',
      'mirror image demote POOL/usual',
      'mirror image demote POOL/plain',
      'mirror image demote POOL/plain',
      ...inspect('POOL/usual'),
      ...inspect('POOL/plain'),
      'mirror image snapshot POOL/usual',
      'mirror image disable POOL/usual',
      'mirror image disable POOL/plain',
      'mirror pool promote POOL',
      ...inspect('POOL/usual'),
      ...inspect('POOL/plain'),
      'mirror pool demote POOL',
      'mirror image resync POOL/usual',
      'mirror image resync POOL/plain',
      '= image-meta ls POOL/usual',
      'mirror image disable POOL/usual --force',
      'mirror image disable POOL/plain --force',
      'mirror image disable POOL/journaled',
      'mirror image disable POOL/usual --force',
      ...['usual', 'plain', 'journaled'].flatMap((image) => inspect(`POOL/${image}`)),
    ])
  })

  it('peers', async () => {
    const key = join(folder, 'key')
    writeFileSync(key, 'AQBkZXBlZXIga2V5IG9mIG5vYm9keQ==\nsecond line\n')
    await same([
      `mirror pool peer add POOL ${a.name}`,
      `mirror pool peer add POOL client.x@there --remote-mon-host 192.0.2.1 --remote-key-file ${key}`,
      'mirror pool peer add POOL elsewhere',
      'mirror pool info POOL',
      ...allFormats('mirror pool info POOL --all'),
      'mirror pool disable POOL',
      `mirror pool peer set POOL ${nobody} client client.y`,
      `mirror pool peer set POOL ${nobody} direction sideways`,
      `mirror pool peer set POOL ${nobody} direction tx-only`,
      `mirror pool peer set POOL ${nobody} direction rx-only`,
      `mirror pool peer set POOL ${nobody} mon-host 192.0.2.2`,
      `mirror pool peer set POOL ${nobody} site-name ${a.name}`,
      `mirror pool peer remove POOL ${nobody}`,
    ])
    const uuids = await Promise.all(
      [THEIRS, OURS].map(async (pool) => (await a.rbdJson<{ peers: { uuid: string }[] }>('mirror', 'pool', 'info', pool)).peers[0]!.uuid),
    )
    const both = async (line: string) => {
      const expected = await a.tryRbd(inPool(THEIRS, line.replace('PEER', uuids[0]!)))
      const got = await ours.run(inPool(OURS, line.replace('PEER', uuids[1]!)))
      expect({ line, ...comparable(got, masks) }).toEqual({ line, ...comparable(expected, masks) })
    }
    await same(['mirror image enable POOL/usual snapshot', ...Array.from({ length: 7 }, () => 'mirror image snapshot POOL/usual'), ...inspect('POOL/usual')])
    for (const change of ['client client.y', "site-name ''", 'cluster renamed', 'direction rx-only', 'direction tx-only', 'mon-host 192.0.2.3', "mon-host ''"]) {
      await both(`mirror pool peer set POOL PEER ${change}`)
      await same(['= mirror pool info POOL --all --format json'])
    }
    await both('mirror pool peer remove POOL PEER')
    await same(['= mirror pool info POOL --all --format json', ...inspect('POOL/usual'), 'mirror image disable POOL/usual'])
  })

  it('schedules', async () => {
    const add = 'mirror snapshot schedule add'
    await same(['mirror image enable POOL/usual snapshot'])
    // the manager looks for new images once a minute, and both pools are in its list: one tool after the other
    const lines = [
      add,
      `${add} -p POOL --image usual 1x`,
      `${add} -p POOL --image usual 1h`,
      `${add} --image POOL/usual 2h 14:00:00-05:00`,
      `${add} --image POOL/usual -p POOL 2h`,
      `${add} --image POOL/ns/inner --namespace ns 2h`,
      `${add} -p POOL --image journaled 1h`,
      `${add} -p POOL 1d bad`,
      `${add} -p POOL 1d 3:00`,
      `${add} -p no-such-pool 1d`,
      `${add} -p POOL --image no-such-image 1d`,
      `${add} -p POOL --namespace nowhere 1d`,
      'mirror snapshot schedule ls -p no-such-pool',
      ...allFormats('mirror snapshot schedule ls -p POOL --recursive'),
      ...allFormats('mirror snapshot schedule ls -p POOL --image usual'),
      'mirror snapshot schedule ls -p POOL --namespace nowhere',
      'mirror snapshot schedule ls -p POOL --image a/b/c/d',
      'mirror snapshot schedule ls -p POOL --image journaled',
      ...allFormats('mirror snapshot schedule status -p POOL'),
      'mirror snapshot schedule status -p no-such-pool',
      'mirror snapshot schedule remove -p POOL --image usual 1h',
      'mirror snapshot schedule remove -p POOL --image usual',
      'mirror snapshot schedule rm -p POOL',
      'mirror snapshot schedule rm -p POOL 1d',
      'mirror snapshot schedule ls -p POOL -R',
    ]
    await same([...lines, 'mirror image disable POOL/usual'])
  })

  it('as programs', async () => {
    const root = fileURLToPath(new URL('../..', import.meta.url))
    const program = [process.execPath, '--import', createRequire(import.meta.url).resolve('tsx'), join(root, 'src/cli/rbd.cts')]
    const both = async (args: string[], options: RunOptions = {}) => {
      const results = await Promise.all([['rbd'], program].map((command) => tryRun([...command, ...args], { cwd: folder, ...options })))
      const [expected, got] = results.map((result) => comparable(result, masks))
      return { args, expected, got }
    }
    const conf = ['-c', a.conf]
    const runs = await Promise.all([
      both([...conf, 'mirror', 'pool', 'info', THEIRS, '--format', 'xml', '--pretty-format']),
      both(['mirror', 'pool', 'status', THEIRS], { env: { ...process.env, CEPH_ARGS: `-c ${a.conf} --id admin` } }),
      both([...conf, '--user', 'admin', 'mirror', 'image', 'status', `${THEIRS}/no-such-image`]),
      both([...conf, 'mirror', 'pool', 'peer', 'bootstrap', 'import', THEIRS, '-'], { input: 'e30=' }),
      both([...conf, 'bash-completion', 'mirror', 'snapshot', 'schedule', 'ls']),
    ])
    for (const { args, expected, got } of runs) expect({ args, ...got }).toEqual({ args, ...expected })
    const { code, stdout, stderr } = await tryRun([...program, '--conf', join(folder, 'none.conf'), 'mirror', 'pool', 'info'])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/no such configuration file: .*none\.conf/)
  })

  it('tokens that are none of ours', async () => {
    const import_ = 'mirror pool peer bootstrap import POOL'
    await same([`${import_} -`], 'garbage!!\n')
    await same([`${import_} --token-path - --direction tx-only`], 'e30=\n')
    await same([`${import_} -`], 'e30=\n')
    await same([`${import_} -`], Buffer.from('{"fsid":"x","client_id":"y","key":1,"mon_host":""}').toString('base64'))
    const own = await a.rbd('mirror', 'pool', 'peer', 'bootstrap', 'create', OURS)
    await same([`${import_} -`, 'mirror pool peer bootstrap create POOL'], own)
  })
})
