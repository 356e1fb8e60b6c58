import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { ConfigError } from './config-error.ts'
import { parseMonHost } from './mon-host.ts'

function addresses(text: string): unknown {
  const parsed = parseMonHost(text)
  return parsed.driver === 'ceph' ? parsed.addresses.map(({ protocol, host, port }) => [protocol, host, port]) : parsed
}

describe('parseMonHost', () => {
  it.each<[string, unknown]>([
    ['10.0.0.1', [[undefined, '10.0.0.1', undefined]]],
    ['10.0.0.1:6789', [[undefined, '10.0.0.1', 6789]]],
    ['mon1.example.org, mon2', [[undefined, 'mon1.example.org', undefined], [undefined, 'mon2', undefined]]],
    ['[v2:127.0.0.1:3300,v1:127.0.0.1:6789]', [['v2', '127.0.0.1', 3300], ['v1', '127.0.0.1', 6789]]],
    ['[v2:127.0.0.1:3300/0,v1:127.0.0.1:6789/0]', [['v2', '127.0.0.1', 3300], ['v1', '127.0.0.1', 6789]]],
    ['[v2:10.0.0.1:3300,v1:10.0.0.1:6789],[v2:10.0.0.2:3300]', [['v2', '10.0.0.1', 3300], ['v1', '10.0.0.1', 6789], ['v2', '10.0.0.2', 3300]]],
    ['[v2:10.0.0.1:3300,v1:10.0.0.1:6789] 10.0.0.2', [['v2', '10.0.0.1', 3300], ['v1', '10.0.0.1', 6789], [undefined, '10.0.0.2', undefined]]],
    ['v2:10.0.0.1:3300;v1:10.0.0.2', [['v2', '10.0.0.1', 3300], ['v1', '10.0.0.2', undefined]]],
    ['[::1]:6789', [[undefined, '::1', 6789]]],
    ['[v2:[2001:db8::1]:3300,v1:[2001:db8::1]:6789]', [['v2', '2001:db8::1', 3300], ['v1', '2001:db8::1', 6789]]],
    ['fe80::1', [[undefined, 'fe80::1', undefined]]],
    ['redis://127.0.0.1:6379/3', { driver: 'redis', url: 'redis://127.0.0.1:6379/3' }],
    ['file:///var/lib/a%20b', { driver: 'folder', path: '/var/lib/a b' }],
  ])('%s', (text, expected) => {
    expect(addresses(text)).toEqual(expected)
  })

  it.each(['', ' , ', '10.0.0.1:99999', 'a/b', 'file://relative/x', 'file:///', 'http://x', '[v2:10.0.0.1'])('refuses %j', (text) => {
    expect(() => parseMonHost(text, 'x.conf:3')).toThrow(ConfigError)
    expect(() => parseMonHost(text, 'x.conf:3')).toThrow(/^x\.conf:3: /)
  })

  it.each(['redis://user:secret@host:99999/0', 'redis://:secret@[host/0', 'redis://:p@secret@host:x/0'])('tells no password: %j', (text) => {
    const failure = (() => {
      try {
        return parseMonHost(text)
      } catch (error) {
        return error
      }
    })()
    expect(failure).toBeInstanceOf(ConfigError)
    expect(inspect(failure)).not.toContain('secret')
  })
})
