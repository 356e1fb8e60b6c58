import type { CommandLine } from './command-line.ts'
import { ConfigError } from './config-error.ts'
import { definitionOf } from './option-table.ts'
import { Options } from './options.ts'
import { clusterOfConfFile, confSearchPath, findConfFile, readConfFile } from './search-path.ts'

export interface Configuration {
  options: Options
  /** undefined when none was found, or none wanted */
  confFile: string | undefined
}

export const defaultCluster = 'ceph'

/**
 * Builds the options of this process from command line, environment and conf file. The monitors' central config comes later, once
 * there is a connection.
 *
 * @throws ConfigError
 */
export function loadConfiguration(line: CommandLine, environment: NodeJS.ProcessEnv): Configuration {
  const named = line.conf ?? environment['CEPH_CONF']?.split(/[,;\s]+/).filter((path) => path !== '')
  const confFile = findConfFile(named ?? confSearchPath(line.cluster ?? defaultCluster))
  if (named && named.length > 0 && !confFile) throw new ConfigError(`no such configuration file: ${named.join(', ')}`)

  const cluster = line.cluster ?? (named && confFile ? clusterOfConfFile(confFile) : defaultCluster)
  const options = new Options(cluster, line.entity ?? 'client.admin')
  if (confFile) options.applyFile(readConfFile(confFile))
  const keyring = environment['CEPH_KEYRING']
  if (keyring) options.set('keyring', keyring, 'env', 'CEPH_KEYRING')
  for (const [name, { text, where }] of line.options) {
    const plain = name.startsWith('default_') ? name.slice('default_'.length) : undefined
    if (plain !== undefined && definitionOf(plain)) options.set(plain, text, 'default', where)
    else options.set(name, text, 'cmdline', where)
  }
  if (line.run !== 'default') options.set('daemonize', 'false', 'cmdline')
  return { options, confFile }
}
