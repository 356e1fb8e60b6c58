import { definitionOf } from '../config/option-table.ts'
import { ConfigError } from '../config/config-error.ts'
import { sectionsFor } from '../config/conf-file.ts'
import { findKey } from '../config/keyring.ts'
import type { Configuration } from '../config/load-configuration.ts'
import { parseMonHost } from '../config/mon-host.ts'
import { confSearchPath, findConfFile, readConfFile } from '../config/search-path.ts'
import type { RemoteSpec } from '../mirror/daemon-options.ts'
import type { Cluster } from '../rados/cluster.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import { driverFor } from './drivers.ts'
import type { LibrarySocket } from './library-socket.ts'

/** Options of one cluster alone: what our command line says of them does not hold for a peer (PoolReplayer.cc). */
const ofOneCluster = new Set(['monmap', 'mon_host', 'mon_dns_srv_name', 'key', 'keyfile', 'keyring', 'fsid'])
/** Options of this process: its connections have no say in them. */
const ofTheProcess = new Set(['daemonize', 'chdir', 'pid_file', 'admin_socket', 'admin_socket_mode', 'setuser', 'setgroup', 'setuser_match_path', 'log_file'])
/** Seconds after which an operation on a peer's cluster is given up, unless configured: a dead peer must not hold anything up. */
const remoteTimeout = '30'

/** Makes the daemon's connections. */
export class Connections {
  private prefetched: Promise<Cluster> | undefined
  private latest: Cluster | undefined

  constructor(
    private readonly configuration: Configuration,
    private readonly library?: LibrarySocket,
  ) {}

  /** Connects to the local cluster while other things are made ready; the next call of `local` gets that connection. */
  async prefetchLocal(signal: AbortSignal): Promise<void> {
    this.prefetched = this.connectLocal(signal)
    await this.prefetched
  }

  /** The newest connection to the local cluster, whoever owns it: it may be closed by now. */
  get newestLocal(): Cluster | undefined {
    return this.latest
  }

  /** Finds what is wrong before a connection is tried. @throws ConfigError */
  check(): void {
    const { options, confFile } = this.configuration
    const monHost = options.get('mon_host')
    if (monHost === '' && confFile === undefined) {
      const looked = confSearchPath(options.cluster).join(', ')
      throw new ConfigError(`no configuration file for cluster ${options.cluster}: looked for ${looked}; name one with --conf, or the monitors with -m`)
    }
    if (monHost === '') throw new ConfigError('mon_host is not set: which monitors are to be asked?', confFile)
    if (parseMonHost(monHost).driver === 'ceph') findKey(options)
  }

  /** A connection to the local cluster that is the caller's alone. */
  local(signal: AbortSignal): Promise<Cluster> {
    const prefetched = this.prefetched
    this.prefetched = undefined
    return prefetched ?? this.connectLocal(signal)
  }

  private async connectLocal(signal: AbortSignal): Promise<Cluster> {
    const { options, confFile } = this.configuration
    const driver = await driverFor(options.get('mon_host'))
    const { cluster: name, entity } = options
    const cluster = await driver.connect({ name, entity, confFile, options: this.given(() => true), adminSocket: this.library?.next() }, signal)
    return (this.latest = cluster)
  }

  /** A new connection to a peer's cluster. What the monitors' config-key store says of it wins over its conf file. */
  async remote(spec: RemoteSpec, signal: AbortSignal): Promise<Cluster> {
    const { clusterName, clientName, monHost, key } = spec
    const confFile = findConfFile(confSearchPath(clusterName))
    if (!monHost && confFile === undefined) {
      throw new ConfigError(`no configuration for peer ${clusterName}: there is neither a ${clusterName}.conf nor an address in the config-key store`)
    }
    const address = monHost || readConfFile(confFile!).find(sectionsFor(clientName), 'mon_host')?.value
    const driver = await driverFor(address ?? '')
    const options: Record<string, string> = {
      rados_osd_op_timeout: remoteTimeout,
      rados_mon_op_timeout: remoteTimeout,
      ...this.given((name) => !ofOneCluster.has(name)),
    }
    if (monHost) options['mon_host'] = monHost
    if (key) options['key'] = key
    return driver.connect({ name: clusterName, entity: clientName, confFile, options }, signal)
  }

  /** What environment and command line say to the connections. */
  private given(wanted: (name: string) => boolean): Record<string, string> {
    const given = this.configuration.options.from('env', 'cmdline', 'override')
    // Debug levels are left out: librados has no log here, and would gather lines for nothing.
    return Object.fromEntries([...given].filter(([name]) => !definitionOf(name)?.own && !ofTheProcess.has(name) && !name.startsWith('debug_') && wanted(name)))
  }
}

/** One line for the operator of what kept us from connecting to the local cluster. */
export function explainConnectFailure(error: unknown, { options, confFile }: Configuration): string {
  const cluster = `cluster ${options.cluster}${confFile === undefined ? '' : ` (${confFile})`}`
  if (isErrno(error, Errno.EACCES, Errno.EPERM)) {
    return `${cluster} refuses ${options.entity}: its key or its capabilities are not the cluster's; compare with "ceph auth get ${options.entity}"`
  }
  if (isErrno(error, Errno.ETIMEDOUT)) {
    return `the monitors of ${cluster} do not answer at ${options.get('mon_host')}: are they running, and is mon_host right?`
  }
  if (isErrno(error, Errno.ENOENT)) return `${cluster}: can't find the monitors or the key of ${options.entity}`
  return `can't connect to ${cluster} as ${options.entity}: ${error instanceof Error ? error.message : String(error)}`
}
