import { readFileSync } from 'node:fs'
import { ConfFile } from './conf-file.ts'
import { ConfigError } from './config-error.ts'
import type { Options } from './options.ts'

/** Where the key of the entity is; the key itself for clusters whose driver wants it. Never to be logged. */
export interface KeyLocation {
  path: string | undefined
  key: string
}

/** A CephX key: type, creation time, length and 16 bytes of secret, in base64. */
const keyPattern = /^[A-Za-z0-9+/]{38}==$/

/**
 * Finds the entity's key as Ceph does: `key`, else `keyfile`, else the first file of `keyring` that exists. Undefined when the cluster
 * is to be asked without one (`auth client required = none`).
 *
 * @throws ConfigError when it is nowhere, unreadable or malformed
 */
export function findKey(options: Options): KeyLocation | undefined {
  const methods = options.text('auth_client_required') ?? options.text('auth_supported')
  if (methods !== undefined && !methods.includes('cephx')) return undefined
  if (options.get('key') !== '') return { path: undefined, key: checked(options.get('key'), 'option key') }
  const keyFile = options.get('keyfile')
  if (keyFile !== '') return { path: keyFile, key: checked(read(keyFile, 'key file'), keyFile) }

  const paths = options.get('keyring').split(/[,;\s]+/).filter((path) => path !== '') // prettier-ignore
  for (const path of paths) {
    let text: string
    try {
      text = readFileSync(path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue
      throw unreadable(path, 'keyring', error)
    }
    const entry = ConfFile.parse(text, path).find([options.entity], 'key')
    if (!entry) throw new ConfigError(`the keyring has no key for ${options.entity}: add a [${options.entity}] section or name another with --id`, path)
    return { path, key: checked(entry.value, `${path}:${entry.line}`) }
  }
  throw new ConfigError(`no keyring for ${options.entity}: looked for ${paths.join(', ')}; name one with --keyring`)
}

function read(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    throw unreadable(path, what, error)
  }
}

function unreadable(path: string, what: string, cause: unknown): ConfigError {
  return new ConfigError(`can't read the ${what}: ${(cause as NodeJS.ErrnoException).code}`, path, { cause })
}

function checked(key: string, where: string): string {
  if (!keyPattern.test(key)) throw new ConfigError('this is no CephX key: it should be 40 characters of base64', where)
  return key
}
