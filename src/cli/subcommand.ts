import { cephOptionNames } from '../config/ceph-option-names.ts'
import { parseCommandLine } from '../config/command-line.ts'
import { ConfigError } from '../config/config-error.ts'
import { loadConfiguration, type Configuration } from '../config/load-configuration.ts'
import { explainConnectFailure, type Connections } from '../daemon/connect.ts'
import type { Cluster } from '../rados/cluster.ts'

/** The configuration from what is left of a subcommand's arguments: Ceph's own options. @throws ConfigError or UsageError */
export function configurationFrom(args: readonly string[]): Configuration {
  return loadConfiguration(parseCommandLine(args, process.env['CEPH_ARGS'], (name) => cephOptionNames.has(name)), process.env)
}

/** Aborted, with a ConfigError, by the first Ctrl-C; a second one ends the process. */
export function interruptSignal(): AbortSignal {
  const interrupt = new AbortController()
  process.once('SIGINT', () => interrupt.abort(new ConfigError('interrupted')))
  return interrupt.signal
}

/** @throws ConfigError with what is to be done about it */
export async function connectLocal(connections: Connections, configuration: Configuration, signal: AbortSignal): Promise<Cluster> {
  connections.check()
  try {
    return await connections.local(signal)
  } catch (error) {
    throw new ConfigError(explainConnectFailure(error, configuration), undefined, { cause: error })
  }
}
