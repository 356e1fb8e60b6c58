import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** Ports a cluster takes: two for the monitor, the rest for the OSD's and the manager's messengers. */
export const PORTS_PER_CLUSTER = 24

export type ObjectStore = 'memstore' | 'bluestore'

export interface CephConfOptions {
  readonly fsid: string
  /** Folder of data, run, log and keyring files. */
  readonly folder: string
  readonly firstPort: number
  readonly objectStore: ObjectStore
  /** Bytes of the one OSD's store. */
  readonly storeSize: number
  /** Monitors that propose at once: a snapshot id costs milliseconds instead of up to a second. */
  readonly quickPaxos: boolean
  /** More options of the [global] section. */
  readonly options: Readonly<Record<string, string>>
}

/** The ceph.conf of a cluster of one monitor, one manager and one OSD, with every path inside its own folder. */
export function cephConf(options: CephConfOptions): string {
  const { folder, firstPort } = options
  const global: Record<string, string> = {
    fsid: options.fsid,
    'mon host': `[v2:127.0.0.1:${firstPort},v1:127.0.0.1:${firstPort + 1}]`,
    'public addr': '127.0.0.1',
    'cluster addr': '127.0.0.1',
    'ms bind ipv6': 'false',
    'ms bind port min': String(firstPort + 2),
    'ms bind port max': String(firstPort + PORTS_PER_CLUSTER - 1),
    'run dir': join(folder, 'run'),
    'crash dir': join(folder, 'crash'),
    'osd pool default size': '1',
    'osd pool default min size': '1',
    'osd pool default pg num': '8',
    'osd pool default pgp num': '8',
    'osd pool default pg autoscale mode': 'off',
    'osd crush chooseleaf type': '0',
    'auth allow insecure global id reclaim': 'false',
    ...(options.quickPaxos ? { 'paxos propose interval': '0.05', 'paxos min wait': '0.01' } : {}),
    ...options.options,
  }
  return [
    section('global', global),
    section('mon', {
      'mon data': join(folder, 'mon'),
      keyring: join(folder, 'mon', 'keyring'),
      'admin socket': join(folder, 'run', '$name.asok'),
      'log file': join(folder, 'log', '$name.log'),
      'mon allow pool size one': 'true',
      'mon allow pool delete': 'true',
      'mon max pg per osd': '100000',
      'mon warn on pool no redundancy': 'false',
      'mon data avail warn': '2',
      'mon data avail crit': '1',
    }),
    section('mgr', {
      'mgr data': join(folder, 'mgr'),
      keyring: join(folder, 'keyring', '$name.keyring'),
      'admin socket': join(folder, 'run', '$name.asok'),
      'log file': join(folder, 'log', '$name.log'),
    }),
    section('osd', {
      'osd data': join(folder, 'osd'),
      'osd journal': join(folder, 'osd', 'journal'),
      keyring: join(folder, 'keyring', '$name.keyring'),
      'admin socket': join(folder, 'run', '$name.asok'),
      'log file': join(folder, 'log', '$name.log'),
      'osd objectstore': options.objectStore,
      'osd class dir': osdClassFolder(),
      // A lone OSD whose heartbeats stall is reported down and never comes back: nobody else could report it up.
      'osd heartbeat grace': '3600',
      'osd max pg per osd hard ratio': '1000',
      'memstore device bytes': String(options.storeSize),
      'bluestore block size': String(options.storeSize),
      'osd memory target': '1073741824',
    }),
    section('client', { keyring: join(folder, 'keyring', '$name.keyring') }),
  ].join('\n')
}

function section(name: string, values: Readonly<Record<string, string>>): string {
  return `[${name}]\n${Object.entries(values)
    .map(([key, value]) => `${key} = ${value}\n`)
    .join('')}`
}

function osdClassFolder(): string {
  for (const root of ['/usr/lib', '/usr/lib64']) {
    if (!existsSync(root)) continue
    for (const folder of [join(root, 'rados-classes'), ...readdirSync(root).map((entry) => join(root, entry, 'rados-classes'))])
      if (existsSync(folder)) return folder
  }
  throw new Error('no rados-classes folder found below /usr/lib: install ceph-osd')
}

/** A cephx secret as ceph-authtool prints it: type 1 (AES), creation time, length, 16 bytes. */
export function cephxSecret(): string {
  const header = Buffer.alloc(12)
  header.writeUInt16LE(1, 0)
  header.writeUInt32LE(Math.floor(Date.now() / 1000), 2)
  header.writeUInt16LE(16, 10)
  return Buffer.concat([header, randomBytes(16)]).toString('base64')
}

export interface CephUser {
  readonly name: string
  readonly secret: string
  readonly caps: Readonly<Record<string, string>>
}

export function keyring(users: readonly CephUser[]): string {
  return users
    .map(({ name, secret, caps }) => {
      const lines = Object.entries(caps).map(([service, cap]) => `\tcaps ${service} = "${cap}"\n`)
      return `[${name}]\n\tkey = ${secret}\n${lines.join('')}`
    })
    .join('')
}
