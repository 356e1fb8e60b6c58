import { describe, expect, it, vi } from 'vitest'
import { ConfFile } from './conf-file.ts'
import { ConfigError } from './config-error.ts'
import { definitionOf, optionTable } from './option-table.ts'
import { parseValue } from './option-type.ts'
import { Options } from './options.ts'

const conf = (text: string) => ConfFile.parse(text, '/etc/ceph/site-b.conf')

describe('Options', () => {
  it('has a default of the right type for every option', () => {
    for (const [name, { type, default: text }] of Object.entries(optionTable)) {
      expect(parseValue(type, text).ok, name).toBe(true)
    }
  })

  it('lets the command line win over environment, file, central config and default, in this order', () => {
    const options = new Options('site-b', 'client.a')
    const name = 'rbd_mirror_concurrent_image_syncs'
    const seen = [options.get(name)]
    options.applyCentral(new Map([[name, '6']]), () => expect.unreachable())
    seen.push(options.get(name))
    options.applyFile(conf(`[client]\n${name} = 7\n`))
    seen.push(options.get(name))
    options.set(name, '8', 'env')
    seen.push(options.get(name))
    options.set(name, '9', 'cmdline')
    seen.push(options.get(name))
    expect(seen).toEqual([5, 6, 7, 8, 9])
    expect(options.source(name)).toBe('cmdline')
    expect(options.settings(name).map(({ source }) => source)).toEqual(['default', 'mon', 'file', 'env', 'cmdline'])
  })

  it('expands metavariables, and options that name others', () => {
    const options = new Options('site-b', 'client.rbd-mirror.b', 4711)
    options.applyFile(conf('[global]\nrun dir = /run/$cluster\nadmin socket = $run_dir/$name.${pid}.asok\nlog file = $type-$id $nosuch.log\n'))
    expect(options.get('admin_socket')).toBe('/run/site-b/client.rbd-mirror.b.4711.asok')
    expect(options.get('log_file')).toBe('client-rbd-mirror.b $nosuch.log')
  })

  it('refuses an option that refers to itself', () => {
    const options = new Options('site-b', 'client.a')
    options.set('run_dir', '$admin_socket', 'cmdline')
    expect(() => options.get('admin_socket')).toThrow(ConfigError)
  })

  it.each([
    ['rbd_mirror_concurrent_image_syncs', 'abc', 'whole number'],
    ['rbd_mirror_concurrent_image_deletions', '0', 'at least 1'],
    ['rbd_mirror_perf_stats_prio', '12', 'at most 11'],
    ['rbd_mirror_image_policy_type', 'fancy', 'one of none, simple'],
    ['debug_rbd_mirror', 'much', 'level'],
  ])('refuses %s = %s, and says where it stands', (name, value, problem) => {
    const options = new Options('site-b', 'client.a')
    const apply = () => options.applyFile(conf(`[global]\n\n${name} = ${value}\n`))
    expect(apply).toThrow(ConfigError)
    expect(apply).toThrow('/etc/ceph/site-b.conf:3: ')
    expect(apply).toThrow(problem)
    expect(options.source(name)).toBe('default')
  })

  it('keeps a secret out of its errors', () => {
    expect(definitionOf('key')?.secret).toBe(true)
  })

  it('reports a bad central value and keeps the others', () => {
    const options = new Options('site-b', 'client.a')
    const errors: ConfigError[] = []
    options.applyCentral(
      new Map([
        ['rbd_mirror_concurrent_image_syncs', '-1'],
        ['rbd_mirror_delete_retry_interval', '3'],
      ]),
      (error) => errors.push(error),
    )
    expect(errors).toHaveLength(1)
    expect(options.get('rbd_mirror_concurrent_image_syncs')).toBe(5)
    expect(options.get('rbd_mirror_delete_retry_interval')).toBe(3)
  })

  it('tells of changes of the value in force only', () => {
    const options = new Options('site-b', 'client.a')
    const callback = vi.fn()
    const end = options.onChange(['rbd_mirror_concurrent_image_syncs'], callback)
    options.set('rbd_mirror_concurrent_image_syncs', '7', 'cmdline')
    options.applyCentral(new Map([['rbd_mirror_concurrent_image_syncs', '6']]), () => expect.unreachable())
    options.set('rbd_mirror_delete_retry_interval', '7', 'cmdline')
    expect(callback).toHaveBeenCalledTimes(1)
    options.unset('rbd_mirror_concurrent_image_syncs', 'cmdline')
    expect(callback).toHaveBeenCalledTimes(2)
    expect(options.get('rbd_mirror_concurrent_image_syncs')).toBe(6)
    options.applyCentral(new Map(), () => expect.unreachable())
    expect(callback).toHaveBeenCalledTimes(3)
    end()
    options.set('rbd_mirror_concurrent_image_syncs', '8', 'cmdline')
    expect(callback).toHaveBeenCalledTimes(3)
  })
})
