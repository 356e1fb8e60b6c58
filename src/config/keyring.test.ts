import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ConfigError } from './config-error.ts'
import { findKey } from './keyring.ts'
import { Options } from './options.ts'

const key = 'AQB8Y2FnAAAAABAAq1YTeVhhk3LxLsZ4mUx7RQ=='
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyring-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function options(settings: Record<string, string>): Options {
  const options = new Options('site-b', 'client.a')
  for (const [name, value] of Object.entries(settings)) options.set(name, value, 'cmdline')
  return options
}

function keyring(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

describe('findKey', () => {
  it('takes the first keyring that exists', () => {
    const path = keyring('b', `[client.b]\n\tkey = x\n[client.a]\n\tkey = ${key}\n\tcaps mon = "profile rbd-mirror"\n`)
    expect(findKey(options({ keyring: `${folder}/none,${path}` }))).toEqual({ path, key })
  })

  it('prefers key, then keyfile', () => {
    const path = keyring('k', `${key}\n`)
    expect(findKey(options({ keyfile: path, keyring: '/none' }))).toEqual({ path, key })
    expect(findKey(options({ key, keyfile: '/none' }))).toEqual({ path: undefined, key })
  })

  it('needs none where the cluster asks for none', () => {
    expect(findKey(options({ auth_client_required: 'none', keyring: '/none' }))).toBeUndefined()
  })

  it.each<[string, () => Options, string]>([
    ['no keyring', () => options({ keyring: '/none,/nothing' }), 'looked for /none, /nothing'],
    ['another entity', () => options({ keyring: keyring('x', '[client.b]\nkey = x\n') }), 'no key for client.a'],
    ['a broken key', () => options({ keyring: keyring('x', `[client.a]\nkey = ${key}x\n`) }), 'no CephX key'],
    ['a directory', () => options({ keyring: folder }), 'EISDIR'],
    ['no keyfile', () => options({ keyfile: '/none' }), 'ENOENT'],
  ])('refuses %s without showing a key', (_, make, problem) => {
    const find = () => findKey(make())
    expect(find).toThrow(ConfigError)
    expect(find).toThrow(problem)
    expect(find).not.toThrow(key)
  })
})
