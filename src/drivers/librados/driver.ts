import { abortable } from '../../base/cancelled.ts'
import type { Cluster, ClusterDriver, ConnectOptions } from '../../rados/cluster.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import { LibradosCluster } from './cluster.ts'
import { Connection } from './connection.ts'
import { Arena, stringAt } from './memory.ts'
import { librados, type Librados, type Pointer } from './native.ts'
import { runOnThread, type ThreadCall } from './threads.ts'

/** Only our own process asks at librados' admin socket, whoever may ask at ours: it answers everything, `config set` too. */
const SOCKET_MODE = '0600'
/** The daemon has a log and a standard error of its own: librados is to stay out of them. */
const QUIET: Readonly<Record<string, string>> = {
  log_file: '',
  log_to_stderr: 'false',
  err_to_stderr: 'false',
  log_to_syslog: 'false',
  err_to_syslog: 'false',
  mon_cluster_log_to_stderr: 'false',
}
/**
 * Beyond these librados makes the caller wait, and its default of a thousand operations would have a dead cluster stop the main thread.
 * What is in flight is bounded by those who start it.
 */
const NO_WAITING: Readonly<Record<string, string>> = {
  objecter_inflight_ops: '1000000000',
  objecter_inflight_op_bytes: '1000000000000',
}
/** Seconds until librados gives up finding a monitor, unless configured; its own default is five minutes. */
const MOUNT_TIMEOUT = '30'
const DEFAULT_MOUNT_TIMEOUT = '300'

/** Real Ceph clusters, through librados.so.2. */
export const libradosDriver: ClusterDriver = {
  async connect(options: ConnectOptions, signal?: AbortSignal): Promise<Cluster> {
    signal?.throwIfAborted()
    const api = librados()
    const handle = create(api, options)
    let connecting: ThreadCall
    try {
      configure(api, handle, options)
      connecting = runOnThread('rados_connect', handle)
    } catch (error) {
      shutDown(handle)
      throw error
    }
    let status
    try {
      status = await abortable(connecting.result, signal)
    } catch (error) {
      connecting.abandon()
      void connecting.result.then(() => shutDown(handle)) // when librados has given up, too
      throw error
    }
    if (status < 0) {
      shutDown(handle)
      throw new RadosError(status, { op: `connect as ${options.entity}`, cluster: options.name })
    }
    return new LibradosCluster(new Connection(handle, options.name, commandTimeout(api, handle)), options.entity)
  },
}

/** Without waiting for it. */
function shutDown(handle: Pointer): void {
  runOnThread('rados_shutdown', handle).abandon()
}

function create(api: Librados, { name, entity }: ConnectOptions): Pointer {
  const arena = new Arena(1)
  const status = api.create2(arena.at(0), name, entity, 0)
  if (status < 0) throw new RadosError(status, { op: `create a client for ${entity}`, cluster: name })
  return arena.number(0)
}

function configure(api: Librados, handle: Pointer, { name, confFile, options, adminSocket = '' }: ConnectOptions): void {
  if (confFile !== undefined) {
    const status = api.confReadFile(handle, confFile)
    if (status < 0) throw new RadosError(status, { op: `read ${confFile}`, cluster: name })
  }
  if (optionOf(api, handle, 'client_mount_timeout') === DEFAULT_MOUNT_TIMEOUT) api.confSet(handle, 'client_mount_timeout', MOUNT_TIMEOUT)
  for (const [option, value] of Object.entries({ ...options, ...QUIET, ...NO_WAITING, admin_socket: adminSocket, admin_socket_mode: SOCKET_MODE })) {
    const status = api.confSet(handle, option, value)
    // Its value may be a secret and stays out of the message. An option that this librados does not know can't matter to it.
    if (status < 0 && status !== -Errno.ENOENT) throw new RadosError(status, { op: `set option ${option}`, cluster: name })
  }
}

function optionOf(api: Librados, handle: Pointer, name: string): string | undefined {
  const value = new Arena(128)
  return api.confGet(handle, name, value.memory, value.memory.length) < 0 ? undefined : stringAt(value.address)
}

/** How long a blocking call may take (milliseconds): as configured for monitors, with time to come back by itself. */
function commandTimeout(api: Librados, handle: Pointer): number | undefined {
  const seconds = parseFloat(optionOf(api, handle, 'rados_mon_op_timeout') ?? '0')
  return seconds > 0 ? seconds * 1000 + 5000 : undefined
}
