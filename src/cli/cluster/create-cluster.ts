import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ConfigError } from '../../config/config-error.ts'
import { parseMonHost } from '../../config/mon-host.ts'
import { emulator } from '../../daemon/drivers.ts'

/** Secrets are for their owner alone. */
const KEYRING_MODE = 0o600

/** An emulated cluster that is to be made, and where its configuration goes. */
export interface ClusterPlan {
  /** the name that `--cluster` will select it by */
  name: string
  /** `file:///folder` or `redis://host:port/db`; undefined: the folder `NAME` of `dataFolder` */
  monHost: string | undefined
  /** where `NAME.conf` is written: `--cluster NAME` finds it there when it is the current directory, `/etc/ceph` or `~/.ceph` */
  confFolder: string
  /** where keyrings, sockets and, by default, the cluster's data go */
  dataFolder: string
}

export interface ClusterFiles {
  conf: string
  keyring: string
}

/**
 * Creates an emulated cluster with the user client.admin, its configuration file and that user's keyring.
 * @throws ConfigError when there is one already, or `monHost` names no emulated cluster; RadosError
 */
export async function createCluster(plan: ClusterPlan): Promise<ClusterFiles> {
  const { name } = plan
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) throw new ConfigError(`"${name}" can't be the name of a cluster: letters, digits, "-", "_" and "." only`)
  const dataFolder = resolve(plan.dataFolder)
  const monHost = plan.monHost ?? pathToFileURL(join(dataFolder, name)).href
  if (parseMonHost(monHost).driver === 'ceph') throw new ConfigError(`mon_host ${monHost} names monitors of Ceph: a cluster of our own is file:///FOLDER or redis://HOST:PORT/DB`)
  const files: ClusterFiles = { conf: resolve(plan.confFolder, `${name}.conf`), keyring: keyringPath(dataFolder, name, 'client.admin') }
  for (const file of [files.conf, files.keyring]) if (existsSync(file)) throw new ConfigError('it is there already: is there a cluster of this name?', file)
  mkdirSync(dataFolder, { recursive: true })
  const { fsid, adminKey } = await (await emulator()).create({ monHost })
  writeFileSync(files.keyring, `[client.admin]\n\tkey = ${adminKey}\n`, { mode: KEYRING_MODE, flag: 'wx' })
  writeFileSync(files.conf, confText({ fsid, monHost, dataFolder }), { flag: 'wx' })
  return files
}

export function keyringPath(dataFolder: string, cluster: string, entity: string): string {
  return join(dataFolder, `${cluster}.${entity}.keyring`)
}

export function writeKeyring(path: string, text: string): void {
  writeFileSync(path, text, { mode: KEYRING_MODE, flag: 'wx' })
}

function confText({ fsid, monHost, dataFolder }: { fsid: string; monHost: string; dataFolder: string }): string {
  return `[global]
fsid = ${fsid}
mon host = ${monHost}
keyring = ${dataFolder}/$cluster.$name.keyring
admin socket = ${dataFolder}/$cluster-$name.asok
log file = ${dataFolder}/$cluster-$name.log
`
}
