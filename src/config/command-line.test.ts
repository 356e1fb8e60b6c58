import { describe, expect, it } from 'vitest'
import { parseCommandLine } from './command-line.ts'
import { cephOptionNames } from './ceph-option-names.ts'
import { UsageError } from './config-error.ts'

const parse = (args: string[], cephArgs?: string) => parseCommandLine(args, cephArgs, (name) => cephOptionNames.has(name))
const optionsOf = (args: string[], cephArgs?: string) => Object.fromEntries([...parse(args, cephArgs).options].map(([name, { text }]) => [name, text]))

describe('parseCommandLine', () => {
  it('reads what scripts call the daemon with', () => {
    const line = parse([
      '--cluster', 'cluster1', '--id', 'mirror.0', '--rbd-mirror-delete-retry-interval=5', '--rbd-mirror-image-state-check-interval=5',
      '--rbd-mirror-journal-poll-age=1', '--debug-rbd=30', '--debug-journaler=30', '--debug-rbd_mirror=30', '--daemonize=true',
    ]) // prettier-ignore
    expect(line).toMatchObject({ cluster: 'cluster1', entity: 'client.mirror.0', run: 'default', action: { type: 'run' } })
    expect(Object.fromEntries([...line.options].map(([name, { text }]) => [name, text]))).toEqual({
      rbd_mirror_delete_retry_interval: '5',
      rbd_mirror_image_state_check_interval: '5',
      rbd_mirror_journal_poll_age: '1',
      debug_rbd: '30',
      debug_journaler: '30',
      debug_rbd_mirror: '30',
      daemonize: 'true',
    })
  })

  it.each([
    [['-i', 'a'], 'client.a'],
    [['-ia'], 'client.a'],
    [['--id=a'], 'client.a'],
    [['--user', 'a'], 'client.a'],
    [['-n', 'client.b.c'], 'client.b.c'],
    [['--name=client.b'], 'client.b'],
  ])('%j is %s', (args, entity) => {
    expect(parse(args).entity).toBe(entity)
  })

  it.each([
    [['-m', '10.0.0.1'], { mon_host: '10.0.0.1' }],
    [['-k', '/x'], { keyring: '/x' }],
    [['--log_file', '/x y'], { log_file: '/x y' }],
    [['--admin-socket=/a=b'], { admin_socket: '/a=b' }],
    [['--osd-pool-default-size', '2'], { osd_pool_default_size: '2' }],
    [['--daemonize'], { daemonize: 'true' }],
    [['--daemonize', '-f'], { daemonize: 'true' }],
    [['--daemonize', 'false'], { daemonize: 'false' }],
    [['--no-daemonize'], { daemonize: 'false' }],
    [['--default-log-to-file=false'], { default_log_to_file: 'false' }],
    [['--rbd-mirror-concurrent-image-syncs=1', '--rbd_mirror-concurrent_image_syncs', '2'], { rbd_mirror_concurrent_image_syncs: '2' }],
  ])('%j', (args, options) => {
    expect(optionsOf(args)).toEqual(options)
  })

  it('lets arguments win over CEPH_ARGS', () => {
    const cephArgs = '--rbd-mirror-journal-poll-age=9 --id "a b" --log-file /x\\ y'
    expect(parse([], cephArgs).entity).toBe('client.a b')
    expect(optionsOf(['--rbd-mirror-journal-poll-age', '1'], cephArgs)).toEqual({ rbd_mirror_journal_poll_age: '1', log_file: '/x y' })
  })

  it.each([
    [['-f'], 'foreground'],
    [['-d'], 'debug'],
    [[], 'default'],
  ])('%j runs in %s', (args, run) => {
    expect(parse(args).run).toBe(run)
  })

  it('takes several configuration files', () => {
    expect(parse(['-c', '/a.conf,/b.conf']).conf).toEqual(['/a.conf', '/b.conf'])
  })

  it.each([
    [['--help'], { type: 'help' }],
    [['-h'], { type: 'help' }],
    [['-v'], { type: 'version' }],
    [['--show-config-value', 'mon-host'], { type: 'show-config-value', name: 'mon_host' }],
    [['--show-config'], { type: 'show-config' }],
  ])('%j', (args, action) => {
    expect(parse(args).action).toEqual(action)
  })

  it.each([
    [['--frobnicate=1'], 'unknown option --frobnicate'],
    [['-x'], 'unknown option -x'],
    [['pool'], 'unexpected argument "pool"'],
    [['--id'], 'option --id needs a value'],
    [['--id='], 'needs a value'],
    [['-f=1'], 'takes no value'],
    [['--name', 'osd.1'], 'wants a client'],
    [['--name', 'x'], 'TYPE.ID'],
    [['--log-file'], 'option --log-file needs a value'],
  ])('refuses %j', (args, message) => {
    expect(() => parse(args)).toThrow(UsageError)
    expect(() => parse(args)).toThrow(message)
  })

  it('says that CEPH_ARGS is to blame', () => {
    expect(() => parse([], '--frobnicate')).toThrow('unknown option --frobnicate in CEPH_ARGS')
  })

  it('never shows the value of an unknown option: it may be a secret', () => {
    expect(() => parse(['--kee=AQsecret'])).toThrow(/^unknown option --kee$/)
  })
})
