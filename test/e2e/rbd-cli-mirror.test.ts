import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import { comparable } from '../support/rbd-command.ts'
import { allFormats, RbdTwin } from '../support/rbd-twin.ts'
import { tryRun, type RunOptions } from '../support/run.ts'

const THEIRS = 'rbd-twin-theirs'
const OURS = 'rbd-twin-oursss'
const nobody = '11111111-1111-1111-1111-111111111111'

describeCeph('rbd mirror commands beside the installed rbd', (pair) => {
  let twin: RbdTwin
  let folder: string
  const { a } = pair ?? {}

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rbd-twin-'))
    twin = await RbdTwin.create(a, { pools: { theirs: THEIRS, ours: OURS }, compareLog: true })
    for (const pool of twin.pools) {
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
    await twin?.remove()
    rmSync(folder, { recursive: true, force: true })
  })

  const inspect = (image: string) => [
    `= mirror image status ${image} --format json`,
    `= snap ls --all ${image} --format json`,
    `= info ${image} --format json`,
    `= image-meta ls ${image}`,
  ]

  it('the command line: help, missing, surplus and wrong arguments', async () => {
    await twin.same([
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
    await twin.same([
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
    await twin.same([
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
    await twin.same([
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
    await twin.same([
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
    const uuidIn = async (pool: string) => (await a.rbdJson<{ peers: { uuid: string }[] }>('mirror', 'pool', 'info', pool)).peers[0]!.uuid
    const own = { PEER: [await uuidIn(THEIRS), await uuidIn(OURS)] } as const
    await twin.same(['mirror image enable POOL/usual snapshot', ...Array.from({ length: 7 }, () => 'mirror image snapshot POOL/usual'), ...inspect('POOL/usual')])
    const changes = ['client client.y', "site-name ''", 'cluster renamed', 'direction rx-only', 'direction tx-only', 'mon-host 192.0.2.3', "mon-host ''"]
    const look = '= mirror pool info POOL --all --format json'
    await twin.same([...changes.flatMap((change) => [`mirror pool peer set POOL PEER ${change}`, look]), 'mirror pool peer remove POOL PEER'], { own })
    await twin.same(['= mirror pool info POOL --all --format json', ...inspect('POOL/usual'), 'mirror image disable POOL/usual'])
  })

  it('schedules', async () => {
    const add = 'mirror snapshot schedule add'
    await twin.same(['mirror image enable POOL/usual snapshot'])
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
    await twin.same([...lines, 'mirror image disable POOL/usual'])
  })

  it('as programs', async () => {
    const root = fileURLToPath(new URL('../..', import.meta.url))
    const program = [process.execPath, '--import', createRequire(import.meta.url).resolve('tsx'), join(root, 'src/cli/rbd.cts')]
    const both = async (args: string[], options: RunOptions = {}) => {
      const results = await Promise.all([['rbd'], program].map((command) => tryRun([...command, ...args], { cwd: folder, ...options })))
      const [expected, got] = results.map((result) => comparable(result))
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
    await twin.same([`${import_} -`], { input: 'garbage!!\n' })
    await twin.same([`${import_} --token-path - --direction tx-only`], { input: 'e30=\n' })
    await twin.same([`${import_} -`], { input: 'e30=\n' })
    await twin.same([`${import_} -`], { input: Buffer.from('{"fsid":"x","client_id":"y","key":1,"mon_host":""}').toString('base64') })
    const own = await a.rbd('mirror', 'pool', 'peer', 'bootstrap', 'create', OURS)
    await twin.same([`${import_} -`, 'mirror pool peer bootstrap create POOL'], { input: own })
  })
})
