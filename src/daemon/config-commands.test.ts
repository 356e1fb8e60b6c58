import { beforeEach, describe, expect, it } from 'vitest'
import { ConfFile } from '../config/conf-file.ts'
import { Options } from '../config/options.ts'
import { AdminRegistry } from './admin-registry.ts'
import { registerConfigCommands } from './config-commands.ts'

let options: Options
let registry: AdminRegistry

beforeEach(() => {
  options = new Options('site-b', 'client.a')
  registry = new AdminRegistry()
  registerConfigCommands(registry, options)
})

async function ask(prefix: string, args: object = {}): Promise<unknown> {
  const answer = await registry.execute(JSON.stringify({ prefix, ...args }))
  return answer.startsWith('ERROR') ? answer : JSON.parse(answer)
}

describe('config commands', () => {
  it('get and set', async () => {
    expect(await ask('config get', { var: 'rbd_mirror_journal_poll_age' })).toEqual({ rbd_mirror_journal_poll_age: '5.000000' })
    expect(await ask('config set', { var: 'rbd-mirror-journal-poll-age', val: ['1.5'] })).toEqual({ success: "rbd_mirror_journal_poll_age = '1.5' " })
    expect(options.get('rbd_mirror_journal_poll_age')).toBe(1.5)
    expect(await ask('config unset', { var: 'rbd_mirror_journal_poll_age' })).toEqual({ success: '' })
    expect(options.get('rbd_mirror_journal_poll_age')).toBe(5)
  })

  it.each([
    ['config get', { var: 'nosuch' }, /^ERROR: \(2\) No such file or directory\nerror getting 'nosuch': \(2\)/],
    ['config set', { var: 'nosuch', val: ['1'] }, /^ERROR: \(2\)/],
    ['config set', { var: 'rbd_mirror_journal_poll_age', val: ['abc'] }, /^ERROR: \(22\) Invalid argument\n.*is not a number/],
    ['config set', { var: 'mon_host', val: ['x'] }, /^ERROR: \(38\).*\n.*only at the start/],
    ['config unset', { var: 'nosuch' }, /^ERROR: \(22\)/],
  ])('%s %j is refused', async (prefix, args, answer) => {
    expect(await ask(prefix, args)).toMatch(answer)
  })

  it('injectargs sets all that it is given, in either form, and says what it does not understand', async () => {
    const inject = (...words: string[]) => ask('injectargs', { injected_args: words })
    expect(await inject('--rbd-mirror-journal-poll-age=1.5 --rbd_mirror_concurrent_image_syncs', '7')).toEqual({})
    expect([options.get('rbd_mirror_journal_poll_age'), options.get('rbd_mirror_concurrent_image_syncs')]).toEqual([1.5, 7])
    expect(await ask('injectargs')).toEqual({})
    expect(await inject('--nosuch=1')).toMatch(/^ERROR: \(22\) Invalid argument\n failed to parse arguments: --nosuch=1/)
    expect(await inject('rbd_mirror_journal_poll_age=1')).toMatch(/failed to parse arguments/)
    expect(await inject('--rbd_mirror_journal_poll_age=abc')).toMatch(/^ERROR: \(22\).*\n.*is not a number/)
    expect(await inject('--mon_host=x')).toMatch(/only at the start/)
    expect(options.get('rbd_mirror_journal_poll_age')).toBe(1.5)
  })

  it('diff tells sources apart, the values having their types', async () => {
    options.applyFile(ConfFile.parse('[global]\nrbd mirror concurrent image syncs = 7\n', 'x.conf'))
    options.set('rbd_mirror_concurrent_image_syncs', '8', 'cmdline')
    expect(await ask('config diff')).toEqual({ diff: { rbd_mirror_concurrent_image_syncs: { default: 5, file: 7, cmdline: 8, final: 8 } } })
    expect(await ask('config diff get', { var: 'rbd_mirror_journal_poll_age' })).toEqual({ diff: {} })
  })

  it('show has all, but never the key', async () => {
    options.set('key', 'AQB8Y2FnAAAAABAAq1YTeVhhk3LxLsZ4mUx7RQ==', 'cmdline')
    const shown = (await ask('config show')) as Record<string, string>
    expect(shown).toMatchObject({ name: 'client.a', cluster: 'site-b', rbd_mirror_concurrent_image_syncs: '5' })
    expect(shown['key']).toBe('********')
    const all = JSON.stringify([await ask('config get', { var: 'key' }), await ask('config diff')])
    expect(all).not.toContain('AQB8')
  })

  it('help describes one option, or all', async () => {
    expect(await ask('config help', { var: 'rbd_mirror_concurrent_image_deletions' })).toMatchObject({
      option: { name: 'rbd_mirror_concurrent_image_deletions', type: 'uint', default: 1, min: 1, can_update_at_runtime: true },
    })
    expect(((await ask('config help')) as { options: unknown[] }).options.length).toBeGreaterThan(50)
  })
})
